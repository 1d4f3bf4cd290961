"""What notebook 03 says of its results."""

import pandas as pd

from advlook.experiments.visualize import figures, findings


def test_numbers_are_counted_by_their_side():
    """Towards a larger scale where every seed is; on the other side, and undecided, by name."""
    rows = [("a", -2, -1, "lower"), ("b", 1, 2, "higher"), ("c", 1, 2, "lower"), ("d", -1, 1, "lower")]
    table = pd.DataFrame(rows, columns=["number", "lowest seed", "highest seed", "larger would be"]).assign(arch="vit")
    (line,) = findings.scale(table)
    side = 'on the other side: "c"; undecided between seeds: "d".'
    assert line == f"**vit**: 2 of 4 numbers lie where a larger scale would put ADV; {side}"

    alone = table.assign(**{"lowest seed": [-1, 1, 1, 0], "highest seed": [-1, 1, 1, 0]})
    assert findings.scale(alone)[0].endswith('on the other side: "c"; equal: "d".')


def test_what_is_not_defined_is_told():
    """By architecture, with the reason."""
    table = pd.DataFrame({"arch": ["vit"], "method": ["guided_backprop"], "reason": ["17 GELUs"]})
    assert findings.undefined(table) == ["**vit**: not defined: Guided Backprop (17 GELUs)."]
    table = pd.DataFrame({"arch": ["net"], "method": ["strength"], "reason": ["LayerNorm2d normalises what it gives"]})
    assert findings.undefined(table) == [
        "**net**: not defined: The strength of a first-layer filter (LayerNorm2d normalises what it gives)."
    ]


def test_a_panel_of_a_map_that_is_not_defined_says_so():
    """And no other one."""
    rows = [{"of": method, "at": at, "value": 0.1 + at} for method in figures.TITLES for at in (0.0, 1.0)]
    table = pd.DataFrame(rows).assign(measure="map_edge_correlation", arch="vit", setting="std", seed=0)
    drawn = figures.edge_correlations(table[table["of"] != "guided_backprop"])
    said = [[text.get_text() for text in axis.texts] for axis in drawn.axes]
    assert said == [["not defined"] if method == "guided_backprop" else [] for method in figures.TITLES]
