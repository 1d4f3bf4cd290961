"""The plots of notebook 04: images under every operation, accuracy over its level, and where ADV overtakes STD.

Drawn from images or from the tables `04_corruptions`, `04_differences`, `04_crossings` and `04_families`; nothing is
computed here but means over seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from advlook.core.names import ARCH_NAMES, NAMES
from advlook.core.presets import SETTINGS
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.corruptions.measure import REVERSAL
from advlook.study.style import COLORS, bare, new_figure, picture

_GREEN = "#1B7F3B"
_MOST = 7  # levels of an operation that are shown as images


def example_grid(found: Mapping[str, Mapping[float, Tensor]]) -> Figure:
    """Images under every operation: a block of rows an image, in it a row an operation, its level above each picture.

    found: by operation, by level, images `(N, 3, H, W)`. Of many levels so many are shown as fit in a line, the first
    and the last among them; reversed colours stand behind the last line of each block.
    """
    names = [name for name in found if name != REVERSAL]
    lines = {name: _spread(list(found[name])) for name in names}
    columns = max(map(len, lines.values())) + (REVERSAL in found)
    count = len(next(iter(found[names[0]].values())))
    heights = ([1.0] * len(names) + [0.15]) * count
    figure, axes = new_figure(
        len(heights), columns, 1.4 * columns + 0.6, 1.65 * sum(heights), gridspec_kw={"height_ratios": heights}
    )
    grid = np.array(axes).reshape(count, len(names) + 1, columns)
    bare(axes, frame=False)
    for place, block in enumerate(grid):
        for name, line in zip(names, block, strict=False):
            line[0].set_ylabel(f"{name}\n[{FAMILIES[name].unit}]" if name in FAMILIES else name)
            for level, axis in zip(lines[name], line, strict=False):
                picture(axis, found[name][level][place], level_name(name, level) if level else "original")
        if REVERSAL in found:
            picture(block[len(names) - 1, -1], found[REVERSAL][1.0][place], "colours reversed")
    return figure


def level_name(operation: str, level: float) -> str:
    """A level as one reads it: "sigma 0.5", "1 pass"; for a corruption of FAMILIES severity and strength, "1: 0.04"."""
    if operation == "blur":
        return f"sigma {level:g}"
    if operation.startswith("median"):
        return f"{level:g} pass{'' if level == 1 else 'es'}"
    return f"{level:g}: {FAMILIES[operation].strengths[int(level) - 1]:g}"


def fall(
    table: pd.DataFrame, differences: pd.DataFrame, crossings: pd.DataFrame | None = None, label: str = "accuracy [%]"
) -> Figure:
    """Accuracy over the level of every operation, and under it ADV - STD; two rows of panels an architecture.

    Above: top-1 as solid lines, top-5 as dashed ones, the mean over seeds with their range. Below: the difference in
    top-1 with its 95% interval over images, grey lines for single seeds; a diamond with a bar is where ADV overtakes
    STD, in words in the corner. Reversed colours have points.
    table: `04_corruptions`, or what `fragility.relative` makes of it; differences: of that measure alone.
    """
    archs, operations = (list(dict.fromkeys(table[column])) for column in ("arch", "operation"))
    widths = [0.42 if name == REVERSAL else 1 for name in operations]
    figure, axes = new_figure(
        2 * len(archs),
        len(operations),
        4.6 * sum(widths) + 1,
        4.6 * len(archs) + 0.6,
        sharex="col",
        sharey="row",
        gridspec_kw={"width_ratios": widths, "height_ratios": [1.55, 1] * len(archs)},
    )
    grid = np.array(axes).reshape(len(archs), 2, len(operations))
    for arch, (above, below) in zip(archs, grid, strict=True):
        of_arch = differences[differences["arch"] == arch]
        ends = of_arch[["low", "high", "difference"]]
        for operation, curve, difference in zip(operations, above, below, strict=True):
            _curves(curve, _of(table, arch, operation))
            _difference(difference, _of(of_arch, arch, operation))
            if crossings is not None:
                _crossing(difference, _of(crossings, arch, operation))
            if operation == REVERSAL:
                difference.set(xticks=[0, 1], xticklabels=["as they\nare", "reversed"], xlim=(-0.6, 1.6))
        above[0].set(ylabel=f"{ARCH_NAMES[arch]}\n{label}", ylim=(-2, max(102, table["top1"].max() + 2)))
        low, high = np.fmin(ends.min().min(), 0), np.fmax(ends.max().max(), 0)  # of a model that is never right: nan
        below[0].set(ylabel="ADV - STD\n[points]", ylim=(low - 3, high + 3))
    for operation, axis in zip(operations, grid[0, 0], strict=True):
        axis.set_title({REVERSAL: "Colours", "blur": "Gaussian blur"}.get(operation, operation.capitalize()))
    for operation, axis in zip(operations, grid[-1, 1], strict=True):
        axis.set_xlabel({REVERSAL: "", "blur": "sigma [px]"}.get(operation, "passes"))
    _legend(figure, differences["seed"].nunique() > 1, crossings is not None)
    return figure


def family_curves(table: pd.DataFrame) -> Figure:
    """Top-1 accuracy over the severity of each corruption, a row an architecture; mean over seeds, and their range.

    table: `04_families`.
    """
    archs, titles = (list(dict.fromkeys(table[column])) for column in ("arch", "corruption"))
    families = table.drop_duplicates("corruption").set_index("corruption")["family"]
    figure, axes = new_figure(
        len(archs), len(titles), 2.3 * len(titles), 2.5 * len(archs) + 0.6, sharex=True, sharey=True
    )
    for place, axis in enumerate(axes):
        arch, title = archs[place // len(titles)], titles[place % len(titles)]
        rows = table[(table["arch"] == arch) & (table["corruption"] == title)]
        for setting in SETTINGS:
            _line(axis, rows[rows["setting"] == setting], "severity", "top1", COLORS[setting], "-", "o")
        axis.set(title=f"{families[title]}:\n{title}" if place < len(titles) else "", ylim=(-2, 102))
        axis.set_xticks(range(6))
        axis.set_xlabel("severity" if place >= len(axes) - len(titles) else "")
        axis.set_ylabel(f"{ARCH_NAMES[arch]}\naccuracy [%]" if place % len(titles) == 0 else "")
    handles = [Line2D([], [], color=COLORS[s], marker="o", ms=5, label=NAMES[s]) for s in SETTINGS]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def overtaking(crossings: pd.DataFrame) -> pd.DataFrame:
    """To be read: the level at which ADV overtakes STD, with its 95% interval, a column for all seeds and for each.

    crossings: `04_crossings`.
    """
    shown = crossings.assign(
        text=[_level_text(row.level, row.low, row.high) for row in crossings.itertuples()],
        seed=crossings["seed"].map(lambda seed: "all seeds" if seed == "all" else f"seed {seed}"),
    )
    order = dict.fromkeys(shown["seed"])
    wide = shown.pivot(index=["arch", "operation"], columns="seed", values="text")[list(order)]
    return wide.rename(index=ARCH_NAMES).rename_axis(columns=None)


def reversed_colors(table: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """To be read: top-1 and top-5 on images as they are and reversed, and ADV - STD in points with its interval.

    table: `04_corruptions`; differences: `04_differences`.
    """
    chosen = table[table["operation"] == REVERSAL].assign(
        images=lambda rows: rows["level"].map({0.0: "as they are", 1.0: "reversed"}),
        setting=lambda rows: rows["setting"].map(NAMES),
    )
    means = chosen.groupby(["arch", "images", "setting"], sort=False)[["top1", "top5"]].mean().round(1)
    wide = means.unstack("setting").swaplevel(axis=1)
    wide = wide.reindex(columns=[(setting, k) for setting in ("STD", "ADV") for k in ("top1", "top5")])
    wide.columns = [" ".join(names) for names in wide.columns]
    pooled = differences[(differences["operation"] == REVERSAL) & (differences["seed"] == "all")]
    for measure in ("accuracy", "relative"):
        rows = pooled[pooled["measure"] == measure]
        wide[f"ADV - STD, {measure}"] = [f"{r.difference:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in rows.itertuples()]
    return wide.rename(index=ARCH_NAMES)


def _level_text(level: float, low: float, high: float) -> str:
    """A level with its interval; what is infinite lies beyond the range."""
    if np.isinf(level):
        return "never" if np.isinf(low) else f"never [{low:.2f}, -]"
    return f"{level:.2f} [{low:.2f}, {'-' if np.isinf(high) else f'{high:.2f}'}]"


def _spread(levels: Sequence[float]) -> list[float]:
    """At most so many levels as are shown, evenly chosen."""
    places = np.linspace(0, len(levels) - 1, min(_MOST, len(levels))).round().astype(int)
    return [levels[place] for place in places]


def _of(table: pd.DataFrame, arch: str, operation: str) -> pd.DataFrame:
    return table[(table["arch"] == arch) & (table["operation"] == operation)]


def _curves(axis: Axes, rows: pd.DataFrame) -> None:
    """Top-1 and top-5 over the level; points alone where there are two levels that no line belongs between."""
    pointed = (rows["operation"] == REVERSAL).all()
    for setting in SETTINGS:
        chosen = rows[rows["setting"] == setting]
        _line(axis, chosen, "level", "top5", COLORS[setting], "" if pointed else "--", "s" if pointed else "")
        _line(axis, chosen, "level", "top1", COLORS[setting], "" if pointed else "-", "o")


def _line(axis: Axes, rows: pd.DataFrame, over: str, value: str, color: str, line: str, marker: str) -> None:
    """Mean over seeds, and their range as a band, or as bars where there is no line."""
    spread = rows.groupby(over)[value].agg(["mean", "min", "max"])
    hollow = {"mfc": "white"} if marker == "s" else {}
    width = 1.3 if line == "--" else 2
    axis.plot(spread.index, spread["mean"], ls=line, color=color, marker=marker, ms=5, lw=width, **hollow)
    if line:
        axis.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.18, lw=0)
    else:
        axis.vlines(spread.index, spread["min"], spread["max"], color=color, lw=1.2)


def _difference(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axhline(0, color="#888888", lw=1)
    for seed, run in rows.groupby("seed"):
        pointed = (run["operation"] == REVERSAL).all()
        if seed != "all":
            style = {"ls": "", "marker": "_", "ms": 9} if pointed else {"lw": 1}
            axis.plot(run["level"], run["difference"], color="#AAAAAA", zorder=1, **style)
        elif pointed:
            axis.vlines(run["level"], run["low"], run["high"], color="#222222", lw=1.6)
            axis.plot(run["level"], run["difference"], "o", color="#222222", ms=5)
        else:
            axis.plot(run["level"], run["difference"], color="#222222", marker="o", ms=4)
            axis.fill_between(run["level"], run["low"], run["high"], color="#222222", alpha=0.15, lw=0)


def _crossing(axis: Axes, rows: pd.DataFrame) -> None:
    """Where the difference leaves 0, and the interval of that, in green; in words in the corner."""
    for row in rows[rows["seed"] == "all"].itertuples():
        if np.isfinite(row.level):
            end = min(row.high, axis.dataLim.x1)
            axis.plot([row.low, end], [0, 0], color=_GREEN, lw=6, alpha=0.5, solid_capstyle="butt", zorder=3)
            axis.plot(row.level, 0, "D", color=_GREEN, mec="white", ms=7, zorder=4)
        text = f"ADV overtakes: {_level_text(row.level, row.low, row.high)}"
        axis.text(0.98, 0.06, text, color=_GREEN, fontsize=10, ha="right", transform=axis.transAxes)


def _legend(figure: Figure, seeds: bool, crossed: bool) -> None:
    handles = [Line2D([], [], color=COLORS[s], label=NAMES[s]) for s in SETTINGS]
    handles += [
        Line2D([], [], color="#444444", marker="o", ms=5, label="top-1"),
        Line2D([], [], color="#444444", ls="--", lw=1.3, marker="s", mfc="white", ms=5, label="top-5"),
        Line2D([], [], color="#222222", marker="o", ms=4, label="difference, 95% interval"),
    ]
    if seeds:
        handles.append(Line2D([], [], color="#AAAAAA", lw=1, label="single seeds"))
    if crossed:
        handles.append(
            Line2D([], [], color=_GREEN, marker="D", ms=7, mec="white", lw=6, alpha=0.7, label="ADV overtakes STD")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
