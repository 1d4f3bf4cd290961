"""The common style of every figure: one palette, and what several figures draw alike. A figure is drawn from a table,
and computes nothing but means over seeds. STD is vermilion and ADV is blue everywhere (colours that differ for
colour-blind readers too); architectures differ by line style and marker."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import ceil
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS

COLORS = {"std": "#D55E00", "adv": "#0072B2", "random": "#7F7F7F"}
INK = "#222222"  # titles, means and intervals that belong to no setting
DARK = "#444444"  # legend entries that belong to no setting
GREY = "#888888"  # lines of reference: zero, chance
LIGHT = "#AAAAAA"  # single seeds, and lines that only join
GREEN, PURPLE = "#009E73", "#8C6BB1"  # what is neither STD nor ADV: both together, style, shape or texture
RIGHT, WRONG = "#1B7F3B", "#B00020"
GAP = 0.25  # between blocks of pictures, in pictures


class _ArchStyles(dict[str, tuple[str, str]]):
    """Line and marker by architecture; one that a user named has those that its name falls on."""

    def __missing__(self, arch: str) -> tuple[str, str]:
        looks = product(("-", "--", "-.", ":"), "oPv^XDs")
        return list(looks)[crc32(arch.encode()) % 28]


ARCH_STYLES = _ArchStyles(
    alexnet_bn=("--", "s"), resnet10=("-", "o"), resnet18=("-.", "^"), resnet50=("-", "o"), resnet101=(":", "D")
)
STYLE: dict[str, object] = {"font.family": "DejaVu Sans", "lines.linewidth": 2, "lines.markersize": 6}
STYLE |= {"axes.titlesize": 12, "axes.titleweight": "bold", "axes.labelsize": 11, "axes.edgecolor": GREY}
STYLE |= {"xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 10, "legend.frameon": False}
STYLE |= {"grid.color": "#E4E4E4"}


def new_figure(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels (inches), outside pyplot's registry, in the study's style."""
    import seaborn as sns  # here: it takes a second, which commands and worker processes need not spend

    sns.set_theme(context="notebook", style="whitegrid", rc=STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def label_outer(axes: Sequence[Axes], titles: Sequence[str], below: str | Sequence[str], beside: Sequence[str]) -> None:
    """Titles above the first row of panels, x labels below the last row, y labels beside the first column."""
    below = [below] * len(titles) if isinstance(below, str) else below
    for top, bottom, title, label in zip(axes, axes[-len(titles) :], titles, below, strict=False):
        top.set_title(title)
        bottom.set_xlabel(label)
    for axis, label in zip(axes[:: len(titles)], beside, strict=True):
        axis.set_ylabel(label)


def slant(axis: Axes, most: int) -> None:
    """Turn the labels below a panel where one of them has more than `most` letters: they would overlap."""
    labels = axis.get_xticklabels()
    if max((len(label.get_text()) for label in labels), default=0) > most:
        for label in labels:
            label.set(rotation=35, ha="right", rotation_mode="anchor", fontsize=9)


Size = tuple[float, float, float]  # inches: one side of the figure, then a panel along the other side, and a margin
Labels = tuple[str | Sequence[str], str]  # below the panels and beside them, where {} is the architecture


def arch_rows(
    table: pd.DataFrame, columns: Mapping[Any, str], size: Size, labels: Labels = ("", ""), **options: object
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame, Any]]]:
    """A row of panels an architecture; a column for each key of `columns`, under its title. size: the width first.
    Returns the figure and, panel by panel, its axis, the rows of the table on its architecture, and its key."""
    archs, (width, height, margin) = table["arch"].unique(), size
    figure, axes = new_figure(len(archs), len(columns), width, height * len(archs) + margin, **options)
    label_outer(axes, list(columns.values()), labels[0], [labels[1].format(ARCH_NAMES[arch]) for arch in archs])
    keys = zip(axes, product(archs, columns), strict=True)
    return figure, [(axis, select(table, arch=arch), key) for axis, (arch, key) in keys]


