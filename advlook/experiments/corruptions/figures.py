"""The figures of notebook 04: images under every operation, accuracy over its level, and where ADV overtakes STD."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.corruptions.measure import REVERSAL
from advlook.study import style

_MOST = 7  # levels of an operation that are shown as images
_TOP5 = {"ls": "--", "lw": 1.3, "marker": "s", "mfc": "white", "ms": 4}


def example_grid(found: Mapping[str, Mapping[float, Tensor]]) -> Figure:
    """Images under every operation, a row each. found: by operation and level (of many, `_MOST`), `(N, 3, H, W)`."""
    levels = {name: list(each) for name, each in found.items() if name != REVERSAL}
    for name, each in levels.items():
        levels[name] = [each[int(i)] for i in np.linspace(0, len(each) - 1, min(_MOST, len(each))).round()]
    columns, count = max(map(len, levels.values())) + (REVERSAL in found), len(next(iter(found[name].values())))
    figure, lines = style.blocks([len(levels)] * count, [columns], 1.4, 1.65)
    for (place, name), line in zip(product(range(count), levels), lines, strict=True):
        line[0].set_ylabel(f"{name}\n[{FAMILIES[name].unit}]" if name in FAMILIES else name)
        for level, axis in zip(levels[name], line, strict=False):
            style.picture(axis, found[name][level][place], level_name(name, level) if level else "original")
        if REVERSAL in found and name == list(levels)[-1]:
            style.picture(line[-1], found[REVERSAL][1.0][place], "colours reversed")
    return figure


def level_name(operation: str, level: float) -> str:
    """A level in words: "sigma 0.5", "1 pass"; of a corruption of FAMILIES its severity and strength, "1: 0.04"."""
    if operation.startswith("blur"):
        return f"sigma {level:g}"
    if operation.startswith("median"):
        return f"{level:g} pass{'' if level == 1 else 'es'}"
    return f"{level:g}: {FAMILIES[operation].strengths[int(level) - 1]:g}"


def fall(
    table: pd.DataFrame, differences: pd.DataFrame, crossings: pd.DataFrame | None = None, label: str = "accuracy [%]"
) -> Figure:
    """Accuracy over the level of every operation, mean and range over seeds; under it ADV - STD in top-1, its 95%
    interval, single seeds, and where ADV overtakes STD. Two rows of panels an architecture. table: `04_corruptions`, or
    `relative` of it; differences: `04_differences` of one measure; crossings: `04_crossings`."""
    archs, operations = (list(dict.fromkeys(table[column])) for column in ("arch", "operation"))
    widths = [0.42 if name == REVERSAL else 1 for name in operations]
    ratios = {"width_ratios": widths, "height_ratios": [1.55, 1] * len(archs)}
    shape = 2 * len(archs), len(operations), 4.6 * sum(widths) + 1, 4.6 * len(archs) + 0.6
    figure, axes = style.new_figure(*shape, sharex="col", sharey="row", gridspec_kw=ratios)
    for arch, (above, below) in zip(archs, np.array(axes).reshape(len(archs), 2, len(operations)), strict=True):
        for operation, curve, difference in zip(operations, above, below, strict=True):
            rows = style.select(table, arch=arch, operation=operation)
            style.bands(curve, rows, "level", "top5", **_TOP5)
            style.bands(curve, rows, "level", "top1", marker="o")
            style.difference_band(difference, style.select(differences, arch=arch, operation=operation), "level")
            if operation == REVERSAL:
                difference.set(xticks=[0, 1], xticklabels=["as they\nare", "reversed"], xlim=(-0.6, 1.6))
            if crossings is not None:
                _crossing(difference, style.select(crossings, arch=arch, operation=operation, seed="all"))
        above[0].set_ylim(-2, max(102, table["top1"].max() + 2))
        ends = style.select(differences, arch=arch)[["low", "high", "difference"]]
        low, high = np.fmin(ends.min().min(), 0), np.fmax(ends.max().max(), 0)  # of a model that is never right: nan
        below[0].set_ylim(low - 3, high + 3)
    titles = [
        {REVERSAL: "Colours"}.get(name, name.capitalize().replace("Blur", "Gaussian blur")) for name in operations
    ]
    levels = [{REVERSAL: ""}.get(name, "sigma [px]" if name.startswith("blur") else "passes") for name in operations]
    beside = [text for arch in archs for text in (f"{ARCH_NAMES[arch]}\n{label}", "ADV - STD\n[points]")]
    style.label_outer(axes, titles, levels, beside)
    handles = [*style.setting_handles(), style.handle("top-1", marker="o", ms=5), style.handle("top-5", **_TOP5)]
    handles += style.difference_handles(differences)
    if crossings is not None:
        handles.append(style.handle("ADV overtakes STD", style.RIGHT, marker="D", ms=7, mec="white", lw=6, alpha=0.7))
    style.legend(figure, handles, ncols=4)
    return figure


def _crossing(axis: Axes, rows: pd.DataFrame) -> None:
    """Where the difference exceeds 0, with its interval; in words in the corner."""
    for row in rows.itertuples():
        if np.isfinite(row.level):
            end = min(row.high, axis.dataLim.x1)
            axis.plot([row.low, end], [0, 0], color=style.RIGHT, lw=6, alpha=0.5, solid_capstyle="butt", zorder=3)
            axis.plot(row.level, 0, "D", color=style.RIGHT, mec="white", ms=7, zorder=4)
        text = f"ADV overtakes: {_level_text(row.level, row.low, row.high)}"
        axis.text(0.98, 0.06, text, color=style.RIGHT, fontsize=10, ha="right", transform=axis.transAxes)


def _level_text(level: float, low: float, high: float) -> str:
    """A level with its interval; what is infinite lies beyond the range."""
    if np.isinf(level):
        return "never" if np.isinf(low) else f"never [{low:.2f}, -]"
    return f"{level:.2f} [{low:.2f}, {'-' if np.isinf(high) else f'{high:.2f}'}]"


def family_curves(table: pd.DataFrame) -> Figure:
    """Top-1 accuracy over the severity of each corruption, a row an architecture; mean and range over seeds."""
    titles = {name: f"{FAMILIES[name].family}:\n{name}" for name in dict.fromkeys(table["corruption"])}
    size, labels = (2.3 * len(titles), 2.5, 0.6), ("severity", "{}\naccuracy [%]")
    figure, panels = style.arch_rows(table, titles, size, labels, sharex=True, sharey=True)
    for axis, rows, corruption in panels:
        style.bands(axis, style.select(rows, corruption=corruption), "severity", "top1", marker="o")
        axis.set(ylim=(-2, 102), xticks=range(6))
    style.legend(figure, style.setting_handles(marker="o", ms=5))
    return figure


def overtaking(crossings: pd.DataFrame) -> pd.DataFrame:
    """To be read: the level of `04_crossings` with its 95% interval, a column for all seeds and for each."""
    texts = [_level_text(row.level, row.low, row.high) for row in crossings.itertuples()]
    wide = crossings.assign(text=texts).pivot(index=["arch", "operation"], columns="seed", values="text")
    titles = {seed: "all seeds" if seed == "all" else f"seed {seed}" for seed in crossings["seed"].unique()}
    return wide[list(titles)].rename(index=ARCH_NAMES, columns=titles).rename_axis(columns=None)


def reversed_colors(table: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """To be read: top-1 and top-5 on images as they are and reversed, and ADV - STD in points with its interval."""
    rows = style.select(table, operation=REVERSAL)
    rows = rows.assign(images=rows["level"].map({0.0: "as they are", 1.0: "reversed"}))
    wide = rows.pivot_table(["top1", "top5"], ["arch", "images"], "setting", sort=False).round(1)
    wide = wide[[(top, setting) for setting in SETTINGS for top in ("top1", "top5")]]
    wide.columns = [f"{NAMES[setting]} {top}" for top, setting in wide.columns]
    for measure in ("accuracy", "relative"):
        pooled = style.select(differences, operation=REVERSAL, seed="all", measure=measure)
        wide[f"ADV - STD, {measure}"] = [f"{r.difference:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in pooled.itertuples()]
    return wide.rename(index=ARCH_NAMES)
