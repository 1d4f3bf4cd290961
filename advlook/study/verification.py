"""Committed results measured again, a drawn part of them: how a stranger comes to believe a table.

A *unit* is one measurement of one model, on a drawn part of its images where the table keeps an answer per image; or a
table that follows from others. `experiments/units.py` lists the units of every notebook; `verify` draws them at random
until the time is up, makes each again with the code and the checkpoints that are there, and compares it with the
committed table."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from advlook.core import RequestError, read_json
from advlook.study.models import KEY, ModelKey
from advlook.study.provenance import git_commit, write_record
from advlook.study.study import Study
from advlook.study.tables import Row

TOLERANCE = 1e-4  # of floats, relative and absolute: sums of float32 in another order
MAPS = 5e-3  # of measures of sensitivity maps, which are rounded to 4 digits
ATTACKED = 2  # images on which an attack may end differently on another processor
IMAGES = 32  # that a unit looks at, of a table with per-image answers
LONG = 30  # minutes from which on units are drawn that take minutes themselves


@dataclass(frozen=True)
class Unit:
    """Rows of a table that can be measured alone.

    about: columns, and their values, that all its rows share; keys: the columns that tell its rows apart. numbers: the
    images that a per-image answer is of, as numbers in the table's array; None: all. allowed: by how many images, and
    so by which share of an accuracy, the two may differ. slow: takes minutes."""

    table: str
    about: Row
    measure: Callable[[], Iterable[Row]]
    keys: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    tolerance: float = TOLERANCE
    allowed: int = 0
    slow: bool = False

    def __str__(self) -> str:
        part = "" if self.numbers is None else f", {len(self.numbers)} images"
        return f"{self.table}: {', '.join(map(str, self.about.values()))}{part}"

    def differences(self, table: pd.DataFrame) -> list[str]:
        """A line for every cell in which the table and the measurement differ."""
        rows, found = _where(table, self.about), []
        for measured in self.measure():
            key = {name: measured[name] for name in self.keys}
            place = ", ".join([str(self), *(f"{name} {value}" for name, value in key.items())])
            matching = _where(rows, key)
            if len(matching) != 1:
                found.append(f"{place}: the table has {len(matching)} such rows")
                continue
            told = matching.iloc[0]
            for name in measured.keys() & set(table) - set(self.keys):
                if difference := self._difference(told[name], measured[name], told.get("images", 0)):
                    found.append(f"{place}, {name}: {difference}")
        return found

    def _difference(self, told: object, measured: object, images: float) -> str:
        if not isinstance(measured, np.ndarray):
            margin = max(self.tolerance, 100 * self.allowed / images if self.allowed and images else 0)
            return "" if _alike(told, measured, self.tolerance, margin) else f"{told} in the table, {measured} measured"
        told = np.asarray(told) if self.numbers is None else np.asarray(told)[self.numbers]
        if measured.dtype == bool:
            wrong, allowed = int((told != measured).sum()), self.allowed
        else:
            alike = np.isclose(told, measured, rtol=self.tolerance, atol=self.tolerance, equal_nan=True)
            wrong, allowed = int((~alike).sum()), 0
        return f"{wrong} of {len(measured)} images differ" if wrong > allowed else ""


@dataclass(frozen=True)
class Derived:
    """A table that follows from other committed tables, without images or models."""

    table: str
    make: Callable[[], pd.DataFrame]
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.table}: from the tables it follows from"

    def differences(self, table: pd.DataFrame) -> list[str]:
        """A line for every cell in which the table and what is derived differ."""
        made, found = self.make(), []
        if len(made) != len(table):
            return [f"{self.table}: {len(table)} rows in the table, {len(made)} derived"]
        for name in [name for name in made if name in table and not isinstance(made[name].iloc[0], np.ndarray)]:
            for row, (told, value) in enumerate(zip(table[name], made[name], strict=True), 1):
                if not _alike(told, value, TOLERANCE, TOLERANCE):
                    found.append(f"{self.table}, row {row}, {name}: {told} in the table, {value} derived")
        return found


Listed = Callable[[Study, random.Random], Iterable[Unit | Derived]]


def _alike(told: object, value: object, relative: float, absolute: float) -> bool:
    missing = [bool(pd.isna(each)) or each == "" for each in (told, value)]
    if any(missing) or isinstance(value, str | bool):
        return all(missing) or str(told) == str(value)
    return bool(np.isclose(float(told), float(value), rtol=relative, atol=absolute))


def _where(table: pd.DataFrame, values: Row) -> pd.DataFrame:
    for name, value in values.items():
        column = table[name]
        table = table[np.isclose(column.astype(float), value) if isinstance(value, float) else column == value]
    return table


def who(key: ModelKey) -> dict[str, object]:
    """The columns of a table that name a model."""
    return dict(zip(KEY, key, strict=True))


def drawn(images: int, rng: random.Random) -> np.ndarray:
    """The numbers of IMAGES of so many images, at random, in order."""
    return np.array(sorted(rng.sample(range(images), min(IMAGES, images))))


def shares(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A table with accuracies computed from its per-image answers: columns are {accuracy: answers}."""
    return table.assign(**{name: [100 * np.mean(each) for each in table[right]] for name, right in columns.items()})