def arch_columns(
    table: pd.DataFrame, size: Size, labels: Labels, **options: object
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel an architecture side by side, with the rows of the table on each. size: the height first."""
    archs, (height, width, margin) = table["arch"].unique(), size
    figure, axes = new_figure(1, len(archs), width * len(archs) + margin, height, **options)
    label_outer(axes, [ARCH_NAMES[arch] for arch in archs], labels[0], [labels[1]])
    return figure, [(axis, select(table, arch=arch)) for axis, arch in zip(axes, archs, strict=True)]


def handle(label: str, color: str = DARK, **line: object) -> Line2D:
    """An entry of a legend, given by its line and marker."""
    return Line2D([], [], color=color, label=label, **line)


def setting_handles(settings: Iterable[str] = SETTINGS, **line: object) -> list[Line2D]:
    """The entries of a legend that name the settings by their colours."""
    return [handle(NAMES[setting], COLORS[setting], **line) for setting in settings]


def legend(figure: Figure, handles: Sequence[Line2D], ncols: int = 0) -> None:
    """A legend below all panels, in one line unless the number of columns is given."""
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols or len(handles))


def select(table: pd.DataFrame, /, **values: object) -> pd.DataFrame:
    """The rows whose columns have these values: `select(table, arch="resnet10", setting="std")`."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def summary(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds of percentages, with the range behind it where there are several: "81.2 (80.9-81.5)"."""

    def text(column: pd.Series) -> str:
        spread = f" ({column.min():.1f}-{column.max():.1f})" if len(column) > 1 else ""
        return f"{column.mean():.1f}{spread}"

    return table.groupby(list(by), sort=False)[list(values)].agg(text).rename(index=ARCH_NAMES | NAMES)


def band(axis: Axes, rows: pd.DataFrame, over: str, value: str, color: str, **line: object) -> None:
    """The mean over seeds of a column over another one as a line, and the range over seeds as a band."""
    spread = rows.groupby(over)[value].agg(["mean", "min", "max"])
    axis.plot(spread.index, spread["mean"], color=color, **{"ms": 5} | line)
    axis.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.18, lw=0)


def bands(
    axis: Axes, rows: pd.DataFrame, over: str, value: str, settings: Iterable[str] = SETTINGS, **line: object
) -> None:
    """A `band` a setting, in its colour."""
    for setting in settings:
        band(axis, select(rows, setting=setting), over, value, COLORS[setting], **line)


def difference_band(axis: Axes, rows: pd.DataFrame, over: str) -> None:
    """ADV - STD over a column: of all seeds with its 95% interval as a band, of each seed as a thin line. rows: with
    the columns seed ("all" or a number), difference, low, high."""
    axis.axhline(0, color=GREY, lw=1)
    for seed, run in rows.groupby(rows["seed"].astype(str)):
        if seed == "all":
            axis.plot(run[over], run["difference"], "o-", color=INK, ms=4)
            axis.fill_between(run[over], run["low"], run["high"], color=INK, alpha=0.15, lw=0)
        else:
            axis.plot(run[over], run["difference"], color=LIGHT, lw=1, zorder=1)


def difference_handles(rows: pd.DataFrame) -> list[Line2D]:
    """The entries of a legend that explain `difference_band`."""
    seeds = [handle("single seeds", LIGHT, lw=1)] if rows["seed"].nunique() > 1 else []
    return [handle("difference, 95% interval", INK, marker="o", ms=4), *seeds]


def bare(axes: Iterable[Axes], *, frame: bool = True) -> None:
    """Remove ticks and grid from axes that show pictures, and the frame where it is not wanted."""
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=frame)
        axis.grid(visible=False)


def blocks(rows: Sequence[int], columns: Sequence[int], width: float, height: float) -> tuple[Figure, np.ndarray]:
    """Places for pictures, `width` x `height` inches each, in blocks of so many `rows` and `columns`, with gaps between
    them: the figure, and its axes `(rows, columns)`, bare, without those of the gaps."""
    heights, widths = ([share for count in counts for share in (*[1] * count, GAP)][:-1] for counts in (rows, columns))
    size = width * sum(widths) + 0.7, height * sum(heights) + 0.5
    ratios = {"width_ratios": widths, "height_ratios": heights}
    figure, axes = new_figure(len(heights), len(widths), *size, gridspec_kw=ratios)
    bare(axes, frame=False)
    places = np.multiply.outer(np.equal(heights, 1), np.equal(widths, 1))
    for axis, kept in zip(axes, places.flat, strict=True):
        if not kept:
            axis.remove()
    return figure, np.array(axes)[places.ravel()].reshape(sum(rows), sum(columns))


def show(axis: Axes, image: Tensor) -> None:
    """An image `(3, H, W)` in [0, 1], pixel by pixel, below whatever title there is."""
    axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")


def picture(axis: Axes, image: Tensor, title: str = "", *, size: float = 9.5, **style: object) -> None:
    """An image, as of `show`, below a title of `size` points in a style, such as `color`."""
    show(axis, image)
    axis.set_title(title, fontsize=size, fontweight="normal", **style)


def brightest(values: Tensor) -> Tensor:
    """The end of a colour scale of signed values: the 99.5th percentile of magnitudes, as a few are far above the rest.
    It is above 0 also where all values are 0, so that one can divide by it."""
    magnitudes = values.abs().flatten()  # not `quantile`, which takes no more than 2**24 values
    return magnitudes.kthvalue(max(1, round(0.995 * len(magnitudes)))).values.clamp_min(1e-30)


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images `(N, 3, H, W)` in [0, 1], row by row, with a title each."""
    rows = ceil(len(images) / columns)
    figure, axes = new_figure(rows, columns, 1.45 * columns, 1.7 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        picture(axis, image, title, size=9, color=INK)
    return figure
