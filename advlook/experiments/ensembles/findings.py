"""What notebook 06 says of the results of its run, generated from their tables."""

import pandas as pd
from IPython.display import Markdown

from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, joined, lines_of, with_interval

_PAIRS, _JOINED = ("STD+STD", "ADV+ADV"), "STD+ADV"
_CONTRASTS = (  # of `06_comparisons`: what is compared with what
    (*_PAIRS, f"{_PAIRS[0]} against {_PAIRS[1]}"),
    (_JOINED, "better pair", f"{_JOINED} against the better of these pairs"),
    (_JOINED, "better single", f"{_JOINED} against the better single model"),
)


def told(study: Study) -> Markdown:
    """Which combinations lead on which image sets, and what resolution alone changes."""
    lines = lines_of(study, {"06_comparisons": leads, "06_trends": trends})
    return bullets(lines, "Ahead and behind are differences whose 95% interval over images excludes 0:")


def leads(table: pd.DataFrame) -> list[str]:
    """A line an architecture and contrast: on which image sets it is ahead, behind, or neither. table:
    `06_comparisons`."""
    lines = []
    for name, of_arch in by_arch(table[table["table"] == "06_ensembles"]):
        for combination, against, title in _CONTRASTS:
            rows = of_arch[(of_arch["combination"] == combination) & (of_arch["against"] == against)]
            if len(rows):
                by_mode = [f"{mode}: {_sides(each)}" for mode, each in rows.groupby("mode", sort=False)]
                lines.append(f"{name}, {title}. {_sentences(by_mode)}")
    return lines


def trends(table: pd.DataFrame) -> list[str]:
    """A line an architecture and image set: the change of the lead of STD from the finest to the coarsest resolution,
    of pairs where there are some. table: `06_trends`."""
    lines = []
    for name, of_arch in by_arch(table):
        for dataset, rows in of_arch.groupby("dataset", sort=False):
            row = rows.iloc[0]
            ends = f"from {row['finest']} to {row['coarsest']} px"
            lead = f"the lead of {row['combination']} over {row['against']}"
            lines.append(f"{name}, {dataset} {ends}: {lead} changes by {with_interval(row, 'change')} points.")
    return lines


def _sides(rows: pd.DataFrame) -> str:
    sets = rows["dataset"].str.replace(r" \(\d+ px\)$", "", regex=True) + " at " + rows["pixels"].astype(str) + " px"
    chosen = {"ahead": rows["low"] > 0, "behind": rows["high"] < 0}
    chosen["neither"] = ~chosen["ahead"] & ~chosen["behind"]
    return "; ".join(f"{side} on {joined(list(sets[at]))}" for side, at in chosen.items() if at.any())


def _sentences(parts: list[str]) -> str:
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)
