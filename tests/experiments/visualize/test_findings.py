"""What notebook 03 says of its results."""

import pandas as pd

from advlook.experiments.visualize import findings


def test_numbers_are_counted_by_their_side():
    """Towards a larger scale where every seed is; on the other side, and undecided, by name."""
    rows = [("a", -2, -1, "lower"), ("b", 1, 2, "higher"), ("c", 1, 2, "lower"), ("d", -1, 1, "lower")]
    table = pd.DataFrame(rows, columns=["number", "lowest seed", "highest seed", "larger would be"]).assign(arch="vit")
    (line,) = findings.scale(table)
    side = 'on the other side: "c"; undecided between seeds: "d".'
    assert line == f"**vit**: 2 of 4 numbers lie where a larger scale would put ADV; {side}"


def test_what_is_not_defined_is_told():
    """By architecture, with the reason."""
    table = pd.DataFrame({"arch": ["vit"], "method": ["guided_backprop"], "reason": ["17 GELUs"]})
    assert findings.undefined(table) == ["**vit**: not defined: Guided Backprop (17 GELUs)."]
