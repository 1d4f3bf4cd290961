"""Presets: read strictly, frozen, and told apart by their digest."""

import dataclasses
import re
import tomllib

import pytest

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.preset_files import PRESET_FOLDER, available, load_preset
from advlook.core.presets import ARCHITECTURES, SETTINGS, Preset
from advlook.core.radius import check_eps, parse_eps

TEXT = (PRESET_FOLDER / "imagenette.toml").read_text()


def edited(text, old, new):
    """`text` with the first match of the regular expression `old`, at the start of a line, replaced by `new`."""
    result, count = re.subn(f"^{old}", lambda match: new, text, count=1, flags=re.MULTILINE)
    assert count == 1
    return result


def load_edited(folder, old, new):
    """Load the Imagenette preset with one place edited."""
    path = folder / "edited.toml"
    path.write_text(edited(TEXT, old, new))
    return load_preset(path)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("archs =", "archz = 1\narchs =", ["unknown", "archz"]),
        ("flip = .*", "flip = true\nflop = true", ["unknown", "data", "flop"]),
        ("stem = .*", 'stem = "small"\npadding = 1', ["unknown", "models.alexnet_bn", "padding"]),
        (r"\[adversary\]", "[enemy]", ["unknown", "enemy"]),
        ("seeds = .*", "", ["missing", "seeds"]),
        ("flip = .*", "", ["missing", "data", "flip"]),
        ("width = .*", "", ["missing", "models.alexnet_bn", "width"]),
        (r"\[models.resnet10\]", "[models.resnet18]", ["missing", "models.resnet10"]),
        ("seeds = .*", 'seeds = ["a"]', ["seeds", "'a'", "int"]),
        ("seeds = .*", "seeds = []", ["seeds"]),
        ("accumulate = .*", "accumulate = 0", ["training.accumulate = 0", "greater than 0"]),
        ("accumulate = .*", "accumulate = 3", ["batch_size = 128", "not divisible", "accumulate = 3"]),
        ("accumulate = .*", "accumulate = 128", ["128 parts", "too small"]),
        ("rate_for_batch = .*", "rate_for_batch = -1", ["rate_for_batch = -1"]),
        ("seeds = .*", "seeds = 0", ["seeds", "0"]),
        ("flip = .*", "flip = 1", ["data.flip", "1", "bool"]),
        ("size = .*", "size = 64.0", ["data.size", "64.0", "int"]),
        ("size = .*", "size = true", ["data.size", "True", "int"]),
        ("mean = .*", "mean = [0.5, 0.5]", ["missing", "data.mean.2"]),
        ("learning_rate = .*", 'learning_rate = "fast"', ["models.alexnet_bn.learning_rate", "fast", "number"]),
        ("momentum = .*", "momentum = false", ["training.momentum", "False", "number"]),
        (r"\[adversary\]\neps = .*", "[adversary]\neps = 4", ["adversary.eps", "4", "4/255"]),
        (r"\[adversary\]\neps = .*", '[adversary]\neps = "8"', ["adversary.eps", "8", "[0, 1]", "4/255"]),
        ("curve = .*", 'curve = ["1/255", "one"]', ["evaluation.curve", "one", "4/255"]),
        ("archs = .*", 'archs = ["vgg16"]', ["vgg16", "resnet50"]),
        ("stem = .*", 'stem = "large"', ["models.alexnet_bn", "large"]),
        ("schedule = .*", 'schedule = "cosine"', ["schedule", "cosine", "onecycle"]),
        ("precision = .*", 'precision = "float16"', ["precision", "float16", "bfloat16"]),
        ("method = .*", 'method = "deepfool"', ["method", "deepfool", "pgd"]),
        ("crop_scale = .*", "crop_scale = 0.0", ["crop_scale", "0.0"]),
        ("store = .*", "store = 32", ["data.store", "32"]),
        ("test_store = .*", "test_store = 8", ["data.test_store", "8"]),
        ("batch_size = .*", "batch_size = 1", ["batch_size", "1"]),
        ("sizes = .*", "sizes = []", ["training.sizes", "[]"]),
        ("crop_scale = .*", "crop_scale = 1.0", ["training.sizes", "crop_scale"]),
        ("name = .*", 'name = "synthetic"', ["crop_scale", "flip", "generated"]),
        ("epochs_std = .*", "epochs_std = 0", ["epoch"]),
        ("sigmas = .*", "sigmas = [1.0, 0.5]", ["corruptions.sigmas", "ascend"]),
        ("passes = .*", "passes = [0, 1]", ["corruptions.passes", "greater than 0"]),
        ("median_kernels = .*", "median_kernels = [3, 4]", ["corruptions", "4", "odd"]),
        ("family_images = .*", "family_images = 0", ["corruptions.family_images", "greater than 0"]),
        ("engine = .*", 'engine = "magic"', ["stylization.engine", "magic", "network"]),
        ("learning_rate = .*", "learning_rate = nan", ["models.alexnet_bn.learning_rate", "nan", "finite"]),
        ("targets = .*", 'targets = ["cifar10@"]', ["ensembles.targets.0", "cifar10@", "pixels a side"]),
        ("classes = .*", "classes = 1979-05-27", ["data.classes", "1979-05-27", "int"]),
        ("cues = .*", "cues = 0", ["stylization.cues", "greater than 0"]),
        (r"\[external\]", "", ["missing", "external"]),
        (r"\[external\]", '[external.resnet10]\nstd = "a.pt"', ["missing", "external.resnet10", "adv"]),
        (r"\[external\]", '[external.resnet50]\nstd = "a.pt"\nadv = "b.pt"', ["external.resnet50", "archs"]),
        (
            r"\[external\]",
            '[external.resnet10]\nstd = "a.pt"\nadv = "b.pt"',
            ["seeds = [0, 1, 2]", "must be [0]", "[external.resnet10]"],
        ),
        (r"\[external\]", '[external.resnet10]\nstd = ["a.pt", "c.pt"]\nadv = "b.pt"', ["2 checkpoints", "1 in adv"]),
        (
            r"\[external\]",
            '[external.resnet10]\nstd = "a"\nadv = "b"\narch = "vgg"',
            ["external.resnet10.arch", "timm:NAME"],
        ),
        (r"\[external\]", '[external."my net"]\nstd = "a.pt"\nadv = "b.pt"', ["external.my net", "names files"]),
        ("archs =", "archs = =", ["TOML"]),
        (r"\[controls.adv-1\]", "[controls.adv]", ["controls.adv", "not std, adv or random"]),
        (r"\[controls.adv-1\]", '[controls."a/b"]', ["controls.a/b", "names files"]),
        (r'archs = \["resnet10"\]', 'archs = ["resnet18"]', ["controls.adv-1.archs", "resnet18", "does not train"]),
        ('like = "adv"', 'like = "pgd"', ["controls.adv-1.like", "pgd"]),
        ("adversary = .*", 'adversary = { radius = "1/255" }', ["unknown", "controls.adv-1.adversary.radius"]),
        ("adversary = .*", "adversary = { eps = 1 }", ["controls.adv-1.adversary.eps = 1", "4/255"]),
        ("training = .*", "training = { accumulate = 3 }", ["controls.stopped", "accumulate = 3"]),
        ("training = .*", "training = { noise = -0.1 }", ["controls.stopped.training.noise", "-0.1"]),
        ("adversary = .*", "adversary = 3", ["controls.adv-1.adversary = 3"]),
    ],
)
def test_mistake_is_named(tmp_path, old, new, names):
    """A key or value that is wrong ends in one line that names the file, the place and the value."""
    with pytest.raises(RequestError) as caught:
        load_edited(tmp_path, old, new)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["edited.toml", *names])


