"""Rulers: numbers, one a model, in which STD and ADV differ or might, by the measures of notebooks 01, 03 and 04."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from advlook.core.names import MAIN
from advlook.corruptions.severities import FAMILIES
from advlook.stats.crossing import masked_octave, octave_of
from advlook.stats.paired import bands_and_noise, named, under_noise

Tables = Mapping[str, pd.DataFrame]  # the rows of one model, by the names of the earlier notebooks' tables


@dataclass(frozen=True)
class Ruler:
    """A number of a model. value: from the model's rows, and the accuracy of chance as a share. octaves: whether its
    ratios count, not its differences."""

    title: str
    unit: str
    value: Callable[[Tables, float], float]
    octaves: bool = False


def _accuracy(tables: Tables, chance: float, column: str) -> float:
    return float(tables["01_tradeoff"].iloc[0][column])


def _sides(tables: Tables, chance: float) -> float:
    rows = tables["04_hybrids"]
    rows = rows[rows["condition"] == MAIN]
    return float(2 ** octave_of(np.sort(rows["cutoff"].unique()))(named(rows).mean(0)))


def _masked(tables: Tables, chance: float) -> float:
    rows = tables["04_masking"]
    return float(2 ** masked_octave(*bands_and_noise(rows), chance)(under_noise(rows).mean(0)))


def _retained(tables: Tables, chance: float, operation: str) -> float:
    """The mean over the levels of an operation, in percent of the clean accuracy, both less chance."""
    rows = tables["04_answers"]
    return float(rows.loc[rows["operation"] == operation, "kept"].mean())


def _kept(tables: Tables, chance: float, table: str, column: str, name: str, level: str) -> float:
    """The mean accuracy over the levels of a sweep but 0, in percent of that at level 0."""
    rows = tables[table]
    means = rows[rows[column] == name].groupby(level)["top1"].mean()
    return float(100 * means.drop(0).mean() / means[0]) if means[0] else np.nan


def _of_maps(tables: Tables, chance: float, method: str, column: str) -> float:
    rows = tables["03_maps"]
    return float(rows.loc[rows["of"] == method, column].mean())


def _of_units(tables: Tables, chance: float, measure: str, deep: bool = False) -> float:
    """The mean of a measure of `03_scale` over units; deep: of all layers but the first."""
    rows = tables["03_scale"]
    rows = rows[rows["measure"] == measure]
    return float(rows.loc[(rows["of"] != rows["of"].iloc[0]) | (not deep), "value"].mean())


_swept = partial(_kept, table="04_sweeps", column="operation", level="level")
_corrupted = partial(_kept, table="04_families", column="corruption", level="severity")
_guided = partial(_of_maps, method="guided_backprop", column="median_frequency")
_loss = partial(_of_maps, method="loss_gradient", column="edge_correlation")
_deep = partial(_of_units, deep=True)
_changed = partial(_of_units, measure="answers_half_frequency")

CLEAN, PGD, HYBRIDS, LOW_PASSED = "clean accuracy", "accuracy under PGD", "hybrid images", "low-passed"
WEIGHTS, UNITS = "first-layer weights", "deep units"
RULERS = {
    CLEAN: Ruler("clean accuracy", "%", partial(_accuracy, column="top1")),
    PGD: Ruler("accuracy under PGD", "%", partial(_accuracy, column="robust_pgd")),
    HYBRIDS: Ruler("hybrid images: switch to shapes", "cycles/px", _sides, octaves=True),
    "noise of one octave": Ruler("noise that masks most", "cycles/px", _masked, octaves=True),
    LOW_PASSED: Ruler("retained, low-passed (mean)", "%", partial(_retained, operation="low-pass")),
    "high-passed": Ruler("retained, high-passed (mean)", "%", partial(_retained, operation="high-pass")),
    "shuffled": Ruler("retained, pixels shuffled in blocks", "%", partial(_retained, operation="shuffled")),
    "blur": Ruler("retained, Gaussian blur", "%", partial(_swept, name="blur")),
    "median": Ruler("retained, median filter", "%", partial(_swept, name="median")),
    "reversal": Ruler("retained, reversed colours", "%", partial(_swept, name="reversal")),
    **{title: Ruler(f"retained, {title}", "%", partial(_corrupted, name=title)) for title in FAMILIES},
    "changed answers": Ruler("frequency that changes answers", "cycles/px", _changed),
    "guided maps": Ruler("guided maps, median frequency", "cycles/px", _guided),
    "loss gradients": Ruler("loss gradients, correlation with edges", "", _loss),
    WEIGHTS: Ruler("first-layer weights, L2 norm", "", partial(_of_units, measure="filter_norm")),
    UNITS: Ruler("deep units, median frequency", "cycles/px", partial(_deep, measure="unit_median_frequency")),
    "deep units, colours": Ruler("deep units, colour variance", "", partial(_deep, measure="unit_colour_variance")),
}
