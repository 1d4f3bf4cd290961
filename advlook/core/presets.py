"""Presets: what one scale of the study fixes, key by key, read from TOML and checked in one line."""

import dataclasses
import re
import tomllib
import typing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.precision import PRECISIONS

ARCHITECTURES = ("alexnet_bn", "resnet10", "resnet18", "resnet50", "resnet101")
SETTINGS = ("std", "adv")
STEMS = ("imagenet", "small", "tiny")


class Eps(float):
    """A radius or step in pixel units of [0, 1]; written "4/255" in presets and on the command line."""


def parse_eps(text: str) -> float:
    """Read "4/255" or "0.0157" as a radius in pixel units of [0, 1].

    Raises RequestError where it is no number or lies outside [0, 1].
    """
    try:
        value = float(Fraction(str(text)))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise RequestError(f"eps {text!r} is not a number; write it as a fraction such as 4/255") from None
    return check_eps(value)


def check_eps(eps: float, name: str = "eps") -> float:
    """Return `eps` where it is a radius for images in [0, 1]; RequestError where it is in the wrong unit."""
    if not 0 <= eps <= 1:
        raise RequestError(
            f"{name}={eps:g} is outside [0, 1]: images lie in [0, 1], so give it in those units, e.g. {name}=4/255"
        )
    return float(eps)


@dataclass(frozen=True)
class DataConfig:
    """The image set and how it is cropped and augmented."""

    name: str  # "synthetic", "imagenette", "cifar10", "imagenet", or the path of a folder with train/ and test/
    size: int  # pixels a side that the models see
    classes: int
    train_images: int  # images an epoch; 0: all there are
    test_images: int  # the first so many of a fixed shuffle; 0: all there are
    store: int  # pixels a side at which training images are kept, at least `size`; 0: they are read from their files
    test_store: int  # pixels of a test image's short side, of which the central `size` are shown
    crop_scale: float  # random resized crop: least share of the area kept; 1 switches it off
    shift: int  # random shift in pixels, edges reflected
    flip: bool
    mean: tuple[float, float, float]  # of the normalisation inside the models
    std: tuple[float, float, float]


@dataclass(frozen=True)
class ArchConfig:
    """How an architecture is fitted to the image size, its learning rate, and how long it is trained."""

    stem: str  # "imagenet": the published one; "small": resolution halved; "tiny": kept (see models.py)
    width: int  # channels of the first layer (64 in the published networks)
    learning_rate: float
    epochs_std: int
    epochs_adv: int


@dataclass(frozen=True)
class ExternalConfig:
    """Checkpoints of other origin that stand in for training an architecture (layouts: external.py)."""

    std: str  # path of the standard model: absolute, with ~, or seen from the project's folder
    adv: str  # of the adversarially trained one


@dataclass(frozen=True)
class TrainingConfig:
    """Stochastic gradient descent with momentum, shared by both settings."""

    batch_size: int  # however many processes share it
    accumulate: int  # parts in which a batch is worked off where memory is short; each is normalised by itself
    momentum: float
    weight_decay: float
    label_smoothing: float
    schedule: str  # "step": divided by 10 every `step_epochs`; "onecycle": up for `warmup`, then down to 0
    step_epochs: int
    sizes: tuple[int, ...]  # pixels a side of the training crops, in equal shares of the epochs (progressive resizing)
    warmup: float  # share of the epochs in which a one-cycle rate rises
    average: float  # decay of an exponential moving average of the weights, taken at the end; 0: none
    precision: str  # "float32", "bfloat16", or "auto": bfloat16 where the hardware multiplies it natively
    rate_for_batch: int  # images of a batch that learning rates are stated for, to be scaled linearly; 0: they are not
    compile: bool  # by torch.compile
    check_every: int  # epochs between measurements of FGSM and PGD accuracy
    check_images: int

    def key(self) -> dict[str, object]:
        """What of it determines weights; a later option is in it only where it is used, so that older names hold."""
        values = dataclasses.asdict(self)
        for unused in ("check_every", "check_images"):
            del values[unused]
        for later, neutral in {"accumulate": 1, "rate_for_batch": 0, "compile": False}.items():
            if values[later] == neutral:
                del values[later]
        return values


