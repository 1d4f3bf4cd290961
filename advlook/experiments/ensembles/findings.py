"""What notebook 06 says of the results of its run, generated from their tables."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from IPython.display import Markdown

from advlook.core import eps_label
from advlook.core.names import LOW
from advlook.experiments.ensembles.panels import SetKey, combinations_of, known_sets, set_name, sets_of
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, existing, joined, with_interval
from advlook.study.style import select

_PAIRS, _JOINED = ("STD+STD", "ADV+ADV"), "STD+ADV"
_CONTRASTS = (  # of `06_comparisons`: what is compared with what
    ("ADV", "STD", "ADV against STD"),
    (*_PAIRS, f"{_PAIRS[0]} against {_PAIRS[1]}"),
    (_JOINED, "better pair", f"{_JOINED} against the better of these pairs"),
    (_JOINED, "better single", f"{_JOINED} against the better single model"),
)
_BEFORE = """Ahead and behind are differences whose 95% interval over images excludes 0. Known: image sets on which \
the backbones were, or may have been, trained."""


def told(study: Study) -> Markdown:
    """Which combinations lead on which image sets, what resolution alone changes, which radius transfers best, and
    whether fine-tuning helps."""
    tables = existing(study, "06_comparisons", "06_trends", "06_transfer_effects", "06_ensembles")
    known = known_sets(tables["06_ensembles"]) if "06_ensembles" in tables else []
    makers = {"06_comparisons": partial(leads, known=known), "06_trends": trends, "06_transfer_effects": transfer}
    makers["06_ensembles"] = fine_tuning
    return bullets([line for name in tables for line in makers[name](tables[name])], _BEFORE)


def leads(table: pd.DataFrame, known: Collection[SetKey] = ()) -> list[str]:
    """A line an architecture and contrast: on which image sets it is ahead, behind, or neither. table:
    `06_comparisons`; known: the sets of which the backbones know images, which are named as such."""
    lines = []
    for name, of_arch in by_arch(select(table, table="06_ensembles")):
        for combination, against, title in _CONTRASTS:
            rows = select(of_arch, combination=combination, against=against)
            if len(rows):
                by_mode = [f"{mode}: {_sides(each, known)}" for mode, each in rows.groupby("mode", sort=False)]
                lines.append(f"{name}, {title}. {_sentences(by_mode)}")
    return lines


def trends(table: pd.DataFrame) -> list[str]:
    """A line an architecture and image set: the change, from the finest to the coarsest resolution, of the lead of STD
    over ADV, of pairs where there are some, and of that of STD+ADV over the better pair. table: `06_trends`."""
    lines = []
    for name, of_arch in by_arch(table):
        for dataset, rows in of_arch.groupby("dataset", sort=False):
            of_kinds = rows[rows["combination"] != _JOINED]
            pairs = of_kinds[of_kinds["combination"] == _PAIRS[0]]
            chosen = pd.concat([pairs if len(pairs) else of_kinds, rows[rows["combination"] == _JOINED]])
            changes = joined([_change(row) for _, row in chosen.iterrows()])
            ends = f"from {rows['finest'].iloc[0]} to {rows['coarsest'].iloc[0]} px"
            lines.append(f"{name}, {dataset} {ends}: {changes} points.")
    return lines


def transfer(table: pd.DataFrame) -> list[str]:
    """A line an architecture for image sets of low resolution, and one for the others: at which radius of training
    frozen features are most accurate, where any radius is clearly ahead of STD. table: `06_transfer_effects`."""
    table, lines = table[table["eps"] > 0], []
    for name, of_arch in by_arch(table):
        low = of_arch["pixels"] <= LOW
        known = known_sets(of_arch)
        for title, rows in ((f"at {LOW} px and below", of_arch[low]), (f"above {LOW} px", of_arch[~low])):
            best, none = [], []
            for key in sets_of(rows):
                of_set = select(rows, dataset=key[0], pixels=key[1])
                if (of_set["low"] > 0).any():
                    row = of_set.sort_values("difference").iloc[-1]
                    best.append(f"{eps_label(row['eps'])} on {_name(key, known)} ({with_interval(row)})")
                else:
                    none.append(_name(key, known))
            parts = [f"most accurate: radius {joined(best)}"] if best else []
            parts += [f"no radius is ahead of STD on {joined(none)}"] if none else []
            if parts:
                what = f"frozen features over the radius of training, {title}, points over STD"
                lines.append(f"{name}, {what}. {_sentences(parts)}")
    return lines


def fine_tuning(table: pd.DataFrame) -> list[str]:
    """A line an architecture: with which combinations fine-tuning is ahead of frozen features, on the sets that have
    both. Which images each is right about is not in the table, so that they count as different ones: the intervals are
    wider than those of pairs. table: `06_ensembles`."""
    lines, known = [], known_sets(table)
    for name, of_arch in by_arch(table):
        parts = []
        for key in sets_of(of_arch):
            rows = select(of_arch, dataset=key[0], pixels=key[1])
            if rows["mode"].nunique() == 2:
                gains = [_gain(select(rows, combination=each)) for each in combinations_of(rows)]
                words = [f"{each} ({gain:+.1f})" for each, (gain, _) in zip(combinations_of(rows), gains, strict=True)]
                sides = {"ahead with": [gain > half for gain, half in gains]}
                sides["behind with"] = [gain < -half for gain, half in gains]
                parts.append(f"{_name(key, known)}: {_by_side(words, sides, 'neither with')}")
        if parts:
            lines.append(f"{name}, fine-tuned against frozen, in points. {_sentences(parts)}")
    return lines


def _gain(rows: pd.DataFrame) -> tuple[float, float]:
    """How many points fine-tuning is ahead, and half the 95% interval of the difference of two proportions."""
    accuracy = rows.groupby("mode")["top1"].mean()
    images = rows.groupby("mode")["images"].first()
    half = 1.96 * np.sqrt((accuracy * (100 - accuracy) / images).sum())
    return accuracy["fine-tuned"] - accuracy["frozen"], half


def _change(row: pd.Series) -> str:
    against = "the better pair" if row["against"] == "better pair" else row["against"]
    return f"the lead of {row['combination']} over {against} changes by {with_interval(row, 'change')}"


def _sides(rows: pd.DataFrame, known: Collection[SetKey]) -> str:
    names = [_name(key, known) for key in zip(rows["dataset"], rows["pixels"], strict=True)]
    return _by_side(names, {"ahead on": rows["low"] > 0, "behind on": rows["high"] < 0}, "neither on")


def _by_side(names: Sequence[str], sides: Mapping[str, Sequence[bool]], other: str) -> str:
    """Names in groups: "ahead on A and B; neither on C"."""
    groups = {side: [name for name, at in zip(names, each, strict=True) if at] for side, each in sides.items()}
    told = {name for group in groups.values() for name in group}
    groups[other] = [name for name in names if name not in told]
    return "; ".join(f"{side} {joined(group)}" for side, group in groups.items() if group)


def _name(key: SetKey, known: Collection[SetKey]) -> str:
    return set_name(*key, " at ") + " (known)" * (key in known)


def _sentences(parts: list[str]) -> str:
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)
