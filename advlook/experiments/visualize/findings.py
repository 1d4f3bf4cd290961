"""What notebook 03 says of the results of its run, generated from their tables."""

import pandas as pd
from IPython.display import Markdown

from advlook.experiments.defined import SUBJECTS
from advlook.experiments.visualize.measure import compared
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, joined, lines_of


def told(study: Study) -> Markdown:
    """How many numbers speak for a larger scale of ADV, and what is not defined."""
    return bullets(lines_of(study, {"03_scale": lambda table: scale(compared(table)), "03_undefined": undefined}))


def scale(table: pd.DataFrame) -> list[str]:
    """A line an architecture: how many numbers lie, in every seed, where a larger scale would put ADV, which lie on the
    other side, and on which the seeds do not agree. table: of `measure.compared`."""
    lines = []
    for name, rows in by_arch(table):
        sign = rows["larger would be"].map({"lower": -1, "higher": 1})
        ends = rows[["lowest seed", "highest seed"]].mul(sign, axis=0)
        towards, away = (ends > 0).all(axis=1), (ends < 0).all(axis=1)
        text = f"{name}: {towards.sum()} of {len(rows)} numbers lie where a larger scale would put ADV"
        several = (rows["lowest seed"] != rows["highest seed"]).any()
        rest = "undecided between seeds" if several else "equal"
        for chosen, where in ((away, "on the other side"), (~towards & ~away, rest)):
            if chosen.any():
                titles = ('"' + rows.loc[chosen, "number"] + '"').tolist()
                text += f"; {where}: {joined(titles)}"
        lines.append(f"{text}.")
    return lines


def undefined(table: pd.DataFrame) -> list[str]:
    """A line an architecture: what is not defined, and why. table: `03_undefined`."""
    return [
        f"{name}: not defined: {joined([f'{SUBJECTS[row.method]} ({row.reason})' for row in rows.itertuples()])}."
        for name, rows in by_arch(table)
    ]
