"""The common style of every figure: STD is vermilion and ADV blue, architectures differ by line and marker."""

from collections.abc import Iterable, Sequence
from math import ceil

import pandas as pd
import seaborn as sns
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
ARCH_STYLES = {  # line and marker
    "alexnet_bn": ("--", "s"),
    "resnet10": ("-", "o"),
    "resnet18": ("-.", "^"),
    "resnet50": ("-", "o"),
    "resnet101": (":", "D"),
}
STYLE: dict[str, object] = {
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.edgecolor": GREY,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "font.family": "DejaVu Sans",
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


def new_figure(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels (inches), outside pyplot's registry, in the study's style."""
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


def handle(label: str, color: str = DARK, **line: object) -> Line2D:
    """An entry of a legend, given by its line and marker."""
    return Line2D([], [], color=color, label=label, **line)


def setting_handles(settings: Iterable[str] = SETTINGS, **line: object) -> list[Line2D]:
    """The entries of a legend that name the settings by their colours."""
    return [handle(NAMES[setting], COLORS[setting], **line) for setting in settings]


def legend(figure: Figure, handles: Sequence[Line2D], ncols: int = 0) -> None:
    """A legend below all panels, in one line unless the number of columns is given."""
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols or len(handles))


def select(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows whose columns have these values: `select(table, arch="resnet10", setting="std")`."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def summary(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds of percentages, with the range behind it where there are several: "81.2 (80.9-81.5)"."""

    def text(column: pd.Series) -> str:
        spread = f" ({column.min():.1f}-{column.max():.1f})" if len(column) > 1 else ""
        return f"{column.mean():.1f}{spread}"

    rows = table.groupby(list(by), sort=False)[list(values)].agg(text)
    return rows.rename(index=ARCH_NAMES | NAMES)


def band(axis: Axes, rows: pd.DataFrame, over: str, value: str, color: str, **line: object) -> None:
    """The mean over seeds of a column over another one as a line, and the range over seeds as a band."""
    spread = rows.groupby(over)[value].agg(["mean", "min", "max"])
    axis.plot(spread.index, spread["mean"], color=color, **{"ms": 5} | line)
    axis.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.18, lw=0)


def difference_band(axis: Axes, rows: pd.DataFrame, over: str) -> None:
    """ADV - STD over a column: of all seeds (seed "all") with its 95% interval as a band, of each seed a thin line."""
    axis.axhline(0, color=GREY, lw=1)
    for seed, run in rows.groupby(rows["seed"].astype(str)):
        if seed == "all":
            axis.plot(run[over], run["difference"], "o-", color=INK, ms=4)
            axis.fill_between(run[over], run["low"], run["high"], color=INK, alpha=0.15, lw=0)
        else:
            axis.plot(run[over], run["difference"], color=LIGHT, lw=1, zorder=1)


def bare(axes: Iterable[Axes], *, frame: bool = True) -> None:
    """Remove ticks and grid from axes that show pictures, and the frame where it is not wanted."""
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=frame)
        axis.grid(visible=False)


def picture(axis: Axes, image: Tensor, title: str = "", *, size: float = 9.5, **style: object) -> None:
    """An image `(3, H, W)` in [0, 1], pixel by pixel, below a title of `size` points in a style, such as `color`."""
    axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=size, fontweight="normal", **style)


def brightest(values: Tensor) -> Tensor:
    """The end of a colour scale of signed values: the 99.5th percentile of magnitudes, and above 0."""
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
