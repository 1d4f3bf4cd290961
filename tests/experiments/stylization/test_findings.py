"""What notebook 05 says of its results."""

import pandas as pd

from advlook.experiments.stylization import findings


def test_variants_are_told_at_full_strength():
    """Strengths in between, single seeds and other measures are left out."""
    columns = ["variant", "strength", "seed", "measure", "difference"]
    rows = [("standard", 0, "all", "accuracy", -6), ("stylized", 1, "all", "accuracy", 2)]
    rows += [("stylized", 0, "all", "accuracy", 99), ("stylized", 0.5, "all", "accuracy", 99)]
    rows += [("stylized", 1, "0", "accuracy", 99), ("stylized", 1, "all", "relative", 99)]
    rows += [("cue conflict", 1, "all", "shape bias", 14)]
    table = pd.DataFrame(rows, columns=columns).assign(arch="vit", low=-1.0, high=1.0)
    (line,) = findings.differences(table)
    ends = "[-1.0, +1.0]"
    accuracy = f"-6.0 {ends} on the images as they are, +2.0 {ends} stylized"
    assert line == f"**vit**: {accuracy} and +14.0 {ends} in shape bias on cue conflicts."


def test_the_choice_of_block_size_is_told():
    """By the judge at the size of the blocks, not at that of the preset; and what models do at each."""
    columns = ["at", "shown", "arch", "setting", "seed", "shape_bias", "of_claim"]
    rows = [(8, 160, "judge", "judge", "all", 30.0, False), (12, 160, "judge", "judge", "all", 18.0, True)]
    rows += [(8, 64, "judge", "judge", "all", 39.0, False), (12, 64, "judge", "judge", "all", 27.0, True)]
    rows += [(at, 64, "vit", each, "all", bias, at == 12) for at, each, bias in ((8, "std", 20.0), (8, "adv", 30.5))]
    table = pd.DataFrame(rows, columns=columns).assign(over="block", images=750)
    asked, chosen, models = findings.blocks(table)
    assert asked == "Of 750 conflicts for tuning the judge has a shape bias of 30% with 8 px and 18% with 12 px."
    assert chosen == "Nearest to the published 27% is 8 px; the claim rests on 12 px."
    assert models == "**vit**: ADV - STD in points of shape bias is +10.5 at 8 px."
