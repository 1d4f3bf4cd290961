"""Presets: every key of a preset file with its type, its range and, in the comment behind it, its meaning."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.precision import PRECISIONS
from advlook.core.radius import Eps

ARCHITECTURES = ("alexnet_bn", "resnet10", "resnet18", "resnet50", "resnet101")
SETTINGS = ("std", "adv")
STEMS = ("imagenet", "small", "tiny")


def _ascending(values: tuple) -> tuple:
    if list(values) != sorted(set(values)):
        raise ValueError("must ascend")
    return values


def _target(name: str) -> str:
    if not re.fullmatch("[^@]+(@[1-9][0-9]*)?", name):
        raise ValueError("must be the name of an image set, with @ and its pixels a side where it is reduced")
    return name


def _odd(pixels: int) -> int:
    if pixels % 2 == 0:
        raise ValueError("must be odd")
    return pixels


Item = TypeVar("Item")
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
Odd = Annotated[Positive, AfterValidator(_odd)]
Several = Annotated[tuple[Item, ...], Field(min_length=1)]
Ascending = Annotated[Several[Item], AfterValidator(_ascending)]


@dataclass(frozen=True)
class DataConfig:
    """The image set and how it is cropped and augmented."""

    name: str  # "synthetic", "imagenette", "cifar10", "imagenet", or the path of a folder with train/ and test/
    size: Positive  # pixels a side that the models see
    classes: Positive
    train_images: Count  # images an epoch; 0: all
    test_images: Count  # the first so many of a fixed shuffle; 0: all
    store: Count  # pixels a side at which training images are kept, at least `size`; 0: read from their files
    test_store: Positive  # pixels of a test image's short side, of which the central `size` are shown
    crop_scale: Annotated[float, Field(gt=0, le=1)]  # random resized crop: least share of the area kept; 1: no crop
    shift: Count  # random shift in pixels, edges reflected
    flip: bool
    mean: tuple[float, float, float]  # of the normalisation inside the models
    std: tuple[float, float, float]


@dataclass(frozen=True)
class ArchConfig:
    """How an architecture is fitted to the image size, its learning rate, and how long it is trained."""

    stem: Literal[*STEMS]  # "imagenet": the published one; "small" halves resolution; "tiny" keeps it
    width: Positive  # channels of the first layer (64 in the published networks)
    learning_rate: Above0
    epochs_std: Positive
    epochs_adv: Positive


@dataclass(frozen=True)
class ExternalConfig:
    """Checkpoints of other origin in place of trained ones (on-disk layouts: models/external.py)."""

    std: str  # path of the standard model: absolute, with ~, or relative to the project's folder
    adv: str  # path of the adversarially trained model


@dataclass(frozen=True)
class TrainingConfig:
    """Stochastic gradient descent with momentum, shared by both settings."""

    batch_size: Positive  # of all processes together
    accumulate: Positive  # parts into which a batch is cut where memory is short; each is normalised by itself
    momentum: float
    weight_decay: float
    label_smoothing: float
    schedule: Literal["step", "onecycle"]  # divided by 10 every `step_epochs`; or up for `warmup`, then down to 0
    step_epochs: Positive
    sizes: Several[Positive]  # pixels a side of training crops, in equal shares of the epochs (progressive resizing)
    warmup: float  # share of the epochs in which a one-cycle rate rises
    average: float  # decay of an exponential moving average of the weights, taken at the end; 0: none
    precision: Literal[*PRECISIONS]  # "auto": bfloat16 where the hardware multiplies it natively
    rate_for_batch: Count  # batch size that learning rates are stated for, scaled linearly from there; 0: not scaled
    compile: bool  # by torch.compile
    check_every: Positive  # epochs between measurements of FGSM and PGD accuracy
    check_images: int

    def key(self) -> dict[str, object]:
        """The keys that determine the weights; a later option is among them only where it is used: old names hold."""
        unused = {"accumulate": 1, "rate_for_batch": 0, "compile": False}.items()
        items = [(key, value) for key, value in asdict(self).items() if key not in ("check_every", "check_images")]
        return dict(item for item in items if item not in unused)


@dataclass(frozen=True)
class AdversaryConfig:
    """The attack inside adversarial training (paper: FGSM, L-infinity)."""

    eps: Annotated[Eps, Field(gt=0)]
    method: Literal["fgsm", "pgd"]
    step_size: Eps
    steps: Positive  # of pgd
    random_start: bool
    ramp_share: float  # share of the epochs in which eps is still rising; 0: full from the first
    updates_batchnorm: bool  # whether the attack's forward passes count in the running statistics

    def ramp_epochs(self, epochs: int) -> int:
        """Of so many epochs, those in which eps is still rising."""
        return round(self.ramp_share * epochs)


@dataclass(frozen=True)
class EvaluationConfig:
    """The measurements of notebooks 01 and 02."""

    batch_size: Positive
    eps: Eps
    pgd_steps: Positive
    pgd_restarts: Positive
    l2_eps: float  # radius of the L2 attack, in the same units (may exceed 1)
    curve: tuple[Eps, ...]  # L-infinity radii of the accuracy curve
    curve_images: Count  # images used by curve and comparison; 0: all test images
    steps: tuple[int, ...]  # steps of PGD at which its convergence is measured
    restarts: tuple[int, ...]  # and restarts
    suite_steps: Positive  # of APGD in the suite of attacks
    top_k: Positive


@dataclass(frozen=True)
class VisualizeConfig:
    """The maps, layers and scales of notebook 03, and the sanity checks of notebook 07."""

    images: Positive  # test images whose maps and answers are measured
    samples: Positive  # noisy copies of SmoothGrad, and steps of integrated gradients
    shown: Positive  # images in the figure of maps; the appendix shows four times as many
    units: Positive  # units of each layer that are maximised, drawn by seed
    steps: Positive  # of activation maximisation
    starts: Positive  # random starts of each unit's maximisation
    fourier_eps: Above0  # L2 norm of the perturbations of one frequency
    fourier_stride: Positive  # every so many frequencies are tried
    sanity_images: Positive  # images on which maps of several models are compared


@dataclass(frozen=True)
class CorruptionsConfig:
    """The operations of notebook 04. Level 0, the images as they are, is always measured and not named here."""

    images: Count  # test images, drawn by a seed; 0: all
    sigmas: Ascending[Above0]  # of the Gaussian blur, in pixels
    blur_kernel: Odd  # pixels a side to which every blur is cut
    passes: Ascending[Positive]  # of the median filter
    median_kernels: Ascending[Odd]  # pixels a side: a sweep each
    family_images: Positive  # the first so many of the images: for noise, blur, weather and digital corruptions
    pairs: Positive  # of test images, for hybrid images; fewer where the test images do not suffice
    controls: Positive  # the first so many of the pairs: for each control of the hybrid images, and untrained models
    masked: Positive  # test images under noise of one octave


@dataclass(frozen=True)
class EnsemblesConfig:
    """The image sets of notebook 06, and how ensembles are trained on them."""

    # Sets by name or path; "name@20": reduced to 20 px a side and enlarged again.
    targets: Several[Annotated[str, AfterValidator(_target)]]
    train_images: Positive  # of each set, drawn by one seed; all where it has fewer
    test_images: Positive  # the same of its test split
    epochs: Positive  # of fine-tuning
    learning_rate: Above0  # constant
    runs: Positive  # of every combination on every set
    frozen_epochs: Positive  # of linear classifiers on frozen backbones
    frozen_learning_rate: Above0
    frozen_runs: Positive
    degraded: tuple[str, ...]  # sets that are also measured at lower resolutions, backbones frozen
    sides: Ascending[Positive]  # these resolutions, in pixels a side


@dataclass(frozen=True)
class StylizationConfig:
    """The stylized images of notebook 05."""

    engine: Literal["optimised", "adain"]  # image by image, nothing trained; or a network, for images of 224 px
    styles: str  # "generated" textures, or a folder of pictures in data/datasets
    images: Count  # test images at full strength; 0: all
    partial_images: Positive  # the first so many of them at the strengths in between
    cues: Positive  # images with the form of one class and the texture of another
    steps: Positive  # of the optimisation of an image


@dataclass(frozen=True)
class Preset:
    """One scale of the study."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # and of all sections
    name: str
    title: str
    archs: Several[Literal[*ARCHITECTURES]]
    seeds: Several[int]
    data: DataConfig
    models: dict[Literal[*ARCHITECTURES], ArchConfig]
    external: dict[str, ExternalConfig]  # by architecture; the others are trained
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
        return digest(asdict(self))

    def training_key(self, arch: str, setting: str, seed: int) -> dict[str, object]:
        """What determines one model's weights; its digest names the checkpoint."""
        values = asdict(self)
        data, model, adversary = values["data"], values["models"][arch], values["adversary"]
        del data["test_images"], data["test_store"]
        epochs = {each: model.pop(f"epochs_{each}") for each in SETTINGS}[setting]
        training = self.training.key() | {"epochs": epochs}
        key = {"arch": arch, "setting": setting, "seed": seed, "data": data, "model": model, "training": training}
        if setting == "adv":
            del adversary["ramp_share"]
            key["adversary"] = adversary | {"ramp_epochs": self.adversary.ramp_epochs(epochs)}
        return key


