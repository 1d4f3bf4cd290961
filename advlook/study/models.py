"""The images and models of a preset: found where they are, trained where they are not."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import product
from pathlib import Path

import torch
from torch import nn

from advlook.core import ALONE, SETTINGS, Group, Preset, RequestError, digest, file_hash, run_all, worker_count
from advlook.core.copies import channels_last
from advlook.core.memory import keep_freed_memory
from advlook.core.preset_files import load_preset
from advlook.data import image_sets, streaming, test_bed
from advlook.data.class_names import names_of_set
from advlook.models.architectures import preset_model
from advlook.models.asked import external_model
from advlook.models.builders import builder_file, is_built
from advlook.models.checkpoints import load_checkpoint, read_metadata
from advlook.models.external import check_classes, stored_metadata
from advlook.models.training import epoch_images, train
from advlook.study.folders import ROOT, data_folder

ModelKey = tuple[str, str, int]
KEY = ["arch", "setting", "seed"]  # the columns of a table that name a model


class Models:
    """One preset opened: its images, and its models by architecture, setting and seed.

    preset: a name ("quick"), the path of a .toml file, or a `Preset`. data: the data folder. group: the processes that
    train as one, where torchrun started several. recorded: prefer the models that the committed results were made with
    (`data/models/recorded/`), where a preset is meant to be trained anew."""

    def __init__(
        self,
        preset: str | Path | Preset = "quick",
        *,
        data: Path | None = None,
        progress: bool = True,
        group: Group = ALONE,
        recorded: bool = False,
    ) -> None:
        keep_freed_memory()
        self.preset = preset if isinstance(preset, Preset) else load_preset(preset)
        # Absolute, for notebooks run in the project's folder, wherever the command was given.
        self.data = (Path(data) if data else data_folder()).resolve()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.progress = progress and group.leads
        self.group, self.recorded = group, recorded
        self._trained = self.data / "cache" / "models" / self.preset.name
        self._models: dict[ModelKey, nn.Module] = {}

    @cached_property
    def training_images(self) -> image_sets.ImageSet | streaming.StreamedImages | test_bed.FreshImages:
        """What models are trained on: photographs, stored or streamed, or fresh images in every epoch."""
        config = self.preset.data
        if config.name == "synthetic":
            return test_bed.FreshImages(config.train_images, config.size)
        if config.store == 0:
            return streaming.training_images(config, self.data)
        return image_sets.load(config, "train", self.data, self.progress)

    @cached_property
    def test(self) -> image_sets.ImageSet:
        """The images that everything is measured on; a random draw where the preset asks for fewer than there are."""
        config = self.preset.data
        if config.name == "synthetic":
            return image_sets.load_set("synthetic", "test", config.size, self.data, limit=config.test_images)
        return image_sets.load(config, "test", self.data, self.progress)

    def _classes(self) -> tuple[str, ...]:
        """The names of the classes, without opening an image where the set is known."""
        return names_of_set(self.preset.data.name) or self.test.classes

    @property
    def data_digest(self) -> str | None:
        """Hash of the images that are measured on, where they are files."""
        return image_sets.fingerprint(self.preset.data, self.data)

    @property
    def batches(self) -> dict[str, object]:
        """How images are shown to a model that is evaluated: the options `batch_size` and `device`."""
        return {"batch_size": self.preset.evaluation.batch_size, "device": self.device}

    def each_model(self, settings: Iterable[str] = SETTINGS) -> Iterator[ModelKey]:
        """Every `(arch, setting, seed)` of the preset; of a control, those that it is trained for."""
        for arch, setting in product(self.preset.archs, settings):
            control = self.preset.controls.get(setting)
            if control is None or arch in control.archs:
                yield from ((arch, setting, seed) for seed in (control or self.preset).seeds)

    def check_model(self, arch: str, setting: str) -> None:
        """Raise RequestError for an architecture that the preset does not describe, or a setting not to be trained."""
        if arch not in self.preset.archs:
            raise RequestError(f"preset {self.preset.name} has no arch {arch!r}; it has {', '.join(self.preset.archs)}")
        if setting not in (settings := (*SETTINGS, *self.preset.controls)):
            raise RequestError(f"setting {setting!r} cannot be trained; choose from {', '.join(settings)}")

    def find_checkpoint(self, arch: str, setting: str, seed: int) -> Path | None:
        """Where the model's checkpoint lies: trained here (data/cache) or shipped (data/models); None if nowhere.

        One of another configuration does not count. Of an external architecture it is the preset's file."""
        if arch in self.preset.external:
            known = seed in self.preset.seeds and setting in SETTINGS
            external = self._external_path(arch, setting, seed) if known else None
            return external if external and external.is_file() else None
        wanted = digest(self.preset.training_key(arch, setting, seed))
        shipped = ROOT / "data" / "models"
        folders = [self._trained, self.data / "models" / self.preset.name, shipped / self.preset.name]
        for folder in [shipped / "recorded" / self.preset.name, *folders] if self.recorded else folders:
            path = folder / f"{arch}-{setting}-seed{seed}.safetensors"
            if path.is_file() and read_metadata(path).get("digest") == wanted:
                return path
        return None

    @property
    def weights(self) -> dict[str, str | None]:
        """The hash of every model's checkpoint, None where there is none, by names like "resnet10-adv-0"; and of files
        of Python that build networks."""
        external, models = self.preset.external, self.preset.models
        named = {arch: external[arch].arch if arch in external else models[arch].builder for arch in self.preset.archs}
        files = {arch: builder_file(name) for arch, name in named.items() if is_built(name)}
        built = {f"{arch} is built by {path.name}": file_hash(path) for arch, path in files.items() if path}
        return self.weights_of(self.each_model()) | built

    def weights_of(self, models: Iterable[ModelKey]) -> dict[str, str | None]:
        """The hashes, as of `weights`, of these models' checkpoints."""
        paths = {"-".join(map(str, key)): self.find_checkpoint(*key) for key in models}
        return {name: path and file_hash(path) for name, path in paths.items()}

    def checkpoint(
        self, arch: str, setting: str, seed: int, progressed: Callable[[int], object] = lambda images: None
    ) -> Path:
        """The model's checkpoint, trained first where there is none (`progressed` is told the images of each step).

        Raises RequestError where it is external, and so never trained, and not there."""
        self.check_model(arch, setting)
        preset = self.preset
        if found := self.find_checkpoint(arch, setting, seed):
            if arch not in preset.external and (names := read_metadata(found).get("classes")):
                check_classes(found, names, self.test.classes, f"{preset.data.name} now")
            return found
        if arch in preset.external:
            if seed not in preset.seeds:
                there = ", ".join(map(str, preset.seeds))
                raise RequestError(f"{arch} of preset {preset.name} is external: its pairs are {there}, not {seed}")
            path = self._external_path(arch, setting, seed)
            named = f"{path} ({setting} of [external.{arch}] in preset {preset.name})"
            remedy = "put it there, or change its path in the preset"
            raise RequestError(f"checkpoint {named} does not exist; {remedy}")
        target = self._trained / f"{arch}-{setting}-seed{seed}.safetensors"
        with self.group.leader_first():
            images = self.training_images, self.test
        how = {"device": self.device, "progress": self.progress, "progressed": progressed, "group": self.group}
        noted = {"test_images": self.data_digest}
        return train(preset, arch, setting, seed, *images, target, noted=noted, **how)

    def require_external(self) -> None:
        """Raise RequestError where a checkpoint from elsewhere is absent: not to be told only after hours."""
        for key in self.each_model():
            if key[0] in self.preset.external:
                self.checkpoint(*key)

    def train_all(self, settings: Iterable[str] = SETTINGS) -> None:
        """Train every model of these settings that has no checkpoint; on the CPU side by side, as many as cores, unless
        that takes less time than starting processes.

        Small batches do not keep several cores busy, several trainings do. The number of threads of each depends on the
        preset and the machine alone, not on what is left to train, so that an interrupted run ends in the same bits.
        External models are not trained, but have to be there."""
        self.require_external()
        models = [key for key in self.each_model(settings) if key[0] not in self.preset.external]
        missing = [key for key in models if self.find_checkpoint(*key) is None]
        workers = worker_count(len(models), self.device, self._images(models)) if missing else 1
        if workers == 1:
            for key in missing:
                self.checkpoint(*key)
            return
        len(self.test)  # decoded here, once, and not by every process
        jobs = [(self.preset, self.data, key) for key in missing]
        shown = {"title": f"training {len(missing)} models", "total": self._images(missing), "progress": self.progress}
        run_all(_train_alone, jobs, workers, **shown)

    def _images(self, models: Iterable[ModelKey]) -> int:
        """How many images their training shows."""
        variants = [(arch, *self.preset.variant(setting)) for arch, setting, _ in models]
        epochs = sum(getattr(preset.models[arch], f"epochs_{like}") for arch, preset, like in variants)
        return epochs * epoch_images(self.preset, self.training_images)

    def _external_path(self, arch: str, setting: str, seed: int) -> Path:
        pair = self.preset.external[arch].pairs[seed]
        return ROOT / Path(pair[SETTINGS.index(setting)]).expanduser()

    def model(self, arch: str, setting: str, seed: int = 0) -> nn.Module:
        """The model in eval mode on the study's device; setting "random" is untrained. Errors: as of `check_model`."""
        key = (arch, setting, seed)
        if key not in self._models:
            self.check_model(arch, "std" if setting == "random" else setting)
            if setting == "random":
                model = self._untrained(arch, seed)
            elif arch in self.preset.external:
                model = external_model(self.preset, arch, setting, self.checkpoint(*key), self._classes)
            else:
                model = load_checkpoint(self.checkpoint(*key), preset_model(self.preset, arch, seed))
            self._models[key] = channels_last(model.eval().to(self.device))
        return self._models[key]

    def _untrained(self, arch: str, seed: int) -> nn.Module:
        """The network of an architecture with the initial weights of a seed."""
        if arch in self.preset.models:
            return preset_model(self.preset, arch, seed)
        path = self.checkpoint(arch, SETTINGS[0], seed)  # says what the preset does not: normalisation, stem, width
        return external_model(self.preset, arch, SETTINGS[0], path, self._classes, seed)

    def metadata(self, arch: str, setting: str, seed: int = 0) -> dict[str, object]:
        """What the checkpoint says: configuration, history, accuracies; of an external model perhaps nothing."""
        return stored_metadata(self.checkpoint(arch, setting, seed))


def _train_alone(preset: Preset, data: Path, key: ModelKey, progressed: Callable[[int], object]) -> None:
    Models(preset, data=data, progress=False).checkpoint(*key, progressed=progressed)