def compare_checkpoints(study: Study) -> tuple[list[str], list[str]]:
    """A line for every checkpoint that is not the one that the committed tables were made with; and the names of the
    controls whose checkpoints are not there, as not all come with the project."""
    known, controls = {}, study.weights_of(study.each_model(study.preset.controls))
    for path in sorted((study.output / "tables").glob("*.json")):
        known |= read_json(path).get("checkpoints", {})
    here, absent = study.weights | controls, [name for name, found in controls.items() if not found]
    changed = [
        f"checkpoint {name}: the results were made with {told}, here it is {here.get(name)}"
        for name, told in known.items()
        if name not in absent and told != here.get(name)
    ]
    return changed, absent


def verify(
    study: Study, listed: Listed, minutes: float = 5.0, seed: int | None = None, say: Callable[[str], object] = print
) -> int:
    """Make randomly drawn units of a preset again until the minutes are over: 0 if all are equal, else 1.

    listed: gives all units of a study; seed: of the draw, by default another one every time. What was checked is
    written to `verified.json` in the folder of results. Raises RequestError where there are no results, no images, or
    where checkpoints are absent: of a model that was trained anew no number would be the same."""
    if not (study.output / "tables").is_dir():
        raise RequestError(f"{study.output} has no tables; run `advlook reproduce --preset {study.preset.name}` first")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    rng, started = random.Random(seed), time.perf_counter()
    len(study.test)  # raises where images are missing, with the way to get them
    if untrained := ["-".join(map(str, key)) for key in study.each_model() if not study.find_checkpoint(*key)]:
        name = study.preset.name
        remedy = f"`advlook reproduce --preset {name}` trains models and measures all of it"
        raise RequestError(f"the checkpoints of preset {name} are not here ({', '.join(untrained)}); {remedy}")
    (differing, absent), checked, tables = compare_checkpoints(study), [], {}
    for line in differing:
        say(f"DIFFERS  {line}")
    if absent:
        say(f"not here, so not measured again: the checkpoints {', '.join(absent)} (`advlook train` makes them)")
    units = [unit for unit in listed(study, rng) if minutes >= LONG or not unit.slow]
    rng.shuffle(units)
    for unit in units:
        if checked and time.perf_counter() - started > 60 * minutes:
            break
        if unit.table not in tables:
            tables[unit.table] = study.load_table(unit.table)
        began, found = time.perf_counter(), unit.differences(tables[unit.table])
        checked.append(str(unit))
        differing += found
        say(f"{'DIFFERS' if found else 'equal':8} {unit} ({time.perf_counter() - began:.1f} s)")
        for line in found:
            say(f"         {line}")
    seconds = time.perf_counter() - started
    result = f"{len(differing)} cells differ" if differing else "all equal"
    say(f"{len(checked)} of {len(units)} units in {seconds // 60:.0f} min {seconds % 60:.0f} s: {result}")
    record = {"when": date.today().isoformat(), "commit": git_commit()[0], "seed": seed, "seconds": round(seconds, 1)}
    record |= {"units": len(units), "checked": len(checked), "differing": differing, "what": sorted(checked)}
    write_record(study.output / "verified.json", record)
    return 1 if differing else 0
