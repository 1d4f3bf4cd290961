"""What could explain that blur favours ADV here: leads of ADV under one changed circumstance at a time."""

import pandas as pd
import pytest

from advlook.report import explanations
from advlook.report.blocks import load


def sweep(setting, seed, top1):
    """Rows of one model at three levels."""
    about = {"arch": "resnet10", "setting": setting, "seed": seed}
    return [about | {"level": level, "top1": value} for level, value in enumerate(top1)]


def test_a_pair_is_of_the_seeds_that_both_have():
    """A control of one seed is compared with STD of that seed alone."""
    rows = pd.DataFrame(sweep("std", 0, [80, 60, 40]) + sweep("std", 1, [0, 0, 0]) + sweep("short", 0, [70, 60, 55]))
    assert explanations._lead(rows, "short").to_dict() == {0: -10, 1: 0, 2: 15}


def test_sigma_and_cycles_of_a_known_lead():
    """A lead that changes sign half way between two levels does so at the mean of their sigmas, or nowhere."""
    told = explanations._told("x", pd.Series([-10.0, -5.0, 5.0], index=[0.0, 1.0, 2.0]), 64)
    assert told == ("x", "1.50", "8.0", "+5.0 (sigma 2 px)")  # 0.1874 * 64 / 1.5
    never = explanations._told("x", pd.Series([-10.0, -5.0], index=[0.0, 1.0]), 64)
    assert never[1:3] == ("not in its range", "")


def test_the_unchanged_line_is_the_crossing_of_the_preset():
    """The first line is that of `04_crossings`, and the published line has no crossing."""
    table = explanations.explanations()
    at = load("imagenette", "04_crossings").query("arch == 'resnet10' and operation == 'blur' and seed == 'all'")
    assert float(table.iloc[0, 1]) == pytest.approx(at["level"].item(), abs=0.005)
    published = table[table.iloc[:, 0].str.contains("published")]
    assert published.iloc[0, 1] == "not in its range"
