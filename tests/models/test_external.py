"""Checkpoints of any origin: the same logits from every layout, and one line for every file that is none of them."""

import argparse
import dataclasses
from collections import OrderedDict

import pytest
import torch
from helpers import random_images, small_preset, write_folder
from safetensors.torch import save_file
from torchvision.models import resnet18

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.presets import ExternalConfig
from advlook.experiments.train import measure as measurements
from advlook.models.architectures import Normalized, build_model
from advlook.models.checkpoints import save_checkpoint
from advlook.models.external import load_model
from advlook.study import models as study_module
from advlook.study.study import Study

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGES = random_images(3, 32)


def known(arch="resnet10", stem="imagenet", classes=3, seed=1, mean=MEAN, std=STD):
    """A model with running statistics of its own, so that forgetting them would show in the logits."""
    model = build_model(arch, classes, stem=stem, width=8, mean=mean, std=std, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_buffers():
        if "running" in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


def network(model, prefix="", **renamed):
    """The state dict of the bare network, under a prefix and with parts of its names replaced."""
    state = {}
    for name, value in model.network.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(f"{old}.", f"{new}.")
        state[prefix + name] = value
    return state


def normalisation(prefix, mean, std, shape=(1, 3, 1, 1)):
    """Buffers of a normalisation, named `prefix` + `mean` and `prefix` + `std`."""
    return {prefix + mean: torch.tensor(MEAN).view(shape), prefix + std: torch.tensor(STD).view(shape)}


def robustness(model):
    """What the `robustness` library saves: the network twice, its normalisation twice, and the state of training."""
    state = {
        **normalisation("module.normalizer.", "new_mean", "new_std", (3, 1, 1)),
        **network(model, "module.model."),
        **normalisation("module.attacker.normalize.", "new_mean", "new_std", (3, 1, 1)),
        **network(model, "module.attacker.model."),
    }
    return {"model": OrderedDict(state), "optimizer": {"state": {}, "param_groups": []}, "epoch": 7}


WITH_NORMALISATION = {
    "ours, as torch saves it": lambda model: model.state_dict(),
    "robustness": robustness,
    "robustness, a custom architecture": lambda model: {
        "state_dict": network(model, "module.model.model.")
        | normalisation("module.normalizer.", "new_mean", "new_std", (3, 1, 1))
    },
    "RobustBench, a normalizing layer": lambda model: (
        network(model, "model.") | normalisation("normalize.", "mean", "std")
    ),
    "RobustBench, mu and sigma": lambda model: network(model) | normalisation("", "mu", "sigma", (3, 1, 1)),
    "a flat mean": lambda model: network(model) | normalisation("normalizer.", "mean", "std", (3,)),
    "compiled": lambda model: {f"_orig_mod.{name}": value for name, value in model.state_dict().items()},
}
WITHOUT_NORMALISATION = {
    "torchvision": network,
    "DataParallel": lambda model: {"state_dict": network(model, "module."), "best_acc1": 76.1, "arch": "resnet10"},
    "model": lambda model: {"model": network(model, "model.")},
    "model_state_dict": lambda model: {"epoch": 3, "model_state_dict": network(model, "network.")},
    "net, in a list of prefixes": lambda model: {"net": network(model, "module.model.")},
    "ema": lambda model: {"ema": network(model)},
    "nested twice": lambda model: {"model": {"state_dict": network(model, "module.")}},
    "without counters": lambda model: {k: v for k, v in network(model).items() if "num_batches" not in k},
    "doubles": lambda model: {k: v.double() if v.is_floating_point() else v for k, v in network(model).items()},
}


@pytest.mark.parametrize("layout", WITH_NORMALISATION.values(), ids=WITH_NORMALISATION.keys())
def test_a_layout_with_normalisation_gives_the_same_logits(tmp_path, layout):
    """Weights, statistics and normalisation of every layout are all used, and it is said that they were in the file."""
    model = known()
    torch.save(layout(model), tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10")
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert not loaded.model.training
    assert (loaded.normalisation, loaded.stem, loaded.width, loaded.classes) == ("file", "imagenet", 8, 3)
    assert loaded.size is None


@pytest.mark.parametrize("layout", WITHOUT_NORMALISATION.values(), ids=WITHOUT_NORMALISATION.keys())
def test_a_layout_without_normalisation_takes_what_is_given(tmp_path, layout):
    """Given constants are used; without them ImageNet's are, or the caller's own, and both are called assumed."""
    model, path = known(), tmp_path / "theirs.pth"
    torch.save(layout(model), path)
    given = load_model(path, "resnet10", mean=MEAN, std=STD)
    fallen = load_model(path, "resnet10", fallback=(MEAN, STD))
    assert torch.equal(given.model(IMAGES), model(IMAGES))
    assert torch.equal(fallen.model(IMAGES), model(IMAGES))
    assumed = load_model(path, "resnet10")
    expected = known(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert torch.equal(assumed.model(IMAGES), expected(IMAGES))
    assert [found.normalisation for found in (given, fallen, assumed)] == ["given", "assumed", "assumed"]


def test_given_normalisation_goes_before_the_file(tmp_path):
    """Mean and std that the user gives replace those in the file."""
    torch.save(robustness(known()), tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10", mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert torch.equal(loaded.model(IMAGES), known(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))(IMAGES))
    assert loaded.normalisation == "given"


def test_half_a_normalisation_is_completed_by_the_user(tmp_path):
    """A file with a mean alone is of use to whoever gives both."""
    torch.save(network(known()) | {"mean": torch.zeros(3)}, tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10", mean=MEAN, std=STD)
    assert torch.equal(loaded.model(IMAGES), known()(IMAGES))


def test_torchvision_network_is_ours(tmp_path):
    """A network built by torchvision itself has the logits that torchvision computes."""
    with torch.random.fork_rng():
        theirs = resnet18(num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    loaded = load_model(tmp_path / "resnet18.pth", "resnet18", mean=MEAN, std=STD)
    torch.testing.assert_close(loaded.model(IMAGES), Normalized(theirs, MEAN, STD)(IMAGES))
    assert loaded.width == 64


def test_names_of_cifar_networks_tell_the_stem(tmp_path):
    """`shortcut` and `linear`, as in the robustness library's CIFAR networks, are the stem without pooling."""
    model = known("resnet50", stem="tiny")
    torch.save({"model": network(model, "module.model.", downsample="shortcut", fc="linear")}, tmp_path / "cifar.pt")
    loaded = load_model(tmp_path / "cifar.pt", "resnet50", mean=MEAN, std=STD)
    assert loaded.stem == "tiny"
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    with pytest.raises(RequestError, match=r"cifar\.pt has the stem 'tiny', not 'small'"):
        load_model(tmp_path / "cifar.pt", "resnet50", stem="small")


@pytest.mark.parametrize("arch", ["resnet10", "alexnet_bn"])
@pytest.mark.parametrize("stem", ["small", "tiny"])
def test_stems_that_look_alike_are_asked_for(tmp_path, arch, stem):
    """The tensors of `small` and `tiny` are the same, so that a guess could be wrong without a sign."""
    model = known(arch, stem)
    save_file({name: v.contiguous() for name, v in model.state_dict().items()}, tmp_path / "m.safetensors")
    with pytest.raises(RequestError, match=r"m\.safetensors .*--stem small or --stem tiny"):
        load_model(tmp_path / "m.safetensors", arch)
    loaded = load_model(tmp_path / "m.safetensors", arch, stem=stem)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))


def test_our_own_checkpoint_says_everything(tmp_path):
    """Stem, normalisation and image size of a model trained here are in its file."""
    preset = small_preset()
    model = known("resnet10", "tiny", mean=preset.data.mean, std=preset.data.std)
    key = preset.training_key("resnet10", "std", 0)
    save_checkpoint(tmp_path / "ours.safetensors", model, {"training": key, "test_store": 18})
    loaded = load_model(tmp_path / "ours.safetensors", "resnet10")
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), atol=1e-3, rtol=1e-2)
    assert (loaded.stem, loaded.normalisation, loaded.size, loaded.resize) == ("tiny", "file", 16, 18)


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (exec, (f"open({str(self.target)!r}, 'w')",))


def altered(changes):
    """A layout: the bare state dict with tensors replaced or added, or taken out where the value is None."""

    def layout(model):
        return {name: value for name, value in (network(model) | changes).items() if value is not None}

    return layout


REFUSED = {
    "another arch, deeper": ("resnet18", network, ["lacks", "layer1.1", "another architecture"]),
    "another arch, other blocks": ("resnet50", network, ["lacks", "layer1.0.bn3", "another architecture"]),
    "another kind of network": ("alexnet_bn", network, ["lacks 'features.0.weight'", "alexnet_bn"]),
    "torchvision's AlexNet, without batch normalisation": (
        "alexnet_bn",
        lambda model: (
            {
                name: value
                for name, value in network(known("alexnet_bn")).items()
                if name.startswith("classifier") or value.dim() == 4
            }
            | {"features.0.bias": torch.ones(8)}
        ),
        ["'features.0.bias'", "another architecture"],
    ),
    "missing tensor": ("resnet10", altered({"layer2.0.bn1.weight": None}), ["lacks", "layer2.0.bn1.weight"]),
    "missing head": ("resnet10", altered({"fc.weight": None}), ["lacks 'fc.weight'"]),
    "unknown tensor": ("resnet10", altered({"layer5.weight": torch.ones(1)}), ["unknown", "'layer5.weight'"]),
    "unknown width inside": (
        "resnet10",
        altered({"layer3.0.conv1.weight": torch.ones(9, 16, 3, 3)}),
        ["layer3.0.conv1", "(9, 16"],
    ),
    "unknown kernel": ("resnet10", altered({"conv1.weight": torch.ones(8, 3, 5, 5)}), ["'conv1.weight'", "(8, 3, 5"]),
    "two networks": ("resnet10", lambda model: {"model": network(model), "ema": network(model)}, ["model, ema"]),
    "two copies that differ": (
        "resnet10",
        lambda model: network(model, "module.") | network(known(seed=2), "attacker."),
        ["two different"],
    ),
    "mean without std": ("resnet10", altered({"mean": torch.ones(3)}), ["mean and std"]),
    "mean in grey levels": (
        "resnet10",
        altered({"mean": torch.full((3,), 120.0), "std": torch.ones(3)}),
        ["mean 120,120,120", "[0, 1]"],
    ),
    "std of one channel": ("resnet10", altered({"mean": torch.zeros(3), "std": torch.ones(1)}), ["std 1 "]),
    "no tensors": ("resnet10", lambda model: {"epoch": 3}, ["'epoch'", "no tensor"]),
    "a list": ("resnet10", lambda model: [torch.ones(3)], ["no state dict"]),
    "a dictionary in itself": ("resnet10", lambda model: endless(), ["theirs.pt"]),
    "a whole module": ("resnet10", lambda model: model, ["architectures.Normalized", "torch.save(model.state_dict()"]),
    "training's arguments beside the weights": (
        "resnet10",
        lambda model: {"model": network(model), "args": argparse.Namespace(epochs=3)},
        ["argparse.Namespace", "could run code", "torch.save(model.state_dict()"],
    ),
}


def endless():
    content = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(("arch", "content", "names"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, arch, content, names):
    """A file of something else is refused, naming the file and the first thing that is wrong."""
    torch.save(content(known()), tmp_path / "theirs.pt")
    with pytest.raises(RequestError) as caught:
        load_model(tmp_path / "theirs.pt", arch)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["theirs.pt", *names])


@pytest.mark.parametrize("nested", [lambda model, evil: {"model": network(model), "extra": evil}, lambda _, evil: evil])
def test_code_in_a_checkpoint_does_not_run(tmp_path, nested):
    """A pickle with a side effect is refused by name, and the side effect does not happen."""
    torch.save(nested(known(), Malice(tmp_path / "ran")), tmp_path / "evil.pt")
    with pytest.raises(RequestError, match=r"evil\.pt holds the Python object .*exec"):
        load_model(tmp_path / "evil.pt", "resnet10")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", [b"", b"no weights", b"<html>", b"\x80\x02", None])
def test_broken_file_is_named(tmp_path, damage, recwarn):
    """A file that is empty, something else, or cut off ends in one line and no warning."""
    path = tmp_path / "broken.ckpt"
    torch.save(network(known()), path)
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(RequestError, match=r"broken\.ckpt") as caught:
        load_model(path, "resnet10")
    assert "\n" not in str(caught.value)
    assert not recwarn


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"mean": MEAN}, ["mean and std belong together"]),
        ({"mean": (0.5, 0.5), "std": STD}, ["mean 0.5,0.5 ", "three"]),
        ({"mean": (0.5, 0.5, float("nan")), "std": STD}, ["mean 0.5,0.5,nan"]),
        ({"mean": MEAN, "std": (0.2, 0.2, 0.0)}, ["std 0.2,0.2,0 ", "above 0"]),
        ({"mean": (124, 117, 104), "std": (58, 57, 57)}, ["mean 124,117,104", "[0, 1]"]),
        ({"stem": "large"}, ["'large'", "tiny"]),
        ({"stem": "tiny"}, ["has the stem 'imagenet', not 'tiny'"]),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path, options, names):
    """A normalisation that is none, or another stem than the file's, is refused with its value."""
    torch.save(network(known()), tmp_path / "theirs.pt")
    with pytest.raises(RequestError) as caught:
        load_model(tmp_path / "theirs.pt", "resnet10", **options)
    assert all(name in str(caught.value) for name in names)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with images of three classes and checkpoints from elsewhere."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", side=40)
    torch.save(robustness(known()), tmp_path / "robust.pt")
    torch.save(network(known()), tmp_path / "plain.pth")
    torch.save(network(known(stem="tiny")), tmp_path / "tiny.pt")
    torch.save({"model": Malice(tmp_path / "ran")}, tmp_path / "evil.pt")
    return tmp_path


