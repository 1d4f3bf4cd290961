"""What notebook 04 says of its results."""

import numpy as np
import pandas as pd

from advlook.experiments.corruptions import findings


def test_scales_are_those_of_all_seeds_and_plain_hybrids():
    """Neither controls nor single seeds are told."""
    own = pd.DataFrame(
        {"of": ["std", "adv", "apart"], "scale": [0.12, 0.045, 1.4], "low": [0.1, 0.04, 1.3], "high": [0.13, 0.05, 1.5]}
    ).assign(condition="as they are", seed="all", arch="vit")
    others = pd.concat([own.assign(condition="grey", scale=9.0), own.assign(seed="0", scale=9.0)])
    (line,) = findings.hybrids(pd.concat([own, others]))
    assert line == (
        "**vit**: in hybrid images STD switches to the coarse image at 0.120 cycles per pixel, ADV at 0.045; "
        "ADV is lower by 1.40 [1.30, 1.50] octaves."
    )


def test_what_is_never_overtaken_is_told():
    """Levels in their unit; an open end of an interval is a dash, and infinity is "not within the range"."""
    rows = [("blur", 0.8, 0.7, 0.9), ("median", 2.0, 1.0, np.inf), ("median 5x5", np.inf, 3.0, np.inf)]
    table = pd.DataFrame(rows, columns=["operation", "level", "low", "high"]).assign(arch="vit", seed="all")
    (line,) = findings.overtakes(table)
    overtaken = "Gaussian blur at sigma 0.80 px [0.70, 0.90] and the 3x3 median at 2.00 passes [1.00, -]"
    never = "ADV does not overtake within the range under the 5x5 median"
    assert line == f"**vit**: ADV overtakes STD under {overtaken}; {never}."