def test_unreadable_preset_is_named(tmp_path):
    """A preset that does not exist, or is no text, is named, and the choices are listed."""
    with pytest.raises(RequestError, match=r"'imagenet-22k'.*imagenette"):
        load_preset("imagenet-22k")
    with pytest.raises(RequestError, match=r"absent\.toml.* does not exist"):
        load_preset(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"binary\.toml is not valid TOML"):
        load_preset(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("4/255", 4 / 255), ("0", 0), ("1", 1), ("0.5", 0.5), ("8/255", 8 / 255), (" 1/2 ", 0.5)],
        *[("0.5/255", 0.5 / 255), ("1.25 / 255", 1.25 / 255), ("5e-1/255", 0.5 / 255), (".5/255.0", 0.5 / 255)],
    ],
)
def test_eps_is_a_fraction(text, value):
    """Radii are read as exact fractions of the pixel range."""
    assert parse_eps(text) == value


@pytest.mark.parametrize("text", ["8", "-1/255", "256/255", "1/0", "four", "", "nan", "1e999", "1/2/3", "0.1/", "/255"])
def test_eps_in_wrong_unit_names_the_unit(text):
    """A radius that is no number, or was meant in steps of 1/255, is refused with an example of the right unit."""
    with pytest.raises(RequestError, match="4/255") as caught:
        parse_eps(text)
    assert "\n" not in str(caught.value)


