"""What notebook 06 says of its results."""

import pandas as pd
from IPython.display import Markdown

from advlook.experiments.ensembles import findings


def test_sets_stand_on_the_side_of_their_interval():
    """Ahead, behind or neither, by the way of training; sets whose name tells their size do not tell it twice, and
    those that the backbones know are named as such."""
    rows = [("A (32 px)", 32, "frozen", 1, 2), ("B", 64, "frozen", -2, -1), ("C", 64, "frozen", -1, 1)]
    rows += [("A (32 px)", 32, "fine-tuned", -1, 1)]
    table = pd.DataFrame(rows, columns=["dataset", "pixels", "mode", "low", "high"])
    table = table.assign(arch="vit", combination="STD+STD", against="ADV+ADV", table="06_ensembles")
    (line,) = findings.leads(table, [("B", 64)])
    frozen = "Frozen: ahead on A at 32 px; behind on B at 64 px (known); neither on C at 64 px."
    assert line == f"**vit**, STD+STD against ADV+ADV. {frozen} Fine-tuned: neither on A at 32 px."


def test_the_change_of_pairs_goes_before_that_of_single_models():
    """A set is told once, with the change of what is joined beside it; single models where there are no pairs."""
    rows = [("STD+STD", "ADV+ADV", -10.0, -12.0, -9.0), ("STD", "ADV", 99.0, 98.0, 100.0)]
    rows += [("STD+ADV", "better pair", 1.0, -1.0, 3.0)]
    table = pd.DataFrame(rows, columns=["combination", "against", "change", "low", "high"])
    table = table.assign(arch="vit", dataset="A", finest=64, coarsest=8)
    (line,) = findings.trends(table)
    pairs = "the lead of STD+STD over ADV+ADV changes by -10.0 [-12.0, -9.0]"
    mixed = "the lead of STD+ADV over the better pair changes by +1.0 [-1.0, +3.0]"
    assert line == f"**vit**, A from 64 to 8 px: {pairs} and {mixed} points."
    (line,) = findings.trends(table[1:2])
    assert line == "**vit**, A from 64 to 8 px: the lead of STD over ADV changes by +99.0 [+98.0, +100.0] points."


def test_the_most_accurate_radius_is_told_where_one_is_ahead():
    """Sets of low and of high resolution are apart; where no interval is above 0 no radius is named."""
    rows = [("A", 32, False, 1, 2.0, 1.0, 3.0), ("A", 32, False, 2, 3.1, 2.0, 4.2), ("A", 32, False, 8, -1.0, -2.0, 0)]
    rows += [("B", 64, True, 1, 1.0, -1.0, 3.0), ("B", 64, True, 2, -2.0, -3.0, -1.0)]
    rows += [("C", 64, False, 1, 1.5, 0.5, 2.5), ("C", 64, False, 2, -2.0, -3.0, -1.0)]
    table = pd.DataFrame(rows, columns=["dataset", "pixels", "known", "eps", "difference", "low", "high"])
    low, high = findings.transfer(table.assign(arch="vit", eps=table["eps"] / 255))
    assert "at 32 px and below, points over STD" in low
    assert low.endswith("Most accurate: radius 2/255 on A at 32 px (+3.1 [+2.0, +4.2]).")
    assert "above 32 px" in high
    best = "Most accurate: radius 1/255 on C at 64 px (+1.5 [+0.5, +2.5])."
    assert high.endswith(f"{best} No radius is ahead of STD on B at 64 px (known).")
    assert findings.transfer(table.assign(arch="vit")[:0]) == []


def accuracies(frozen, tuned, images=10000):
    """Rows of `06_ensembles` of STD and ADV on one set."""
    rows = [("frozen", *row) for row in frozen.items()] + [("fine-tuned", *row) for row in tuned.items()]
    table = pd.DataFrame(rows, columns=["mode", "combination", "top1"])
    return table.assign(arch="vit", dataset="A", pixels=32, known=False, images=images)


def test_fine_tuning_is_ahead_where_the_difference_is_more_than_chance():
    """Two points of 10,000 images are, half a point is not; sets that were learned one way only are left out."""
    table = accuracies({"STD": 50.0, "ADV": 50.0}, {"STD": 52.0, "ADV": 50.5})
    only = table[table["mode"] == "frozen"].assign(dataset="B")
    (line,) = findings.fine_tuning(pd.concat([table, only]))
    assert line == (
        "**vit**, fine-tuned against frozen, in points. A at 32 px: ahead with STD (+2.0); neither with ADV (+0.5)."
    )
    (line,) = findings.fine_tuning(accuracies({"STD": 50.0}, {"STD": 52.0}, images=100))
    assert "neither with STD (+2.0)" in line
    assert findings.fine_tuning(only) == []


def test_what_is_there_is_told(monkeypatch):
    """Of a run without models of other radii, and of an earlier version that did not know what the backbones know."""
    table = accuracies({"STD": 50.0}, {"STD": 60.0}).drop(columns="known")
    monkeypatch.setattr(findings, "existing", lambda study, *names: {"06_ensembles": table})
    told = findings.told(None)
    assert isinstance(told, Markdown)
    assert "A at 32 px: ahead with STD (+10.0)" in told.data
    monkeypatch.setattr(findings, "existing", lambda study, *names: {})
    assert findings.told(None).data == "There are no results of this here."