def test_evaluate_takes_a_checkpoint_from_elsewhere(place, capsys):
    """One table: the images' size as asked for, where the normalisation came from, clean and robust accuracy."""
    arguments = "evaluate --checkpoint robust.pt --arch resnet10 --data photos --size 32 --attack pgd --steps 2"
    assert main(arguments.split()) == 0
    captured = capsys.readouterr()
    header, row = captured.out.strip().splitlines()
    assert "pgd, eps 4/255, 2 steps" in header
    assert row.split()[:6] == ["robust.pt", "6", "32", "of", "37", "file"]
    assert "assumed" not in captured.err


def test_evaluate_says_what_it_assumes(place, capsys):
    """Of a bare state dict it shows 224 of 256 pixels, and says that ImageNet's normalisation is assumed."""
    arguments = "evaluate --checkpoint plain.pth --arch resnet10 --data photos"
    assert main(arguments.split()) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:6] == ["plain.pth", "6", "224", "of", "256", "assumed"]
    assert len(captured.out.splitlines()) == 2
    assert "plain.pth does not say its normalisation" in captured.err
    assert "--mean and --std" in captured.err


def test_evaluate_uses_the_normalisation_given(place, capsys):
    """The accuracies of a bare state dict with mean and std are those of the same network with both in its file."""
    common = "--arch resnet10 --data photos --size 32 --resize 32 --attack fgsm --eps 16/255"
    rows = []
    for checkpoint in ("robust.pt", "plain.pth --mean 0.4,0.5,0.6 --std 0.2,0.25,0.3"):
        assert main(f"evaluate --checkpoint {checkpoint} {common}".split()) == 0
        rows.append(capsys.readouterr().out.splitlines()[1].split())
    assert [row[5] for row in rows] == ["file", "given"]
    assert rows[0][6:] == rows[1][6:]