@dataclass(frozen=True)
class AdversaryConfig:
    """The attack inside adversarial training (paper: FGSM, L-infinity)."""

    eps: Eps
    method: str  # "fgsm" or "pgd"
    step_size: Eps
    steps: int  # of pgd
    random_start: bool
    ramp_share: float  # share of the epochs over which eps rises from 0
    updates_batchnorm: bool  # whether the attack's forward passes count in the running statistics

    def ramp_epochs(self, epochs: int) -> int:
        """Of so many epochs, those in which eps is still rising."""
        return round(self.ramp_share * epochs)


@dataclass(frozen=True)
class EvaluationConfig:
    """The measurements of notebooks 01 and 02."""

    batch_size: int
    eps: Eps
    pgd_steps: int
    pgd_restarts: int
    l2_eps: float  # radius of the L2 attack, in the same units (may exceed 1)
    curve: tuple[Eps, ...]  # L-infinity radii of the accuracy curve
    curve_images: int  # images used by curve and comparison; 0: all test images
    steps: tuple[int, ...]  # steps of PGD at which its convergence is measured
    restarts: tuple[int, ...]  # and restarts
    suite_steps: int  # of APGD in the suite of attacks
    top_k: int


@dataclass(frozen=True)
class VisualizeConfig:
    """The maps, layers and scales of notebook 03, and the sanity checks of notebook 07."""

    images: int  # test images whose maps and answers are measured
    samples: int  # noisy copies of SmoothGrad, and steps of integrated gradients
    shown: int  # images in the figure of maps; the appendix shows four times as many
    units: int  # units of each layer that are maximised, drawn by seed
    steps: int  # of activation maximisation
    starts: int  # ascents of each unit
    fourier_eps: float  # L2 norm of the perturbations of one frequency
    fourier_stride: int  # every so many frequencies are tried
    sanity_images: int  # images on which maps of several models are compared


@dataclass(frozen=True)
class CorruptionsConfig:
    """The operations of notebook 04. Level 0, the images as they are, is always measured and not named here."""

    images: int  # test images, drawn by a seed; 0: all
    sigmas: tuple[float, ...]  # of the Gaussian blur, in pixels, ascending
    blur_kernel: int  # pixels a side to which every blur is cut
    passes: tuple[int, ...]  # of the median filter, ascending
    median_kernels: tuple[int, ...]  # pixels a side: a sweep each
    family_images: int  # of the images, the first so many: for noise, blur, weather and digital corruptions


@dataclass(frozen=True)
class EnsemblesConfig:
    """The image sets of notebook 06, and how ensembles are trained on them."""

    targets: tuple[str, ...]  # sets by name or path; "name@20": degraded to 20 px a side and brought back up
    train_images: int  # of each set, drawn by one seed; all where it has fewer
    test_images: int  # the same of its test split
    epochs: int  # of fine-tuning
    learning_rate: float  # constant
    runs: int  # of every combination on every set
    frozen_epochs: int  # of linear classifiers on frozen backbones
    frozen_learning_rate: float
    frozen_runs: int
    degraded: tuple[str, ...]  # sets that are also measured at lower resolutions, backbones frozen
    sides: tuple[int, ...]  # these resolutions, in pixels a side, ascending


@dataclass(frozen=True)
class StylizationConfig:
    """The stylized images of notebook 05."""

    engine: str  # "optimised": image by image, nothing trained; "adain": a network, for images of 224 px
    styles: str  # "generated" textures, or a folder of pictures in data/datasets
    images: int  # test images at full strength; 0: all
    partial_images: int  # the first so many of them at the strengths in between
    cues: int  # images with the form of one class and the texture of another
    steps: int  # of the optimisation of an image