def test_check_eps_names_its_argument():
    """The message says which argument was wrong."""
    with pytest.raises(RequestError, match="step_size=2 "):
        check_eps(2, "step_size")


@pytest.mark.parametrize("name", available())
def test_shipped_preset_loads(name):
    """Every preset that comes with the package loads, and says what trains each of its networks."""
    preset = load_preset(name)
    assert preset.name == name
    keys = {digest(preset.training_key(a, s, n)) for a in preset.archs for s in SETTINGS for n in preset.seeds}
    assert len(keys) == len(preset.archs) * len(SETTINGS) * len(preset.seeds)
    assert set(preset.archs) <= set(preset.models) <= set(ARCHITECTURES)
    assert 0 < preset.adversary.eps < 0.2
    assert all(0 <= eps <= 1 for eps in preset.evaluation.curve)
    assert preset.training.check_every > 0
    assert preset.training.step_epochs > 0


def test_values_arrive_as_written():
    """Fractions become floats, lists become tuples, and whole numbers may stand for floats."""
    preset, written = load_preset("imagenette"), tomllib.loads(TEXT)
    assert preset.adversary.eps == parse_eps(written["adversary"]["eps"])
    assert preset.seeds == tuple(written["seeds"])
    assert preset.data.mean == tuple(written["data"]["mean"])
    assert preset.models["resnet10"].width == written["models"]["resnet10"]["width"]
    assert isinstance(preset.training.label_smoothing, float)


def test_whole_number_may_stand_for_a_float(tmp_path):
    """`warmup = 0` means 0.0, and both spellings are the same preset."""
    whole, decimal = (load_edited(tmp_path, "warmup = .*", f"warmup = {zero}") for zero in ("0", "0.0"))
    assert type(whole.training.warmup) is float
    assert whole.digest == decimal.digest


def test_presets_are_frozen():
    """No part of a preset can be changed after it was read."""
    preset = load_preset("imagenette")
    for part in (preset, preset.data, preset.training, preset.adversary, preset.evaluation, preset.models["resnet10"]):
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)


