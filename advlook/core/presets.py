"""Presets: every key of a preset file with its type, its range and, in the comment behind it, its meaning."""

from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from advlook.core.files import digest
from advlook.core.precision import PRECISIONS
from advlook.core.preset_values import ARCHITECTURES as ARCHITECTURES
from advlook.core.preset_values import (
    SETTINGS,
    STEMS,
    Above0,
    Arch,
    Ascending,
    AtLeast0,
    Count,
    Odd,
    Positive,
    Setting,
    Several,
    Target,
)
from advlook.core.radius import Eps


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
    whole: bool = False  # whether a folder of class folders, without train/ and test/, is all for testing


@dataclass(frozen=True)
class ArchConfig:
    """How an architecture is fitted to the image size, its learning rate, and how long it is trained."""

    learning_rate: Above0
    epochs_std: Positive
    epochs_adv: Positive
    stem: Literal["", *STEMS] = ""  # "imagenet": the published one; "small" halves resolution; "tiny" keeps it
    width: Count = 0  # channels of the first layer (64 in the published networks)
    builder: str = ""  # of a network that is none of the five, which has no stem and no width here: one of FORMS


@dataclass(frozen=True)
class ExternalConfig:
    """Checkpoints of other origin in place of trained ones (on-disk layouts: models/external.py), of one or several
    pairs; pair k is seed k. Paths are absolute, begin with ~, or are relative to the project's folder."""

    std: str | Several[str]  # of the standard models
    adv: str | Several[str]  # of the adversarially trained models
    std_weights: str = ""  # of several sets of weights in the file, such as an average beside the last: the one meant
    adv_weights: str = ""  # the same
    arch: str = ""  # one of ARCHITECTURES, or as of models/builders.py; "": the name of this section
    stem: Literal[*STEMS, ""] = ""  # of one of ARCHITECTURES, where its files do not tell
    names: str = ""  # path of a text file with the name of every logit, one a line, where the files do not tell
    mean: tuple[float, float, float] | None = None  # of the normalisation, in place of the files' or the builder's
    standard_deviation: tuple[float, float, float] | None = None

    @property
    def names_file(self) -> Path | None:
        """The file of names, where there is one."""
        return Path(self.names).expanduser() if self.names else None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The paths of STD and ADV, pair by pair; as many as the shorter list has."""
        std, adv = ((paths,) if isinstance(paths, str) else paths for paths in (self.std, self.adv))
        return tuple(zip(std, adv, strict=False))


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
    noise: AtLeast0 = 0.0  # largest standard deviation of Gaussian noise on training images, in units of [0, 1]
    blur: AtLeast0 = 0.0  # largest sigma of a Gaussian blur of training images, in pixels of one of `data.size`
    stop_at: AtLeast0 = 0.0  # percent: training ends after the epoch that reaches this clean accuracy; 0: never

    def key(self) -> dict[str, object]:
        """The keys that determine the weights; a later option is among them only where it is used: old names hold."""
        unused = {"accumulate": 1, "rate_for_batch": 0, "compile": False}.items()
        items = [(key, value) for key, value in told(self).items() if key not in ("check_every", "check_images")]
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
    norm: Literal["linf", "l2"] = "linf"  # of the ball; `eps` and `step_size` are lengths in this norm

    def ramp_epochs(self, epochs: int) -> int:
        """Of so many epochs, those in which eps is still rising."""
        return round(self.ramp_share * epochs)


@dataclass(frozen=True)
class ControlConfig:
    """A model that is trained like STD or ADV but for keys that it gives itself. Its name is its setting; keys of
    `[training]` and `[adversary]` that it does not give are the preset's."""

    title: str  # as figures name it
    like: Literal[*SETTINGS]
    archs: Several[Arch]
    seeds: Several[int]
    training: TrainingConfig
    adversary: AdversaryConfig
    epochs: Count = 0  # 0: those of its architecture


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
    shown: Positive  # images in the figures of maps
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

    # Sets by name or path; "name@20": reduced to 20 px a side and enlarged again. Learned with frozen backbones.
    targets: Several[Target]
    images: Count  # training images of each set, drawn by one seed; 0, or where it has fewer: all
    test_images: Count  # the same of its test split
    degraded: tuple[str, ...]  # sets that are also measured at lower resolutions
    sides: Ascending[Positive]  # these resolutions, in pixels a side
    fine_tuned: tuple[Target, ...]  # sets that whole ensembles are trained on, too
    fine_tuned_images: Positive  # training images of these
    fine_tuned_test_images: Positive
    epochs: Positive  # of fine-tuning
    learning_rate: Above0  # constant
    runs: Positive  # of every combination on every set