BAD = {
    "code": ("evil.pt", "evil.pt holds the Python object"),
    "another arch": ("robust.pt --arch resnet50", "another architecture"),
    "no stem": ("tiny.pt", "--stem tiny"),
    "no size": ("tiny.pt --stem tiny", "--size"),
    "unknown stem": ("tiny.pt --stem huge", "huge"),
    "two means": ("plain.pth --mean 0.5,0.5 --std 0.2,0.2,0.2", "0.5,0.5"),
    "mean is no number": ("plain.pth --mean a,b,c --std 0.2,0.2,0.2", "a,b,c"),
    "mean is infinite": ("plain.pth --mean inf,0.5,0.5 --std 0.2,0.2,0.2", "inf"),
    "mean alone": ("plain.pth --mean 0.5,0.5,0.5", "belong together"),
    "std of zero": ("plain.pth --mean 0.5,0.5,0.5 --std 0,0.2,0.2", "std 0,"),
    "size of zero": ("plain.pth --size 0", "--size: 0"),
    "short side below the size": ("plain.pth --size 32 --resize 16", "resize=16"),
    "size is no number": ("plain.pth --size big", "big"),
}


@pytest.mark.parametrize(("options", "named"), BAD.values(), ids=BAD.keys())
def test_evaluate_refuses_in_one_line(place, capsys, options, named):
    """A checkpoint or an option that does not do ends in one line and code 2, and nothing is run."""
    try:
        code = main(f"evaluate --arch resnet10 --data photos --checkpoint {options}".split())
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert (code, len(lines), captured.out) == (2, 1, "")
    assert named in lines[0]
    assert not (place / "ran").exists()