def variants(value):
    """The place of every leaf of a preset, and a copy of the preset in which that leaf differs."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for place, changed in variants(getattr(value, field.name)):
                yield f"{field.name}.{place}", dataclasses.replace(value, **{field.name: changed})
    elif isinstance(value, dict):
        for key in value:
            for place, changed in variants(value[key]):
                yield f"{key}.{place}", value | {key: changed}
    elif isinstance(value, tuple):
        yield "", value[:-1]
        yield "", (*value, *value)
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, int | float):
        yield "", value + 1
    else:
        yield "", value + "x"


PRESET = load_preset("imagenette")
VARIANTS = list(variants(PRESET))


def test_digest_changes_with_any_field():
    """Presets that differ anywhere but in their controls have different digests; equal ones have the same."""
    digests = [PRESET.digest, *(changed.digest for place, changed in VARIANTS if not place.startswith("controls."))]
    assert len(digests) == len(set(digests)) > 50
    assert load_preset("imagenette").digest == PRESET.digest


@pytest.mark.parametrize("setting", SETTINGS)
def test_training_key_changes_with_what_training_uses(setting):
    """A checkpoint is named by all that determines its weights, and by nothing else."""
    other = "adv" if setting == "std" else "std"
    unused = [
        "name",
        "title",
        "archs",
        "seeds",
        "evaluation",
        "visualize",
        "corruptions",
        "stylization",
        "ensembles",
        "models.alexnet_bn",
        "controls",
        "data.test_images",
        "data.test_store",
    ]
    unused += ["training.check_every", "training.check_images", f"models.resnet10.epochs_{other}"]
    unused += ["adversary"] if setting == "std" else []
    key = digest(PRESET.training_key("resnet10", setting, 0))
    for place, changed in VARIANTS:
        same = digest(changed.training_key("resnet10", setting, 0)) == key
        assert same == place.startswith(tuple(unused)), place
    assert digest(PRESET.training_key("resnet10", setting, 1)) != key


def test_a_control_has_the_presets_keys_but_for_its_own():
    """What a control does not give is the preset's; where it gives nothing else, it is STD or ADV itself."""
    for name, control in PRESET.controls.items():
        for section in ("training", "adversary"):
            given, own = dataclasses.asdict(getattr(control, section)), dataclasses.asdict(getattr(PRESET, section))
            written = tomllib.loads(TEXT)["controls"][name].get(section, {})
            assert {key for key in own if given[key] != own[key]} <= set(written)
        preset, like = PRESET.variant(name)
        assert like == control.like
        assert PRESET.training_key("resnet10", name, 0) == preset.training_key("resnet10", like, 0)
    plain = dataclasses.replace(PRESET.controls["adv-1"], adversary=PRESET.adversary)
    same = dataclasses.replace(PRESET, controls={"again": plain})
    assert same.training_key("resnet10", "again", 0) == PRESET.training_key("resnet10", "adv", 0)


def test_every_control_has_weights_of_its_own():
    """No two settings of a preset share a checkpoint."""
    keys = {digest(PRESET.training_key("resnet10", name, 0)) for name in (*SETTINGS, *PRESET.controls)}
    assert len(keys) == len(SETTINGS) + len(PRESET.controls) > len(SETTINGS)


def test_controls_make_no_result_stale():
    """The preset's digest, which the results of all other models rest on, leaves controls out."""
    assert dataclasses.replace(PRESET, controls={}).digest == PRESET.digest


def test_doses_are_the_radii_in_ascending_order():
    """STD is at 0, and of the controls only those count that differ from ADV in the radius alone."""
    preset = load_preset("imagenette")
    assert list(preset.doses) == ["std", "adv-1", "adv-2", "adv", "adv-8"]
    assert [round(255 * eps) for eps in preset.doses.values()] == [0, 1, 2, 4, 8]


def test_paper_scale_preset_can_be_written(tmp_path):
    """The paper's own configuration (published networks, step schedule, crops of 224) is a valid preset."""
    text = TEXT
    for old, new in [
        ("archs = .*", 'archs = ["resnet10"]'),
        ("size = .*", "size = 224"),
        ("store = .*", "store = 256"),
        ("test_store = .*", "test_store = 256"),
        ("classes = .*", "classes = 1000"),
        ("crop_scale = .*", "crop_scale = 0.08"),
        (r"\[models.resnet10\]\nstem = .*\nwidth = .*", '[models.resnet10]\nstem = "imagenet"\nwidth = 64'),
        ("schedule = .*", 'schedule = "step"'),
        ("step_epochs = .*", "step_epochs = 30"),
        ("average = .*", "average = 0.0"),
    ]:
        text = edited(text, old, new)
    (tmp_path / "paper.toml").write_text(text)
    preset = load_preset(tmp_path / "paper.toml")
    assert isinstance(preset, Preset)
    assert (preset.name, preset.models["resnet10"].stem, preset.training.step_epochs) == ("paper", "imagenet", 30)
