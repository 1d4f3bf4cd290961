"""What notebook 06 says of its results."""

import pandas as pd

from advlook.experiments.ensembles import findings


def test_sets_stand_on_the_side_of_their_interval():
    """Ahead, behind or neither, by the way of training; sets whose name tells their size do not tell it twice."""
    rows = [("A (32 px)", 32, "frozen", 1, 2), ("B", 64, "frozen", -2, -1), ("C", 64, "frozen", -1, 1)]
    rows += [("A (32 px)", 32, "fine-tuned", -1, 1)]
    table = pd.DataFrame(rows, columns=["dataset", "pixels", "mode", "low", "high"])
    table = table.assign(arch="vit", combination="STD+STD", against="ADV+ADV", table="06_ensembles")
    (line,) = findings.leads(table)
    frozen = "Frozen: ahead on A at 32 px; behind on B at 64 px; neither on C at 64 px."
    assert line == f"**vit**, STD+STD against ADV+ADV. {frozen} Fine-tuned: neither on A at 32 px."


def test_the_change_of_pairs_goes_before_that_of_single_models():
    """A set is told once."""
    rows = [("STD+STD", "ADV+ADV", -10.0, -12.0, -9.0), ("STD", "ADV", 99.0, 98.0, 100.0)]
    table = pd.DataFrame(rows, columns=["combination", "against", "change", "low", "high"])
    (line,) = findings.trends(table.assign(arch="vit", dataset="A", finest=64, coarsest=8))
    assert line == "**vit**, A from 64 to 8 px: the lead of STD+STD over ADV+ADV changes by -10.0 [-12.0, -9.0] points."