@dataclass(frozen=True)
class Preset:
    """One scale of the study."""

    name: str
    title: str
    archs: tuple[str, ...]
    seeds: tuple[int, ...]
    data: DataConfig
    models: dict[str, ArchConfig]
    external: dict[str, ExternalConfig]  # by architecture; those that are not in it are trained
    training: TrainingConfig
    adversary: AdversaryConfig
    evaluation: EvaluationConfig
    visualize: VisualizeConfig
    corruptions: CorruptionsConfig
    ensembles: EnsemblesConfig
    stylization: StylizationConfig

    @property
    def digest(self) -> str:
        """Hash of everything the preset says."""
        return digest(dataclasses.asdict(self))

    def training_key(self, arch: str, setting: str, seed: int) -> dict[str, object]:
        """What determines one model's weights; its digest names the checkpoint."""
        data = dataclasses.asdict(self.data)
        for unused in ("test_images", "test_store"):
            data.pop(unused)
        training = self.training.key()
        model = dataclasses.asdict(self.models[arch])
        epochs = {setting: model.pop(f"epochs_{setting}") for setting in SETTINGS}
        training["epochs"] = epochs[setting]
        key = {"arch": arch, "setting": setting, "seed": seed, "data": data, "model": model, "training": training}
        if setting == "adv":
            adversary = dataclasses.asdict(self.adversary)
            adversary["ramp_epochs"] = self.adversary.ramp_epochs(epochs[setting])
            del adversary["ramp_share"]
            key["adversary"] = adversary
        return key


PRESET_FOLDER = Path(__file__).parents[1] / "presets"


