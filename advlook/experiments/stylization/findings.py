"""What notebook 05 says of the results of its run, generated from their tables."""

import pandas as pd
from IPython.display import Markdown

from advlook.core import NAMES, SETTINGS
from advlook.core.names import CONFLICT, REVERSED, STANDARD, STYLIZED
from advlook.experiments.stylization.judged import PUBLISHED, SIDE
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, joined, lines_of, with_interval

_TITLES = {STANDARD: "on the images as they are", REVERSED: "with colours reversed", STYLIZED: "stylized"}


def told(study: Study) -> Markdown:
    """ADV - STD on every variant of the images, and in shape bias."""
    lines = lines_of(study, {"05_differences": differences})
    return bullets(lines, "ADV - STD in points, with 95% intervals over images:")


def block_size(study: Study) -> Markdown:
    """By which block size the judge's shape bias is nearest to the published one, and what other sizes would change."""
    nothing = "Of this image set there are no cue conflicts of several block sizes."
    return bullets(lines_of(study, {"05_curves": blocks}), nothing=nothing)


def differences(table: pd.DataFrame) -> list[str]:
    """A line an architecture: ADV - STD in accuracy and in shape bias. table: `05_differences`."""
    lines = []
    for name, rows in by_arch(table[(table["seed"] == "all") & (table["strength"].isin([0, 1]))]):
        accuracy = rows[(rows["measure"] == "accuracy") & ((rows["variant"] != STYLIZED) | (rows["strength"] == 1))]
        found = accuracy.set_index("variant")
        texts = [f"{with_interval(found.loc[each])} {title}" for each, title in _TITLES.items() if each in found.index]
        bias = rows[rows["variant"] == CONFLICT]
        texts += [f"{with_interval(row)} in shape bias on cue conflicts" for _, row in bias.iterrows()]
        lines.append(f"{name}: {joined(texts)}.")
    return lines


def blocks(table: pd.DataFrame) -> list[str]:
    """The judge's shape bias by block size, a line; and a line an architecture: that of STD and ADV. table:
    `05_curves`."""
    of_blocks = table[table["over"] == "block"]
    judge = of_blocks[(of_blocks["arch"] == "judge") & (of_blocks["shown"] == SIDE)].set_index("at")
    nearest = (judge["shape_bias"] - PUBLISHED).abs().idxmin()
    (chosen,) = judge.index[judge["of_claim"]]
    told = joined([f"{bias:.0f}% with {at} px" for at, bias in judge["shape_bias"].items()])
    lines = [f"Of {judge['images'].max()} conflicts for tuning the judge has a shape bias of {told}."]
    lines += [f"Nearest to the published {PUBLISHED:g}% is {nearest} px; the claim rests on {chosen} px."]
    models = of_blocks[(of_blocks["arch"] != "judge") & (of_blocks["seed"] == "all")]
    for name, rows in by_arch(models):
        bias = rows.pivot(index="at", columns="setting", values="shape_bias")
        gains = bias[SETTINGS[1]] - bias[SETTINGS[0]]
        texts = [f"{gain:+.1f} at {at} px" for at, gain in gains.items()]
        lines.append(f"{name}: {NAMES[SETTINGS[1]]} - {NAMES[SETTINGS[0]]} in points of shape bias is {joined(texts)}.")
    return lines
