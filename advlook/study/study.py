"""A study: one preset opened. What has been measured on its models, and where results go."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image
from matplotlib.figure import Figure

from advlook.core import SETTINGS, Preset, RequestError, digest, tqdm
from advlook.study import provenance
from advlook.study.code import code_digest
from advlook.study.folders import output_folder
from advlook.study.models import KEY, ModelKey, Models
from advlook.study.pictures import write_figure
from advlook.study.tables import Row, keep_rows, kept_rows, read_table, write_table

Measurement = Callable[["Study", ModelKey], Iterable[Row]]


class Study(Models):
    """One preset opened: `study.model("resnet10", "adv", 0)` finds, or trains, what the preset describes.

    Results go to `<output>/<preset name>/`; the other arguments are those of `Models`."""

    def __init__(self, preset: str | Path | Preset = "quick", *, output: Path | None = None, **options: Any) -> None:
        super().__init__(preset, **options)
        self.output = (Path(output) if output else output_folder()).resolve() / self.preset.name
        # The runner lets a notebook write into a folder of its own, and tells it where the results of the others are.
        earlier = os.environ.get("ADVLOOK_EARLIER")
        self.earlier = Path(earlier) / self.preset.name if earlier else self.output
        self.seconds_kept = 0.0  # that measurements took which this study found kept
        self._controls: dict[str, str | None] = {}  # the weights of those measured, as of `weights`
        self._started = time.perf_counter()

    def __repr__(self) -> str:
        p = self.preset
        runs = f"{'pairs' if p.external else 'seeds'} {', '.join(map(str, p.seeds))}"
        runs = "one pair of files" if p.external and len(p.seeds) == 1 else runs
        factors = ", ".join(p.archs), ", ".join(SETTINGS).upper(), runs
        return f"Study {p.name}: {p.title}; {' x '.join(factors)}"

    def measure(self, name: str, measurement: Measurement, settings: Iterable[str] = SETTINGS) -> pd.DataFrame:
        """Apply `measurement(study, key)` to every model and return, and save as table `name`, its rows."""
        return self.save_table(name, self.rows(name, measurement, settings))

    def rows(
        self, name: str, measurement: Measurement, settings: Iterable[str] = SETTINGS, inputs: Iterable[object] = ()
    ) -> pd.DataFrame:
        """The rows that `measurement(study, key)` yields for every model, behind its arch, setting and seed.

        Each model's rows, which may hold arrays with one entry an image, are kept as soon as they are known, so that an
        interrupted run goes on where it stopped: under a key of all they depend on (preset, images, code, the weights
        of every model, since some measurements compare models, and `inputs`)."""
        models = list(self.each_model(settings))
        for key in models:  # before anything is measured
            if key[1] != "random":
                self.checkpoint(*key)
        inputs = [self.preset.digest, self.data_digest, code_digest(measurement), self.weights, *inputs]
        folder, frames = self.data / "cache" / "measurements" / self.preset.name, {}
        for key in tqdm(models, name, unit=" models", disable=not self.progress, leave=False):
            # A control is compared with STD and ADV, not with other controls: it rests on its own weights besides.
            own = self.weights_of([key]) if key[1] in self.preset.controls else {}
            self._controls |= own
            kept = folder / f"{name}-{digest([*inputs, *([own] if own else []), *key, name])}.npz"
            if kept.is_file():
                rows, seconds = kept_rows(kept)
                self.seconds_kept += seconds
            else:
                started, kept_before = time.perf_counter(), self.seconds_kept
                rows = [dict(row) for row in measurement(self, key)]
                keep_rows(kept, rows, time.perf_counter() - started + self.seconds_kept - kept_before)
            frames[key] = pd.DataFrame(rows)
        return pd.concat(frames, names=KEY).reset_index(KEY).reset_index(drop=True)

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
        self._save_provenance(path, caption=caption, paper=paper)
        return picture

    def _save_provenance(self, path: Path, **said: str) -> None:
        record = provenance.describe(self.preset, self.device)
        record["checkpoints"] = {name: found for name, found in (self.weights | self._controls).items() if found}
        record["seconds"] = round(time.perf_counter() - self._started + self.seconds_kept, 1)
        record["seconds_kept"] = round(self.seconds_kept, 1)
        provenance.write_record(path.with_suffix(".json"), record | said)