def available() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def load_preset(name: str | Path) -> Preset:
    """Read a preset by name, or from a path that ends in .toml.

    Raises RequestError naming an unknown preset, or the key that is unknown, missing or of the wrong type.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = PRESET_FOLDER / f"{name}.toml"
        if not path.is_file():
            raise RequestError(
                f"preset {str(name)!r} does not exist; choose one of {', '.join(available())}, or a .toml"
            )
    elif not path.is_file():
        raise RequestError(f"preset file {path} does not exist")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"preset {path.name} is not valid TOML: {error}") from None
    preset = _build(Preset, {"name": path.stem, **values}, path.name)
    _check(preset, path.name)
    return preset


def _build(kind: type, values: object, where: str) -> typing.Any:
    """Turn parsed TOML into dataclass `kind`; `where` names the place in error messages."""
    if not isinstance(values, dict):
        raise RequestError(f"{where} must be a table, not {values!r}")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise RequestError(f"{where}: unknown key {key!r}; the keys are {', '.join(hints)}")
    for key in hints:
        if key not in values:
            raise RequestError(f"{where}: missing key {key!r}")
    return kind(**{key: _convert(hints[key], values[key], f"{where}: {key}") for key in hints})


def _convert(hint: typing.Any, value: object, where: str) -> object:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if origin is dict and isinstance(value, dict):
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is Eps and isinstance(value, str):
        try:
            return parse_eps(value)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    expected = {Eps: 'a string such as "4/255"'}.get(hint, getattr(hint, "__name__", str(hint)))
    raise RequestError(f"{where} = {value!r} should be {expected}")


def _check(preset: Preset, where: str) -> None:
    """Refuse values that are well typed and make no sense, before anything is computed."""
    training, data, adversary = preset.training, preset.data, preset.adversary
    corruptions, ensembles = preset.corruptions, preset.ensembles
    chosen = [
        ("training.schedule", training.schedule, ("step", "onecycle")),
        ("training.precision", training.precision, PRECISIONS),
        ("adversary.method", adversary.method, ("fgsm", "pgd")),
        ("stylization.engine", preset.stylization.engine, ("optimised", "adain")),
    ]
    positive = [
        ("training.step_epochs", training.step_epochs),
        ("evaluation.suite_steps", preset.evaluation.suite_steps),
        ("training.check_every", training.check_every),
        ("training.accumulate", training.accumulate),
        ("adversary.steps", adversary.steps),
        ("adversary.eps", adversary.eps),
        *((f"visualize.{key}", value) for key, value in dataclasses.asdict(preset.visualize).items()),
        ("corruptions.family_images", corruptions.family_images),
        *((f"stylization.{key}", getattr(preset.stylization, key)) for key in ("partial_images", "cues", "steps")),
        *(
            (f"ensembles.{key}", value)
            for key, value in dataclasses.asdict(ensembles).items()
            if not isinstance(value, tuple)
        ),
    ]
    ascending = [
        ("corruptions.sigmas", corruptions.sigmas),
        ("corruptions.passes", corruptions.passes),
        ("corruptions.median_kernels", corruptions.median_kernels),
        ("ensembles.sides", ensembles.sides),
    ]
    resized = any(size != data.size for size in training.sizes)
    generated = data.name == "synthetic"
    rules = [
        (not preset.archs, "archs is empty"),
        (not preset.seeds, "seeds is empty"),
        *(
            (value not in choices, f"{key} = {value!r} is not one of {', '.join(choices)}")
            for key, value, choices in chosen
        ),
        *((value <= 0, f"{key} = {value} must be positive") for key, value in positive),
        *(
            (
                not values or min(values) <= 0 or list(values) != sorted(set(values)),
                f"{key} = {list(values)} must be positive and ascend",
            )
            for key, values in ascending
        ),
        *(
            (kernel < 1 or kernel % 2 == 0, f"corruptions: kernel of {kernel} pixels is not odd")
            for kernel in (corruptions.blur_kernel, *corruptions.median_kernels)
        ),
        (data.test_store < data.size, f"data.test_store = {data.test_store} is below data.size = {data.size}"),
        (0 != data.store < data.size, f"data.store = {data.store} is below data.size = {data.size}"),
        (
            data.store == 0 and data.crop_scale == 1,
            "data.store = 0 needs data.crop_scale < 1: images that are read from their files are cropped at random",
        ),
        (not 0 < data.crop_scale <= 1, f"data.crop_scale = {data.crop_scale} is not in (0, 1]"),
        (not training.sizes or min(training.sizes) < 1, f"training.sizes = {list(training.sizes)} names no size"),
        (
            resized and data.crop_scale == 1,
            f"training.sizes = {list(training.sizes)} needs data.crop_scale < 1: only crops are resized",
        ),
        (
            generated and (data.crop_scale < 1 or data.shift > 0 or data.flip),
            "data.crop_scale, shift and flip must be 1.0, 0 and false: generated images are fresh in every epoch",
        ),
        (not ensembles.targets, "ensembles.targets is empty"),
        *(
            (not re.fullmatch("[^@]+(@[1-9][0-9]*)?", name), f'ensembles.targets: {name!r} is no "name" or "name@20"')
            for name in ensembles.targets
        ),
        *((arch not in preset.archs, f"external.{arch} is not one of archs") for arch in preset.external),
        (
            bool(preset.external) and preset.seeds != (0,),
            f"seeds = {list(preset.seeds)} must be [0] where [external] names checkpoints: each is one model",
        ),
        (
            training.batch_size < 2 * max(1, training.accumulate),
            f"training.batch_size = {training.batch_size} in {training.accumulate} parts is too small for batch "
            "normalisation",
        ),
        (
            training.batch_size % max(1, training.accumulate) != 0,
            f"training.batch_size = {training.batch_size} is not divisible by training.accumulate = "
            f"{training.accumulate}",
        ),
        (training.rate_for_batch < 0, f"training.rate_for_batch = {training.rate_for_batch} is negative"),
    ]
    for arch in (*preset.archs, *preset.models):
        rules.append((arch not in ARCHITECTURES, f"arch {arch!r} is unknown; choose from {', '.join(ARCHITECTURES)}"))
        rules.append((arch not in preset.models, f"missing key 'models.{arch}'"))
    for arch, model in preset.models.items():
        for epochs in (model.epochs_std, model.epochs_adv):
            rules.append((epochs <= 0, f"models.{arch} must be trained for at least one epoch, not {epochs}"))
        rules.append((model.stem not in STEMS, f"models.{arch}.stem = {model.stem!r} is unknown"))
    for broken, message in rules:
        if broken:
            raise RequestError(f"{where}: {message}")