@dataclass(frozen=True)
class StylizationConfig:
    """The stylized images of notebook 05."""

    engine: Literal["optimised", "network"]  # image by image, nothing trained; or style transfer, for photographs
    styles: Several[str]  # folders of pictures in data/datasets, or "generated" for textures
    images: Count  # test images at full strength; 0: all
    partial_images: Positive  # the first so many of them at the strengths in between
    cues: Positive  # images with the form of one class and the texture of another
    steps: Positive  # of the optimisation of an image, by the engine of that name


@dataclass(frozen=True)
class Preset:
    """One scale of the study."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # and of all sections
    name: str
    title: str
    archs: Several[Arch]  # those that are not in [external] are trained: they are of ARCHITECTURES
    seeds: Several[int]
    data: DataConfig
    models: dict[str, ArchConfig]
    external: dict[Arch, ExternalConfig]
    training: TrainingConfig
    adversary: AdversaryConfig
    evaluation: EvaluationConfig
    visualize: VisualizeConfig
    corruptions: CorruptionsConfig
    ensembles: EnsemblesConfig
    stylization: StylizationConfig
    controls: dict[Setting, ControlConfig] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of everything the preset says; of controls, which are models besides, each has a hash of its own."""
        values = asdict(self) | {each: told(getattr(self, each)) for each in ("data", "training", "adversary")}
        values["models"] = {arch: told(model) for arch, model in self.models.items()}
        values["external"] = {arch: told(external) for arch, external in self.external.items()}
        del values["controls"]
        return digest(values)

    @property
    def doses(self) -> dict[str, float]:
        """The radius in training of STD (0), of ADV, and of controls that differ from ADV in nothing else, by setting
        and in ascending order."""
        found = {"std": 0.0, "adv": self.adversary.eps}
        for name, control in self.controls.items():
            own = control.adversary
            alike = replace(self.adversary, eps=own.eps, step_size=own.step_size) == own
            if control.like == "adv" and alike and control.training == self.training and not control.epochs:
                found[name] = own.eps
        return dict(sorted(found.items(), key=lambda each: each[1]))

    def run_name(self, arch: str, seed: int) -> str:
        """What tells models of an architecture and setting apart: "seed 0"; of pairs from elsewhere "pair 0", and
        of a lone one nothing."""
        if arch not in self.external:
            return f"seed {seed}"
        return f"pair {seed}" if len(self.seeds) > 1 else ""

    def variant(self, setting: str) -> tuple["Preset", str]:
        """The preset by which models of a setting are trained, and whether like "std" or "adv": for a control, with
        its own training, epochs and adversary."""
        if setting not in self.controls:
            return self, setting
        control, models = self.controls[setting], self.models
        if control.epochs:
            own = {f"epochs_{control.like}": control.epochs}
            models = {arch: replace(model, **own) for arch, model in models.items()}
        own = {"training": control.training, "adversary": control.adversary, "models": models}
        return replace(self, **own, controls={}), control.like

    def training_key(self, arch: str, setting: str, seed: int) -> dict[str, object]:
        """What determines one model's weights; its digest names the checkpoint."""
        preset, setting = self.variant(setting)
        data, model = told(preset.data), told(preset.models[arch])
        del data["test_images"], data["test_store"]
        epochs = {each: model.pop(f"epochs_{each}") for each in SETTINGS}[setting]
        training = preset.training.key() | {"epochs": epochs}
        key = {"arch": arch, "setting": setting, "seed": seed, "data": data, "model": model, "training": training}
        if setting == "adv":
            adversary = told(preset.adversary)
            del adversary["ramp_share"]
            key["adversary"] = adversary | {"ramp_epochs": preset.adversary.ramp_epochs(epochs)}
        return key


def told(section: object) -> dict[str, object]:
    """A section's keys and values but for defaults: an option that is added later changes no hash of what lacks it."""
    values = {each.name: (getattr(section, each.name), each.default) for each in fields(section)}
    return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}
