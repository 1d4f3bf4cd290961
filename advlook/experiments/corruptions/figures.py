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
from advlook.experiments.corruptions.contrast import BLURRED, LOWERED, RESTORED
from advlook.experiments.corruptions.measure import REVERSAL
from advlook.study import style

_MOST = 6  # levels of an operation that are shown as images


def example_grid(found: Mapping[str, Mapping[float, Tensor]]) -> Figure:
    """Images under every operation, a row each. found: by operation and level (of many, `_MOST`), `(N, 3, H, W)`."""
    levels = {name: list(each) for name, each in found.items()}
    for name, each in levels.items():
        levels[name] = [each[int(i)] for i in np.linspace(0, len(each) - 1, min(_MOST, len(each))).round()]
    columns, count = max(map(len, levels.values())), len(next(iter(found[name].values())))
    figure, lines = style.blocks([len(levels)] * count, [columns], 1.4, 1.65)
    for (place, name), line in zip(product(range(count), levels), lines, strict=True):
        title = "colours" if name == REVERSAL else name
        line[0].set_ylabel(f"{name}\n[{FAMILIES[name].unit}]" if name in FAMILIES else title)
        for level, axis in zip(levels[name], line, strict=False):
            style.picture(axis, found[name][level][place], level_name(name, level) if level else "original")
    return figure


def level_name(operation: str, level: float) -> str:
    """A level in words: "sigma 0.5", "1 pass", "reversed"; of a corruption of FAMILIES its severity and strength, "1:
    0.04"."""
    if operation == REVERSAL:
        return "reversed"
    if operation.startswith("blur"):
        return f"sigma {level:g}"
    if operation.startswith("median"):
        return f"{level:g} pass{'' if level == 1 else 'es'}"
    return f"{level:g}: {FAMILIES[operation].strengths[int(level) - 1]:g}"


def fall(
    table: pd.DataFrame,
    differences: pd.DataFrame | None = None,
    crossings: pd.DataFrame | None = None,
    chance: float | None = None,
    label: str = "accuracy [%]",
) -> Figure:
    """Accuracy over the level of every operation, mean and range over seeds, a row an architecture, with where ADV
    overtakes STD; and below, a line an architecture, ADV - STD with its 95% interval. Reversed colours, which have no
    levels, are told in words (`reversed_colors`). table: `04_corruptions`, or `relative` of it;
    differences: `04_differences` of one measure; crossings: `04_crossings`; chance: in percent."""
    table = table[table["operation"] != REVERSAL]
    archs, operations = (list(dict.fromkeys(table[column])) for column in ("arch", "operation"))
    rows = len(archs) + (differences is not None)
    size, shared = (4.0 * len(operations) + 1, 2.9 * rows + 0.6), {"sharex": "col", "sharey": "row"}
    figure, axes = style.new_figure(rows, len(operations), *size, **shared)
    for (arch, operation), axis in zip(product(archs, operations), axes, strict=False):
        style.bands(axis, style.select(table, arch=arch, operation=operation), "level", "top1", marker="o")
        if chance is not None:
            axis.axhline(chance, color=style.GREY, lw=1, ls=":")
        axis.set_ylim(-2, max(102, table["top1"].max() + 2))
        if crossings is not None:
            _crossing(axis, style.select(crossings, arch=arch, operation=operation, seed="all"))
    for operation, axis in zip(operations, axes[len(operations) * len(archs) :], strict=False):
        axis.axhline(0, color=style.GREY, lw=1)
        for arch in archs:
            of = style.select(differences, arch=arch, operation=operation, seed="all")
            line, marker = style.ARCH_STYLES[arch]
            axis.plot(of["level"], of["difference"], ls=line, marker=marker, color=style.INK, ms=4)
            axis.fill_between(of["level"], of["low"], of["high"], color=style.INK, alpha=0.15, lw=0)
    titles = [name.capitalize().replace("Blur", "Gaussian blur") for name in operations]
    levels = ["sigma [px]" if name.startswith("blur") else "passes" for name in operations]
    beside = [f"{ARCH_NAMES[arch]}\n{label}" for arch in archs]
    style.label_outer(axes, titles, levels, [*beside, "ADV - STD\n[points]"][:rows])
    handles = style.setting_handles(marker="o", ms=5)
    handles += [style.handle("chance", style.GREY, ls=":", lw=1)] if chance is not None else []
    if differences is not None:
        lines = {arch: style.ARCH_STYLES[arch] for arch in archs}
        handles += [
            style.handle(f"ADV - STD, {ARCH_NAMES[arch]}", style.INK, ls=ls, marker=m)
            for arch, (ls, m) in lines.items()
        ]
    if crossings is not None:
        handles.append(style.handle("ADV overtakes STD", style.RIGHT, lw=6, alpha=0.4))
    style.legend(figure, handles, ncols=3)
    return figure


def _crossing(axis: Axes, rows: pd.DataFrame) -> None:
    """The level at which ADV overtakes, with its interval as a band; in words in the corner."""
    for row in rows.itertuples():
        if np.isfinite(row.level):
            axis.axvspan(row.low, min(row.high, axis.dataLim.x1), color=style.RIGHT, alpha=0.2, lw=0)
            axis.axvline(row.level, color=style.RIGHT, lw=1.5)
        text = f"ADV overtakes: {_level_text(row.level, row.low, row.high)}"
        axis.text(0.98, 0.9, text, color=style.RIGHT, fontsize=9, ha="right", transform=axis.transAxes)


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
    """To be read: top-1 on images as they are and reversed, and ADV - STD in points with its interval."""
    rows = style.select(table, operation=REVERSAL)
    rows = rows.assign(images=rows["level"].map({0.0: "as they are", 1.0: "reversed"}))
    wide = rows.pivot_table("top1", ["arch", "images"], "setting", sort=False).round(1)[list(SETTINGS)]
    wide.columns = [NAMES[setting] for setting in SETTINGS]
    for measure in ("accuracy", "relative"):
        pooled = style.select(differences, operation=REVERSAL, seed="all", measure=measure)
        wide[f"ADV - STD, {measure}"] = [f"{r.difference:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in pooled.itertuples()]
    return wide.rename(index=ARCH_NAMES)


def contrast_curves(table: pd.DataFrame, chance: float) -> Figure:
    """Accuracy over the sigma of a blur: blurred, with the contrast restored, and with the contrast lowered alone; mean
    and range over seeds, a panel an architecture and setting. table: `04_contrast`; chance: in percent."""
    lines = {BLURRED: ("-", "o"), RESTORED: ("--", "^"), LOWERED: (":", "s")}
    archs = table["arch"].unique()
    figure, axes = style.new_figure(1, 2 * len(archs), 4.2 * 2 * len(archs), 3.8, sharey=True)
    for axis, (arch, setting) in zip(axes, product(archs, SETTINGS), strict=True):
        for change, (line, marker) in lines.items():
            rows = style.select(table, arch=arch, setting=setting, change=change)
            style.band(axis, rows, "sigma", "top1", style.COLORS[setting], ls=line, marker=marker)
        axis.axhline(chance, color=style.GREY, lw=1, ls=":")
        axis.set(title=f"{ARCH_NAMES[arch]} {NAMES[setting]}", xlabel="sigma [px]", ylim=(-2, 102))
    axes[0].set_ylabel("accuracy [%]")
    handles = [style.handle(change, ls=line, marker=marker) for change, (line, marker) in lines.items()]
    style.legend(figure, [*handles, style.handle("chance", style.GREY, ls=":", lw=1)])
    return figure
