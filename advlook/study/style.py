"""The common style of every figure. A figure is drawn from a table, and computes nothing.

STD is vermilion and ADV is blue everywhere (colours that differ for colour-blind readers too); architectures differ by
line style and marker.
"""

from collections.abc import Sequence
from math import ceil

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core.names import ARCH_NAMES, NAMES

_INK = "#222222"  # of titles above pictures
COLORS = {"std": "#D55E00", "adv": "#0072B2", "random": "#7F7F7F"}
ARCH_STYLES = {
    "alexnet_bn": ("--", "s"),
    "resnet10": ("-", "o"),
    "resnet18": ("-.", "^"),
    "resnet50": ("-", "o"),
    "resnet101": (":", "D"),
}


def new_figure(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels (inches), outside pyplot's registry, in the study's style."""
    sns.set_theme(context="notebook", style="whitegrid", rc=STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


STYLE: dict[str, object] = {
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.edgecolor": "#888888",
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "font.family": "DejaVu Sans",
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


def summary(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds of percentages, with the range behind it where there are several: "81.2 (80.9-81.5)"."""

    def text(column: pd.Series) -> str:
        spread = f" ({column.min():.1f}-{column.max():.1f})" if len(column) > 1 else ""
        return f"{column.mean():.1f}{spread}"

    rows = table.groupby(list(by), sort=False)[list(values)].agg(text)
    return rows.rename(index=ARCH_NAMES | NAMES)


def bare(axes: Sequence[Axes], *, frame: bool = True) -> None:
    """Take ticks and grid from axes that show pictures, and the frame where it is not wanted."""
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=frame)
        axis.grid(visible=False)


def picture(axis: Axes, image: Tensor, title: str = "", *, size: float = 9.5, **style: object) -> None:
    """An image `(3, H, W)` in [0, 1], pixel by pixel, below a title of so many points and of a style, as `color`."""
    axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=size, fontweight="normal", **style)


def brightest(values: Tensor) -> Tensor:
    """Where a scale of signed values ends: at the 99.5th percentile of magnitudes, as a few are far above the others.

    Above 0 also where all are 0, so that it can be divided by.
    """
    magnitudes = values.abs().flatten()  # not `quantile`, which takes no more than 2**24 values
    return magnitudes.kthvalue(max(1, round(0.995 * len(magnitudes)))).values.clamp_min(1e-30)


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images `(N, 3, H, W)` in [0, 1], row by row, with a title each."""
    rows = ceil(len(images) / columns)
    figure, axes = new_figure(rows, columns, 1.45 * columns, 1.7 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        picture(axis, image, title, size=9, color=_INK)
    return figure