def test_a_size_that_the_network_cannot_see_is_named(place, capsys):
    """AlexNet's published stem leaves nothing of 32 pixels: that is told, not raised from inside."""
    torch.save(known("alexnet_bn").network.state_dict(), place / "alexnet.pt")
    arguments = "evaluate --checkpoint alexnet.pt --arch alexnet_bn --data photos --size 32"
    assert main(arguments.split()) == 2
    assert "size=32 does not suit" in capsys.readouterr().err


def pair(folder, **paths):
    """A preset of one architecture whose models are files in `folder`, one with its normalisation and one without."""
    preset = small_preset(data={"name": "noise", "mean": MEAN, "std": STD})
    paths = {"std": str(folder / "std.pt"), "adv": str(folder / "adv.pt")} | paths
    torch.save(robustness(known(stem="tiny")), folder / "std.pt")
    torch.save(network(known(stem="tiny", seed=2)), folder / "adv.pt")
    external = {"resnet10": ExternalConfig(**paths)}
    return dataclasses.replace(preset, archs=("resnet10",), seeds=(0,), external=external)


@pytest.fixture
def untrained(monkeypatch):
    """Any training fails the test."""
    monkeypatch.setattr(study_module, "train", lambda *a, **k: pytest.fail("training was started"))


def test_external_models_stand_in_for_training(tmp_path, untrained):
    """The study's models have the logits of the files, normalisation from the file or else the preset's."""
    study = Study(pair(tmp_path), output=tmp_path / "figures", data=tmp_path, progress=False)
    study.train_all()
    for setting, seed in (("std", 1), ("adv", 2)):
        model = study.model("resnet10", setting, 0)
        assert torch.equal(model(IMAGES), known(stem="tiny", seed=seed)(IMAGES))
        assert study.checkpoint("resnet10", setting, 0) == tmp_path / f"{setting}.pt"
        assert study.find_checkpoint("resnet10", setting, 0) == tmp_path / f"{setting}.pt"
        assert study.metadata("resnet10", setting, 0) == {}
    untrained_model = study.model("resnet10", "random", 0)
    assert untrained_model.network.conv1.weight.shape == model.network.conv1.weight.shape


