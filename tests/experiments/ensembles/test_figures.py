"""The figures of notebook 06, drawn from made-up tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from advlook.experiments.ensembles import figures as draw
from advlook.experiments.ensembles.panels import KNOWN, KNOWN_COLOR, LINE_STYLES

SETS = [("Photographs", 64, True, 10), ("Digits", 32, False, 12), ("Small (32 px)", 32, False, 100)]
LEADS = {"ADV": -9.0, "STD+STD": 1.0, "ADV+ADV": -8.0, "STD+ADV": 0.5}
ARCHS = ("alexnet_bn", "resnet10")


def ensembles(both=("Digits",), archs=ARCHS, sets=SETS):
    """Rows of `06_ensembles`: STD has an accuracy of 60, 60.5 and 61, the others as in LEADS above it."""
    rows = []
    for arch, (dataset, pixels, known, classes) in product(archs, sets):
        for mode in ("frozen", "fine-tuned") if dataset in both else ("frozen",):
            where = {"arch": arch, "dataset": dataset, "pixels": pixels, "known": known, "classes": classes}
            rows += [
                where | {"mode": mode, "combination": name, "seed": seed, "top1": 60 + LEADS.get(name, 0) + seed / 2}
                for name, seed in product(LINE_STYLES, range(3))
            ]
    table = pd.DataFrame(rows).assign(images=400, members="", parameters=2_000_000)
    table["parameters"] *= 1 + table["combination"].str.contains("+", regex=False)
    return table


def comparisons(table):
    """Rows of `06_comparisons` on the same sets, with intervals of two points."""
    where = ["arch", "dataset", "pixels", "mode"]
    kinds = [(name, "STD", lead) for name, lead in LEADS.items()]
    kinds += [("STD+ADV", "better pair", -0.5), ("STD+ADV", "better single", 0.5)]
    kinds = pd.DataFrame(kinds, columns=["combination", "against", "difference"])
    rows = table[where].drop_duplicates().merge(kinds, how="cross")
    return rows.assign(low=rows["difference"] - 1, high=rows["difference"] + 1, table="06_ensembles", images=400)


def degraded(sets=("Photographs",), archs=ARCHS):
    """Rows of `06_resolution`, and of `06_comparisons` on them."""
    places = list(product(archs, sets, (8, 32, 64)))
    rows = [(*place, *each, 50.0) for place in places for each in product(LINE_STYLES, range(2))]
    table = pd.DataFrame(rows, columns=["arch", "dataset", "resolution", "combination", "seed", "top1"])
    compared = [(*place, other, -3.0, -4.0, -2.0) for place in places for other in ("STD+STD", "ADV+ADV")]
    columns = ["arch", "dataset", "pixels", "against", "difference", "low", "high"]
    return table, pd.DataFrame(compared, columns=columns).assign(combination="STD+ADV", table="06_resolution")


def radii(archs=ARCHS, sets=SETS):
    """Rows of `06_transfer` and `06_transfer_effects`: 2/255 is best, 3 points ahead of STD."""
    leads = {0: 0.0, 1: 2.0, 2: 3.0, 8: -5.0}
    rows, effects = [], []
    for arch, (dataset, pixels, known, classes), eps in product(archs, sets, leads):
        where = {"arch": arch, "dataset": dataset, "pixels": pixels, "known": known, "eps": eps / 255}
        rows += [where | {"classes": classes, "seed": seed, "top1": 60 + leads[eps] + seed} for seed in range(3)]
        if eps:
            lead = leads[eps]
            effects.append(where | {"difference": lead, "low": lead - 1, "high": lead + 1, "seeds": 3})
    return pd.DataFrame(rows).assign(setting="", images=400), pd.DataFrame(effects).assign(images=400)


def texts(axis):
    """All that stands above a panel."""
    return " ".join([axis.get_title(), *(text.get_text() for text in axis.texts)])


def drawn_at(axis):
    """The heights of intervals' markers in a panel."""
    return sorted(np.concatenate([container.lines[0].get_ydata() for container in axis.containers]))


def test_panels_of_differences_have_the_same_axes():
    """Sets stand in the order of resolution with the accuracy of STD and of chance; those that the backbones know are
    told and marked; differences are those of the table."""
    table = ensembles()
    figure = draw.differences(table, comparisons(table))
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["Digits, 32 px", "Small, 32 px", "Photographs, 64 px"]
    assert len({axis.get_ylim() for axis in figure.axes}) == len({axis.get_xlim() for axis in figure.axes}) == 1
    told = [texts(axis) for axis in figure.axes]
    for text, chance in zip(told, ("8.3%", "1%", "10%"), strict=True):
        assert f"STD 60.5 / 60.5%, chance {chance}" in text
    assert [KNOWN in text for text in told] == [False, False, True]
    colors = [axis.patch.get_facecolor() for axis in figure.axes]
    assert colors[0] == colors[1] != colors[2]
    for axis in figure.axes:
        assert drawn_at(axis) == pytest.approx(sorted(2 * list(LEADS.values())))


