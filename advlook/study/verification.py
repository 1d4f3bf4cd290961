"""Committed results measured again, a drawn part of them: how a stranger comes to believe a table.

A *unit* is one measurement of one model, on a drawn part of its images where the table keeps an answer per image. Each
experiment lists its units; `verify` draws them at random until the time is up, measures each again with the code and
the checkpoints that are there, and compares it with the committed tables.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from advlook.core.errors import RequestError
from advlook.core.files import read_json, write_atomically
from advlook.study.provenance import git_commit
from advlook.study.study import Study

TOLERANCE = 1e-4  # relative, of floats: sums of float32 in another order
IMAGES = 32  # of a table with per-image answers that a unit looks at


@dataclass(frozen=True)
class Unit:
    """One measurement that can be repeated alone.

    measure: returns rows, as the table holds them; of a row with per-image answers those of the images `numbers`.
    keys: the columns that tell which row of the table a measured row belongs to. allowed: by how many images an
    attack on another processor may differ.
    """

    table: str
    about: Mapping[str, object]  # what all its rows share: columns and their values
    measure: Callable[[], Iterable[Mapping[str, object]]]
    keys: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    tolerance: float = TOLERANCE
    allowed: int = 0

    def __str__(self) -> str:
        what = ", ".join(f"{value}" for value in self.about.values())
        part = "" if self.numbers is None else f", {len(self.numbers)} images"
        return f"{self.table}: {what}{part}"

    def differences(self, table: pd.DataFrame) -> list[str]:
        """What the table says otherwise, a line a cell; empty where all is equal."""
        rows = _where(table, self.about)
        found = []
        for measured in self.measure():
            key = {name: measured[name] for name in self.keys}
            matching = _where(rows, key)
            place = ", ".join([str(self), *(f"{name} {value}" for name, value in key.items())])
            if len(matching) != 1:
                found.append(f"{place}: {len(matching)} rows in the table, measured 1")
                continue
            told = matching.iloc[0]
            cells = ((name, value) for name, value in measured.items() if name not in self.keys and name in told)
            lines = (self._cell(place, name, told[name], value, told.get("images")) for name, value in cells)
            found += [line for line in lines if line]
        return found

    def _cell(self, place: str, name: str, told: object, value: object, images: object) -> str | None:
        if isinstance(value, np.ndarray):
            told = np.asarray(told)[self.numbers] if self.numbers is not None else np.asarray(told)
            if value.dtype == bool:
                wrong = int((told != value).sum())
                few = wrong <= self.allowed
            else:
                wrong = int((~np.isclose(told, value, rtol=self.tolerance, atol=self.tolerance, equal_nan=True)).sum())
                few = wrong == 0
            return None if few else f"{place}, {name}: {wrong} of {len(value)} images differ"
        if isinstance(value, str | bool) or value is None:
            return None if _same_text(told, value) else f"{place}, {name}: {told} in the table, {value} measured"
        margin = 100 * self.allowed / float(images) if self.allowed and images else 0.0
        close = math.isclose(float(told), float(value), rel_tol=self.tolerance, abs_tol=max(margin, self.tolerance))
        equal = close or (math.isnan(float(told)) and math.isnan(float(value)))
        return None if equal else f"{place}, {name}: {told:g} in the table, {value:g} measured"


def _same_text(told: object, value: object) -> bool:
    return str(told) == str(value) or (value in (None, "") and isinstance(told, float) and math.isnan(told))


def _where(table: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    chosen = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        if isinstance(value, float):
            chosen &= np.isclose(table[name].astype(float), value, equal_nan=True)
        else:
            chosen &= (table[name] == value).to_numpy()
    return table[chosen]


def drawn(images: int, rng: random.Random, count: int = IMAGES) -> np.ndarray:
    """The numbers of so many images of a table, at random, in order."""
    return np.array(sorted(rng.sample(range(images), min(count, images))))


def changed_checkpoints(study: Study) -> list[str]:
    """Checkpoints that are not those that the committed results were made with, a line each."""
    known: dict[str, str] = {}
    for record in sorted((study.output / "tables").glob("*.json")):
        known |= read_json(record).get("checkpoints", {})
    present = study.weights
    return [
        f"checkpoint {name}: the results were made with {told}, the file is {present.get(name)}"
        for name, told in known.items()
        if present.get(name) != told
    ]


def verify(
    study: Study,
    listed: Callable[[Study, random.Random], Sequence[Unit]],
    minutes: float = 5.0,
    seed: int | None = None,
    say: Callable[[str], object] = print,
) -> int:
    """Measure randomly drawn units of a preset again until the minutes are over. Returns 0 if all are equal, else 1.

    listed: gives all units of the study. seed: of the draw; by default another one every time. What was checked is
    written to `verified.json` in the folder of results. Raises RequestError where there are no results or no images.
    """
    if not (study.output / "tables").is_dir():
        raise RequestError(f"{study.output / 'tables'} has no tables; run `advlook reproduce` first")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    rng, started = random.Random(seed), time.perf_counter()
    differing = changed_checkpoints(study)
    len(study.test)  # raises where images are missing, before anything is said
    units = list(listed(study, rng))
    rng.shuffle(units)
    tables: dict[str, pd.DataFrame] = {}
    checked: list[str] = []
    for line in differing:
        say(f"DIFFERS  {line}")
    for unit in units:
        if checked and time.perf_counter() - started > 60 * minutes:
            break
        if unit.table not in tables:
            tables[unit.table] = study.load_table(unit.table)
        began = time.perf_counter()
        found = unit.differences(tables[unit.table])
        differing += found
        checked.append(str(unit))
        say(f"{'DIFFERS' if found else 'equal':8} {unit} ({time.perf_counter() - began:.1f} s)")
        for line in found:
            say(f"         {line}")
    seconds = time.perf_counter() - started
    took = f"{int(seconds // 60)} min {seconds % 60:.0f} s"
    say(f"{len(checked)} of {len(units)} units in {took}: {f'{len(differing)} differ' if differing else 'all equal'}")
    record = {
        "when": date.today().isoformat(),
        "commit": git_commit()[0],
        "seed": seed,
        "seconds": round(seconds, 1),
        "units": len(units),
        "checked": len(checked),
        "differing": differing,
        "what": sorted(checked),
    }
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(study.output / "verified.json", lambda partial: partial.write_text(text))
    return 1 if differing else 0