def test_external_models_have_no_history(tmp_path, untrained):
    """The training notebook gets empty tables with the usual columns."""
    study = Study(pair(tmp_path), output=tmp_path / "figures", data=tmp_path, progress=False)
    history = measurements.training_history(study)
    report = measurements.overfitting_report(history)
    assert history.empty
    assert report.empty
    assert {"arch", "setting", "seed", "epoch", "loss", "clean", "fgsm", "pgd"} <= set(history)
    assert list(report) == ["arch", "setting", "seed", "fgsm", "pgd", "gap", "catastrophic"]


def test_history_of_an_external_model_that_has_one(tmp_path, untrained):
    """A model trained here and named as external keeps the history in its file; the other one is left out."""
    preset = pair(tmp_path, std=str(tmp_path / "std.safetensors"))
    epochs = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "clean": 50.0, "fgsm": 20.0, "pgd": 15.0}]
    save_checkpoint(tmp_path / "std.safetensors", known(stem="tiny"), {"history": epochs})
    history = measurements.training_history(Study(preset, data=tmp_path, progress=False))
    assert history[["arch", "setting", "seed", "epoch"]].values.tolist() == [
        ["resnet10", "std", 0, 1],
        ["resnet10", "std", 0, 2],
    ]
    assert measurements.overfitting_report(history)["gap"].tolist() == [5.0]