def test_below_the_last_panel_of_a_column_stand_its_labels():
    """Also where the last line of panels is not full."""
    table = ensembles(sets=[(f"Set {number}", 32, False, 10) for number in range(5)], archs=ARCHS[:1])
    figure = draw.differences(table, comparisons(table))
    figure.canvas.draw()
    shown = [axis.xaxis.get_tick_params()["labelbottom"] for axis in figure.axes]
    assert shown == [False, False, True, True, True]


def test_fine_tuning_is_shown_where_there_is_both():
    """A panel a set that was learned both ways; without any a sentence."""
    figure = draw.fine_tuning(ensembles())
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["Digits, 32 px", ""]
    chance = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert chance == pytest.approx([100 / 12])
    (axis,) = draw.fine_tuning(ensembles(both=())).axes
    assert "No image set was learned both ways" in axis.texts[0].get_text()


def test_pairs_are_compared_on_every_set():
    """Frozen and fine-tuned beside each other on one set, frozen alone in the middle of the line of another."""
    table = ensembles()
    figure = draw.paired(table, comparisons(table))
    figure.canvas.draw()
    assert [axis.get_title().replace("\n", " ") for axis in figure.axes[:3]] == [
        "AlexNet (BN) against the better pair",
        "ResNet-10 against the better pair",
        "AlexNet (BN) against the better single",
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Photographs, 64 px", "Small, 32 px", "Digits, 32 px"]
    heights = np.concatenate([container.lines[0].get_ydata() for container in figure.axes[0].containers])
    assert sorted(heights) == pytest.approx([0, 1, 1.83, 2.17])
    marked = [patch for patch in figure.axes[0].patches if patch.get_facecolor()[:3] == pytest.approx(rgb(KNOWN_COLOR))]
    assert [patch.get_y() + patch.get_height() / 2 for patch in marked] == pytest.approx([0])


def rgb(color):
    """Red, green and blue of "#rrggbb"."""
    return [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]


@pytest.mark.parametrize(("sets", "columns"), [(("A",), 2), (("A", "B", "C"), 3)])
def test_resolution_has_a_column_a_set(sets, columns):
    """Few sets in one line of panels, many in a line an architecture, with the same axis for one set."""
    figure = draw.resolution(*degraded(sets))
    figure.canvas.draw()
    panels = len(sets) * len(ARCHS)
    assert len(figure.axes) == 2 * panels
    assert figure.axes[0].get_gridspec().ncols == columns
    titled = [axis for axis in figure.axes if axis.get_title()]
    assert len(titled) == panels
    assert len({axis.get_ylim() for axis in titled if axis.get_title().startswith("A")}) == 1


def test_the_most_accurate_radius_is_filled():
    """Differences over the radius, the same axes in all panels, and STD at the left."""
    figure = draw.transfer(*radii(archs=ARCHS[1:]))
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["Digits, 32 px", "Small, 32 px", "Photographs, 64 px"]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["STD", "1/255", "2/255", "8/255"]
    for axis in figure.axes:
        points = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
        filled = [line.get_ydata()[0] for line in points if line.get_markerfacecolor() != "white"]
        assert len(points) == 4
        assert filled == [3.0]
        assert "chance" in texts(axis)


@pytest.mark.parametrize(
    ("function", "tables", "told"),
    [(draw.resolution, degraded(), "None of the image sets"), (draw.transfer, radii(), "no models of other radii")],
)
def test_absent_figures_are_told(function, tables, told):
    """Where nothing was degraded, and where there are no models of other radii, a sentence says so."""
    figure = function(*(table[:0] for table in tables))
    figure.canvas.draw()
    assert told in figure.axes[0].texts[0].get_text()


def test_parameters_are_told_by_classes():
    """A pair has twice those of a single model; sets of as many classes share a line."""
    counts = draw.parameter_counts(ensembles())
    assert list(counts) == list(LINE_STYLES)
    assert list(counts.index) == list(product(("AlexNet (BN)", "ResNet-10"), (10, 12, 100)))
    assert set(counts["STD"]) == {2.0}
    assert set(counts["STD+ADV"]) == {4.0}