PRESET_FOLDER = Path(__file__).parents[1] / "presets"


def available() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def load_preset(name: str | Path) -> Preset:
    """Read a preset by name, or from a path that ends in .toml; RequestError where it is unknown or not valid."""
    path = Path(name) if Path(name).suffix == ".toml" else PRESET_FOLDER / f"{name}.toml"
    if not path.is_file():
        choices = f"choose one of {', '.join(available())}, or a path that ends in .toml"
        raise RequestError(f"preset {str(name)!r} does not exist; {choices}")
    try:
        values = json.dumps({"name": path.stem} | tomllib.loads(path.read_text()), default=str)
        # Of JSON, strict mode accepts a list as a tuple and 1 as a float, but neither 1.0 nor true as an integer.
        preset = TypeAdapter(Preset).validate_json(values)
    except ValidationError as error:
        raise RequestError(f"{path.name}: {_first_mistake(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"preset {path.name} is not valid TOML: {error}") from None
    for message in _contradictions(preset):
        raise RequestError(f"{path.name}: {message}")
    return preset


def _first_mistake(error: ValidationError) -> str:
    """One mistake in one line. An unknown key comes first: often it is a missing one, misspelt."""
    first = min(error.errors(), key=lambda each: each["type"] != "unexpected_keyword_argument")
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if wrong := {"unexpected_keyword_argument": "unknown", "missing": "missing"}.get(first["type"]):
        return f"{wrong} key {key!r}; advlook/core/presets.py lists the keys"
    return f"{key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"


def _contradictions(preset: Preset) -> Iterator[str]:
    """What is wrong between keys that are valid one by one."""
    data, training, batch_size = preset.data, preset.training, preset.training.batch_size
    yield from (f"missing key 'models.{arch}'" for arch in preset.archs if arch not in preset.models)
    yield from (f"external.{arch} is not one of archs" for arch in preset.external if arch not in preset.archs)
    if preset.external and preset.seeds != (0,):
        yield f"seeds = {list(preset.seeds)} must be [0] where [external] names checkpoints: each is one model"
    for key, side in {"store": data.store, "test_store": data.test_store}.items():
        if 0 != side < data.size:
            yield f"data.{key} = {side} is below data.size = {data.size}"
    if data.store == 0 and data.crop_scale == 1:
        yield "data.store = 0 needs data.crop_scale < 1: images that are read from their files are cropped at random"
    if data.crop_scale == 1 and any(size != data.size for size in training.sizes):
        yield f"training.sizes = {list(training.sizes)} needs data.crop_scale < 1: only crops are resized"
    if data.name == "synthetic" and (data.crop_scale < 1 or data.shift > 0 or data.flip):
        yield "data.crop_scale, shift and flip must be 1.0, 0 and false: generated images are fresh in every epoch"
    if batch_size % training.accumulate != 0:
        yield f"training.batch_size = {batch_size} is not divisible by training.accumulate = {training.accumulate}"
    if batch_size < 2 * training.accumulate:
        yield f"training.batch_size = {batch_size} in {training.accumulate} parts is too small for batch normalisation"