def test_absent_external_model_is_named_before_any_training(tmp_path, untrained):
    """The line names the file, the place in the preset and what to do, also where other models would be trained."""
    preset = dataclasses.replace(pair(tmp_path), archs=("alexnet_bn", "resnet10"))
    (tmp_path / "adv.pt").unlink()
    study = Study(preset, output=tmp_path / "figures", data=tmp_path, progress=False)
    assert study.find_checkpoint("resnet10", "adv", 0) is None
    for attempt in (study.train_all, lambda: study.model("resnet10", "adv", 0)):
        with pytest.raises(RequestError, match=r"adv\.pt \(adv of \[external\.resnet10\].*put it there"):
            attempt()
    with pytest.raises(RequestError, match="external: its pairs are 0, not 1"):
        study.model("resnet10", "std", 1)


@pytest.mark.parametrize(
    ("section", "change", "names"),
    [
        ("data", {"classes": 4}, ["std.pt", "data.classes = 3", "4"]),
        ("model", {"width": 16}, ["std.pt", "models.resnet10.width = 8", "16"]),
        ("model", {"stem": "imagenet"}, ["std.pt", "'conv1.weight'"]),
    ],
)
def test_external_model_that_the_preset_does_not_describe(tmp_path, section, change, names):
    """Classes, width and stem of the file are those that the preset states."""
    preset = pair(tmp_path)
    other = small_preset(**{section: change})
    preset = dataclasses.replace(
        preset, data=dataclasses.replace(preset.data, classes=other.data.classes), models=other.models
    )
    with pytest.raises(RequestError) as caught:
        Study(preset, data=tmp_path).model("resnet10", "std", 0)
    assert all(name in str(caught.value) for name in names)


def test_relative_paths_start_at_the_project(tmp_path, monkeypatch):
    """A path in a preset means the same file from whatever folder the study is run."""
    monkeypatch.setattr(study_module, "ROOT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    preset = pair(tmp_path / "project", std="std.pt")
    monkeypatch.chdir(tmp_path)
    found = Study(preset, data=tmp_path / "data").find_checkpoint("resnet10", "std", 0)
    assert found == tmp_path / "project" / "std.pt"


def test_external_models_change_no_checkpoint_name(tmp_path):
    """What stands in for one architecture has no part in what names the trained checkpoints, only in the preset."""
    preset = pair(tmp_path)
    plain = dataclasses.replace(preset, external={})
    assert preset.digest != plain.digest
    for arch in ("alexnet_bn", "resnet10"):
        assert digest(preset.training_key(arch, "adv", 0)) == digest(plain.training_key(arch, "adv", 0))


def test_reproduce_names_an_absent_external_model(tmp_path, capsys):
    """The runner refuses a preset whose models are not there before it starts a notebook: exit code 2, one line."""
    assert main(["reproduce", "--preset", "external", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "resnet50-std.pt" in error
    assert not any(tmp_path.rglob("*.ipynb"))
