"""What several plots of notebook 06 draw alike: colours of combinations, panels of image sets with the same axes, and
marks of the sets that the backbones know."""

import re
from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from advlook.core import ARCH_NAMES
from advlook.study import style

_SINGLE, _PAIR = {"mfc": "white", "ls": ":", "lw": 1.6, "ms": 5}, {"ls": "-", "lw": 1.6, "ms": 5}
LINE_STYLES = {  # of every combination
    "STD": {"color": style.COLORS["std"], "marker": "o", **_SINGLE},
    "ADV": {"color": style.COLORS["adv"], "marker": "o", **_SINGLE},
    "STD+STD": {"color": style.COLORS["std"], "marker": "D", **_PAIR},
    "ADV+ADV": {"color": style.COLORS["adv"], "marker": "D", **_PAIR},
    "STD+ADV": {"color": style.GREEN, "marker": "s", **_PAIR},
}
COLUMNS = 4  # panels side by side, at most
KNOWN, KNOWN_COLOR = "training set of the backbones", "#F6EED8"  # sets of which they have, or may have, seen images
_ACROSS = 11.0  # inches of all panels side by side: on a page, letters beside more than these are too small

SetKey = tuple[str, int]  # name and pixels of an image set


def width_of(columns: int, most: float) -> float:
    """Inches that each of so many panels side by side is wide, at most `most`."""
    return min(most, _ACROSS / columns)


def set_name(dataset: str, pixels: int, between: str = ", ") -> str:
    """An image set with its resolution, which is said once also where the name of the set ends with it."""
    return re.sub(r" \(\d+ px\)$", "", dataset) + f"{between}{pixels} px"


def sets_of(table: pd.DataFrame) -> list[SetKey]:
    """Image sets by resolution, and by name where it is the same."""
    keys = table[["dataset", "pixels"]].drop_duplicates().sort_values(["pixels", "dataset"])
    return list(keys.itertuples(index=False, name=None))


def known_sets(table: pd.DataFrame) -> list[SetKey]:
    """Those of which the backbones know images; none in tables of earlier versions, which do not say it."""
    return sets_of(table[table["known"]]) if "known" in table else []


def combinations_of(table: pd.DataFrame) -> list[str]:
    """The combinations of a table, single models first."""
    return [name for name in LINE_STYLES if name in set(table["combination"])]


def bars(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the two arms of intervals: `(2, rows)`."""
    return np.stack([rows["difference"] - rows["low"], rows["high"] - rows["difference"]]).clip(min=0)


def shifts(count: int, step: float) -> np.ndarray:
    """Places beside each other around 0, so that what is drawn there does not overlap."""
    return (np.arange(count) - (count - 1) / 2) * step


def sentence(text: str) -> Figure:
    """In place of a figure, why there is none."""
    figure, (axis,) = style.new_figure(1, 1, 6, 1)
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def known_handles(table: pd.DataFrame) -> list[Line2D]:
    """The entry of a legend that explains panels and lines in KNOWN_COLOR, where there are some."""
    return [style.handle(KNOWN, KNOWN_COLOR, lw=9)] if table["known"].any() else []


def run_handle(label: str = "single runs") -> Line2D:
    """The entry of a legend for dots beside a mean."""
    return style.handle(label, style.GREY, marker=".", ms=5, ls="")


def set_panels(base: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, SetKey]]]:
    """A panel an image set, all with the same axes, `height` inches each; their y axis is the lead over STD. Titles
    tell accuracies of STD, in the order of the architectures, and of chance. base: rows of STD, in the order of
    architectures: dataset, pixels, known, classes, arch, top1. Returns the figure, and each axis with its set."""
    sets, known = sets_of(base), known_sets(base)
    rows = ceil(len(sets) / COLUMNS)
    columns = ceil(len(sets) / rows)
    size = width_of(columns, 3.8) * columns + 0.7, (height + 0.6) * rows + 0.7
    figure, axes = style.new_figure(rows, columns, *size, sharex=True, sharey=True)
    for place, axis in enumerate(axes):
        if place >= len(sets):
            axis.remove()
        elif place + columns >= len(sets):
            axis.tick_params(labelbottom=True)  # nothing is below it
    panels = list(zip(axes, sets, strict=False))
    for axis, key in panels:
        of = style.select(base, dataset=key[0], pixels=key[1])
        means = " / ".join(f"{value:.1f}" for value in of.groupby("arch", sort=False)["top1"].mean())
        lines = [f"STD {means}%, chance {100 / of['classes'].iloc[0]:.2g}%"]
        if key in known:
            lines.insert(0, KNOWN)
            axis.set_facecolor(KNOWN_COLOR)
        axis.set_title(set_name(*key), fontsize=11, pad=6 + 12 * len(lines))
        below = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 9}
        axis.annotate("\n".join(lines), (0.5, 1), xycoords="axes fraction", color=style.DARK, **below)
        axis.axhline(0, color=style.GREY, lw=1.2, zorder=1)
        axis.grid(visible=False, axis="x")
    figure.supylabel("ahead of STD [points of accuracy]", fontsize=11, color=style.INK)
    return figure, panels


def arch_handles(archs: Sequence[str], *, joined: bool = False, **line: object) -> list[Line2D]:
    """The entries of a legend that name architectures by their markers, and by their lines where these are `joined`."""
    looks = {arch: style.ARCH_STYLES[arch] for arch in archs}
    return [
        style.handle(ARCH_NAMES[arch], marker=marker, **line | {"ls": dashes if joined else "", "lw": 1.2})
        for arch, (dashes, marker) in looks.items()
    ]
