"""A study: one preset opened. Its images, its models, what has been measured, and where results go."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from IPython.display import Image
from matplotlib.figure import Figure
from torch import nn

from advlook.core.distributed import ALONE, Group
from advlook.core.errors import RequestError
from advlook.core.files import digest, file_hash, write_atomically
from advlook.core.memory import keep_freed_memory
from advlook.core.presets import SETTINGS, Preset, load_preset
from advlook.core.processes import run_all, worker_count
from advlook.core.progress import tqdm
from advlook.data import image_sets, streaming, test_bed
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import load_checkpoint, read_metadata
from advlook.models.external import external_model, stored_metadata
from advlook.models.training import epoch_images, train
from advlook.study import provenance
from advlook.study.code import PACKAGE, code_digest
from advlook.study.pictures import write_figure
from advlook.study.tables import Row, keep_rows, kept_rows, read_table, write_table

ModelKey = tuple[str, str, int]  # arch, setting, seed
Measurement = Callable[["Study", ModelKey], Iterable[Row]]

ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else Path.cwd()


def data_folder() -> Path:
    """`data/` of the project, or what the environment variable ADVLOOK_DATA names."""
    return Path(os.environ.get("ADVLOOK_DATA") or ROOT / "data")


def output_folder() -> Path:
    """`figures/` of the project, or what the environment variable ADVLOOK_OUTPUT names."""
    return Path(os.environ.get("ADVLOOK_OUTPUT") or ROOT / "figures")


class Study:
    """One preset opened: `study.model("resnet10", "adv", 0)` finds, or trains, what the preset describes.

    preset: a name ("quick"), the path of a .toml file, or a `Preset`. Results go to `<output>/<preset name>/`.
    group: the processes that train as one, where torchrun started several.
    """

    def __init__(
        self,
        preset: str | Path | Preset = "quick",
        *,
        output: Path | None = None,
        data: Path | None = None,
        progress: bool = True,
        group: Group = ALONE,
    ) -> None:
        keep_freed_memory()
        self.preset = preset if isinstance(preset, Preset) else load_preset(preset)
        # Absolute, for notebooks run in the project's folder, wherever the command was given.
        self.data = (Path(data) if data else data_folder()).resolve()
        self.output = (Path(output) if output else output_folder()).resolve() / self.preset.name
        # The runner lets a notebook write into a folder of its own, and tells it where the results of the others are.
        earlier = os.environ.get("ADVLOOK_EARLIER")
        self.earlier = Path(earlier) / self.preset.name if earlier else self.output
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.progress = progress and group.leads
        self.group = group
        self._models: dict[tuple[str, str, int], nn.Module] = {}
        self.seconds_kept = 0.0  # that measurements took which this study found kept
        self._started = time.perf_counter()

    def __repr__(self) -> str:
        p = self.preset
        return (
            f"Study {p.name}: {p.title}; {', '.join(p.archs)} x {', '.join(s.upper() for s in SETTINGS)} "
            f"x seeds {', '.join(map(str, p.seeds))}"
        )

    # Images ----------------------------------------------------------------------------------------------------

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
            generated = test_bed.generate(config.test_images, config.size, seed=0, split="test")
            return image_sets.ImageSet(generated.images, generated.labels, test_bed.CLASSES)
        return image_sets.load(config, "test", self.data, self.progress)

    @property
    def data_digest(self) -> str | None:
        """Hash of the images that are measured on, where they are files."""
        return image_sets.fingerprint(self.preset.data, self.data)

    # Models ----------------------------------------------------------------------------------------------------

    def each_model(self, settings: Iterable[str] = SETTINGS) -> Iterator[tuple[str, str, int]]:
        """Every `(arch, setting, seed)` of the preset."""
        for arch in self.preset.archs:
            for setting in settings:
                for seed in self.preset.seeds:
                    yield arch, setting, seed

    def check_model(self, arch: str, setting: str) -> None:
        """Raise RequestError for an architecture that the preset does not describe, or a setting not to be trained."""
        if arch not in self.preset.models:
            raise RequestError(
                f"preset {self.preset.name} has no arch {arch!r}; it has {', '.join(self.preset.models)}"
            )
        if setting not in SETTINGS:
            raise RequestError(f"setting {setting!r} cannot be trained; choose from {', '.join(SETTINGS)}")

    def find_checkpoint(self, arch: str, setting: str, seed: int) -> Path | None:
        """Where the model's checkpoint lies: trained here (data/cache) or shipped (data/models); None if nowhere.

        A file that was made with another configuration does not count. Of an external architecture it is the file
        that the preset names, which stands for seed 0.
        """
        if arch in self.preset.external:
            external = self._external_path(arch, setting)
            return external if seed == 0 and external.is_file() else None
        wanted = digest(self.preset.training_key(arch, setting, seed))
        shipped = ROOT / "data" / "models" / self.preset.name
        for folder in (self._trained_folder, self.data / "models" / self.preset.name, shipped):
            path = folder / f"{arch}-{setting}-seed{seed}.safetensors"
            if path.is_file() and read_metadata(path).get("digest") == wanted:
                return path
        return None

    @property
    def weights(self) -> dict[str, str | None]:
        """The hash of every model's checkpoint, None where there is none, by names like "resnet10-adv-0"."""
        paths = {"-".join(map(str, key)): self.find_checkpoint(*key) for key in self.each_model()}
        return {name: path and file_hash(path) for name, path in paths.items()}

    def checkpoint(
        self, arch: str, setting: str, seed: int, progressed: Callable[[int], object] = lambda images: None
    ) -> Path:
        """The model's checkpoint, trained first where there is none (`progressed` is told the images of each step).

        Raises RequestError where it is external, and so never trained, and not there.
        """
        self.check_model(arch, setting)
        found = self.find_checkpoint(arch, setting, seed)
        if found is not None:
            return found
        if arch in self.preset.external:
            if seed != 0:
                raise RequestError(f"{arch} of preset {self.preset.name} is external: it has seed 0 alone, not {seed}")
            raise RequestError(
                f"checkpoint {self._external_path(arch, setting)} ({setting} of [external.{arch}] in preset "
                f"{self.preset.name}) does not exist; put it there, or change its path in the preset"
            )
        target = self._trained_folder / f"{arch}-{setting}-seed{seed}.safetensors"
        with self.group.leader_first():
            images = self.training_images, self.test
        return train(
            self.preset,
            arch,
            setting,
            seed,
            *images,
            target,
            device=self.device,
            progress=self.progress,
            progressed=progressed,
            group=self.group,
        )

    def require_external(self) -> None:
        """Raise RequestError where a checkpoint from elsewhere is absent: not to be told only after hours."""
        for key in self.each_model():
            if key[0] in self.preset.external:
                self.checkpoint(*key)

    def train_all(self) -> None:
        """Train every model of the preset that has no checkpoint; on the CPU, each in a process, as many as cores.

        Small batches do not keep several cores busy, several trainings do. The number of threads of each depends on the
        preset and the machine alone, not on what is left to train, so that an interrupted run ends in the same bits.
        External models are not trained, but have to be there.
        """
        self.require_external()
        models = [key for key in self.each_model() if key[0] not in self.preset.external]
        missing = [key for key in models if self.find_checkpoint(*key) is None]
        workers = worker_count(len(models), self.device)
        if not missing or workers == 1:
            for key in missing:
                self.checkpoint(*key)
            return
        epochs = sum(getattr(self.preset.models[arch], f"epochs_{setting}") for arch, setting, _ in missing)
        len(self.test)  # decoded here, once, and not by every process
        run_all(
            _train_alone,
            [(self.preset, self.data, key) for key in missing],
            workers,
            title=f"training {len(missing)} models",
            total=epochs * epoch_images(self.preset, self.training_images),
            progress=self.progress,
            jobs_per_process=1,
        )

    @property
    def _trained_folder(self) -> Path:
        return self.data / "cache" / "models" / self.preset.name

    def _external_path(self, arch: str, setting: str) -> Path:
        return ROOT / Path(getattr(self.preset.external[arch], setting)).expanduser()

    def model(self, arch: str, setting: str, seed: int = 0) -> nn.Module:
        """The model in eval mode on the study's device; setting "random" is untrained.

        Raises RequestError for an architecture that the preset does not describe or an unknown setting.
        """
        key = (arch, setting, seed)
        if key not in self._models:
            self.check_model(arch, "std" if setting == "random" else setting)
            if setting == "random":
                model = preset_model(self.preset, arch, seed)
            elif arch in self.preset.external:
                model = external_model(self.preset, arch, self.checkpoint(*key))
            else:
                model = load_checkpoint(self.checkpoint(*key), preset_model(self.preset, arch, seed))
            self._models[key] = model.eval().to(self.device, memory_format=torch.channels_last)
        return self._models[key]

    def metadata(self, arch: str, setting: str, seed: int = 0) -> dict[str, object]:
        """What training recorded in the model's checkpoint: configuration, history, accuracies.

        Of an external model it is what its file says, which may be nothing.
        """
        return stored_metadata(self.checkpoint(arch, setting, seed))

    # Measurements ----------------------------------------------------------------------------------------------

    def measure(self, name: str, measurement: Measurement, settings: Iterable[str] = SETTINGS) -> pd.DataFrame:
        """Apply `measurement(study, key)` to every model and return, and save as table `name`, its rows."""
        return self.save_table(name, self.rows(name, measurement, settings))

    def rows(
        self, name: str, measurement: Measurement, settings: Iterable[str] = SETTINGS, inputs: Iterable[object] = ()
    ) -> pd.DataFrame:
        """The rows that `measurement(study, key)` yields for every model, behind its arch, setting and seed.

        Each model's rows are kept as soon as they are known, under a key of everything they depend on (preset, images,
        code, the weights of every model, since some measurements compare models, and `inputs`), so that an interrupted
        run goes on where it stopped. A row may hold arrays with one entry an image.
        """
        models = list(self.each_model(settings))
        for arch, setting, seed in models:  # before anything is measured
            if setting != "random":
                self.checkpoint(arch, setting, seed)
        inputs = [self.preset.digest, self.data_digest, code_digest(measurement), self.weights, *inputs]
        frames = []
        for key in tqdm(models, name, unit=" models", disable=not self.progress, leave=False):
            kept = (
                self.data / "cache" / "measurements" / self.preset.name / f"{name}-{digest([*inputs, *key, name])}.npz"
            )
            if kept.is_file():
                rows, seconds = kept_rows(kept)
                self.seconds_kept += seconds
            else:
                started, kept_before = time.perf_counter(), self.seconds_kept
                rows = [dict(row) for row in measurement(self, key)]
                keep_rows(kept, rows, time.perf_counter() - started + self.seconds_kept - kept_before)
            frame = pd.DataFrame(rows)
            for place, (column, value) in enumerate(zip(("arch", "setting", "seed"), key, strict=True)):
                frame.insert(place, column, value)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    # Results ---------------------------------------------------------------------------------------------------

    def save_table(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write `tables/<name>.csv`, its arrays as .npz, and its provenance; return the table as given."""
        path = self.output / "tables" / f"{name}.csv"
        write_table(path, table)
        self._save_provenance(path)
        return table

    def load_table(self, name: str) -> pd.DataFrame:
        """A table saved before, here or by an earlier notebook; RequestError where there is none."""
        paths = [folder / "tables" / f"{name}.csv" for folder in (self.output, self.earlier)]
        for path in paths:
            if path.is_file():
                return read_table(path)
        raise RequestError(f"table {paths[-1]} does not exist; run the notebook that makes it")

    def save_figure(self, name: str, figure: Figure, caption: str, paper: str) -> Image:
        """Write `<name>.png` and its provenance; return the picture, so that a notebook shows it.

        caption: what is seen. paper: how it differs from the paper ("paper: ...; here: ..."), shown under the caption.
        """
        path = self.output / f"{name}.png"
        picture = write_figure(figure, path)
        self._save_provenance(path, {"caption": caption, "paper": paper})
        return picture

    def _save_provenance(self, path: Path, extra: Mapping[str, object] | None = None) -> None:
        record = provenance.describe(self.preset, self.device) | {
            "checkpoints": {name: found for name, found in self.weights.items() if found},
            "seconds": round(time.perf_counter() - self._started + self.seconds_kept, 1),
            "seconds_kept": round(self.seconds_kept, 1),
            **(extra or {}),
        }
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(path.with_suffix(".json"), lambda partial: partial.write_text(text))


def _train_alone(preset: Preset, data: Path, key: tuple[str, str, int], progressed: Callable[[int], object]) -> None:
    Study(preset, data=data, progress=False).checkpoint(*key, progressed=progressed)
