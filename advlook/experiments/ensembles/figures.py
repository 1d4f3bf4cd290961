"""The plots of notebook 06: five combinations on every image set, over resolution, and compared image by image. Single
models are hollow and dotted, pairs filled and solid."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advlook.core import ARCH_NAMES
from advlook.study import style
from advlook.study.style import image_grid as image_grid

_SINGLE, _PAIR = {"mfc": "white", "ls": ":", "lw": 1.6, "ms": 5}, {"ls": "-", "lw": 1.6, "ms": 5}
LINE_STYLES = {  # of every combination
    "STD": {"color": style.COLORS["std"], "marker": "o", **_SINGLE},
    "ADV": {"color": style.COLORS["adv"], "marker": "o", **_SINGLE},
    "STD+STD": {"color": style.COLORS["std"], "marker": "D", **_PAIR},
    "ADV+ADV": {"color": style.COLORS["adv"], "marker": "D", **_PAIR},
    "STD+ADV": {"color": style.GREEN, "marker": "s", **_PAIR},
}
MODE_FILLS = {"fine-tuned": style.GREEN, "frozen": "white"}  # of markers


def parameter_counts(table: pd.DataFrame) -> pd.DataFrame:
    """To be read: millions of parameters of every combination, by architecture and image set. table: `06_ensembles`."""
    sizes = table.assign(millions=table["parameters"] / 1e6).drop_duplicates(["arch", "dataset", "combination"])
    wide = sizes.pivot(index=["arch", "dataset"], columns="combination", values="millions")
    return wide[_combinations(table)].rename(index=ARCH_NAMES).rename_axis(columns=None)


def accuracies(table: pd.DataFrame) -> Figure:
    """Accuracy of every combination (Figure 9): a point a run, a line their mean. table: `06_ensembles`."""
    lines = list(table[["arch", "mode"]].drop_duplicates().sort_values(["arch", "mode"]).itertuples(index=False))
    sets, names = _sets(table), _combinations(table)
    figure, axes = style.new_figure(len(lines), len(sets), 2.6 * len(sets) + 0.9, 2.4 * len(lines) + 0.7, sharex=True)
    for place, axis in enumerate(axes):
        (arch, mode), (dataset, pixels) = lines[place // len(sets)], sets[place % len(sets)]
        rows = style.select(table, arch=arch, mode=mode, dataset=dataset, pixels=pixels)
        for x, name in enumerate(names):
            values, drawn = rows[rows["combination"] == name]["top1"], LINE_STYLES[name]
            color, fill = drawn["color"], drawn.get("mfc", drawn["color"])
            axis.plot([x - 0.3, x + 0.3], [values.mean()] * 2, color=color, lw=2.2, zorder=2)
            points = axis.scatter(x + _shifts(len(values), 0.1), values, s=26, marker=drawn["marker"], lw=1.2, zorder=3)
            points.set(facecolor=fill, edgecolor=color)
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.set_xticks(range(len(names)), [name.replace("+", "+\n") for name in names], fontsize=8)
        axis.grid(visible=False, axis="x")
        axis.margins(y=0.18)
        axis.set_title(f"{dataset}\n{pixels} px" if place < len(sets) else "", fontsize=10.5)
        axis.set_ylabel(f"{ARCH_NAMES[arch]}, {mode}\naccuracy [%]" if place % len(sets) == 0 else "", fontsize=10)
    return figure


def resolution(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """One image set at falling resolution, a column an architecture and set: accuracy above, below how far other pairs
    (or single models, where there are none) are ahead of STD+ADV, with 95% intervals."""
    if table.empty:
        figure, (axis,) = style.new_figure(1, 1, 6, 1)
        axis.set_axis_off()
        axis.text(0.5, 0.5, "None of the image sets that were to be degraded is here.", ha="center", va="center")
        return figure
    columns = table[["dataset", "arch"]].drop_duplicates().sort_values(["dataset", "arch"]).to_numpy().tolist()
    compared = style.select(compared, table="06_resolution", combination="STD+ADV")
    size, heights = (3.6 * len(columns) + 0.9, 6.6), {"height_ratios": [1.3, 1]}
    figure, axes = style.new_figure(2, len(columns), *size, sharex="col", gridspec_kw=heights)
    first: dict[str, tuple[Axes, Axes]] = {}
    for (dataset, arch), *panels in zip(columns, axes[: len(columns)], axes[len(columns) :], strict=True):
        for axis, other in zip(panels, first.setdefault(dataset, panels), strict=True):
            if axis is not other:
                axis.sharey(other)
                axis.tick_params(labelleft=False)
        above, below = panels
        _accuracy_lines(above, style.select(table, dataset=dataset, arch=arch))
        _difference_lines(below, style.select(compared, dataset=dataset, arch=arch))
        above.set_title(f"{dataset}\n{ARCH_NAMES[arch]}", fontsize=11)
    axes[0].set_ylabel("accuracy [%]")
    axes[len(columns)].set_ylabel("ahead of STD+ADV\n[points]")
    style.legend(figure, [style.handle(name, **LINE_STYLES[name]) for name in _combinations(table)])
    return figure


def _accuracy_lines(axis: Axes, rows: pd.DataFrame) -> None:
    for shift, (name, drawn) in zip(_shifts(len(LINE_STYLES), 0.03), LINE_STYLES.items(), strict=True):
        runs = rows[rows["combination"] == name]
        means = runs.groupby("resolution")["top1"].mean()
        axis.plot(means.index * 2**shift, means, **drawn)
        axis.scatter(runs["resolution"] * 2**shift, runs["top1"], s=5, color=drawn["color"], alpha=0.5, zorder=3)


def _difference_lines(axis: Axes, rows: pd.DataFrame) -> None:
    """Differences of STD+ADV, turned round: how far the others are ahead."""
    pairs = ["STD+STD", "ADV+ADV"]
    against = pairs if set(pairs) <= set(rows["against"]) else ["STD", "ADV"]
    for shift, name in zip(_shifts(len(against), 0.06), against, strict=True):
        of = rows[rows["against"] == name].sort_values("pixels")
        bars = _bars(of)[::-1]
        axis.errorbar(of["pixels"] * 2**shift, -of["difference"], bars, capsize=2, elinewidth=1.2, **LINE_STYLES[name])
    axis.axhline(0, color=style.GREEN, lw=2)
    levels = sorted(rows["pixels"].unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(levels, [str(level) for level in levels])
    axis.minorticks_off()
    axis.set_xlabel("resolution [px a side]")


def paired(compared: pd.DataFrame) -> Figure:
    """STD+ADV against the better other pair and the better single model, with 95% intervals: `06_comparisons`."""
    compared = compared[compared["table"] == "06_ensembles"]
    sets = _sets(compared)[::-1]
    kinds = [kind for kind in ("better pair", "better single") if kind in set(compared["against"])]
    panels = [(kind, arch) for kind in kinds for arch in dict.fromkeys(compared["arch"])]
    size = 3.5 * len(panels) + 1.6, 0.62 * len(sets) + 1.9
    figure, axes = style.new_figure(1, len(panels), *size, sharex=True, sharey=True)
    for (kind, arch), axis in zip(panels, axes, strict=True):
        rows = style.select(compared, arch=arch, against=kind)
        for (mode, fill), shift in zip(MODE_FILLS.items(), (0.14, -0.14), strict=True):
            of = rows[rows["mode"] == mode]
            heights = [sets.index(key) + shift for key in zip(of["dataset"], of["pixels"], strict=True)]
            drawn = {"color": style.GREEN, "fmt": "o", "ms": 6, "capsize": 3, "lw": 1.5, "mfc": fill}
            axis.errorbar(of["difference"], heights, xerr=_bars(of), **drawn)
        axis.axvline(0, color=style.GREY, lw=1.2)
        axis.set_yticks(range(len(sets)), [f"{dataset}, {pixels} px" for dataset, pixels in sets])
        axis.set(ylim=(-0.6, len(sets) - 0.4), xlabel="STD+ADV ahead by [points]")
        axis.set_title(f"{ARCH_NAMES[arch]}\nagainst the {kind}", fontsize=11)
    style.legend(figure, [style.handle(mode, style.GREEN, marker="o", mfc=f, ls="") for mode, f in MODE_FILLS.items()])
    return figure


def _combinations(table: pd.DataFrame) -> list[str]:
    return [name for name in LINE_STYLES if name in set(table["combination"])]


def _sets(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Image sets by resolution, and by name where it is the same."""
    keys = table[["dataset", "pixels"]].drop_duplicates().sort_values(["pixels", "dataset"])
    return list(keys.itertuples(index=False, name=None))


def _bars(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the two arms of intervals: `(2, rows)`."""
    return np.stack([rows["difference"] - rows["low"], rows["high"] - rows["difference"]]).clip(min=0)


def _shifts(count: int, step: float) -> np.ndarray:
    return (np.arange(count) - (count - 1) / 2) * step
