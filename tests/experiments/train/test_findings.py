"""What notebook 01 says of its results."""

import pandas as pd

from advlook.experiments.train import findings


def test_accuracies_are_means_over_seeds():
    """Clean and under attack, with the difference on its side."""
    table = pd.DataFrame(
        [("vit", "std", 0, 90.0, 1.0), ("vit", "std", 1, 80.0, 3.0), ("vit", "adv", 0, 70.0, 40.0)],
        columns=["arch", "setting", "seed", "top1", "robust_pgd"],
    ).assign(eps=4 / 255)
    (line,) = findings.tradeoff(table)
    assert line == (
        "**vit**: 85.0% (STD) and 70.0% (ADV): ADV is 15.0 points behind. "
        "Under PGD at 4/255: 2.0% (STD) and 40.0% (ADV): ADV is 38.0 points ahead."
    )


def test_cues_are_told_by_setting():
    """Texture and silhouette of each are not mixed up."""
    table = pd.DataFrame({"arch": "vit", "setting": ["std", "adv"], "by_texture": [98.0, 1.0], "by_shape": [0.0, 93.0]})
    (line,) = findings.cues(table)
    assert "STD answers 98% by texture and 0% by silhouette, ADV 1% by texture and 93% by silhouette" in line
