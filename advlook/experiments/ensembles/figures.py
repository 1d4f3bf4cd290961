"""The plots of notebook 06: five combinations on every image set, over resolution, and compared image by image.

Drawn from the tables `06_ensembles`, `06_resolution` and `06_comparisons`; nothing is computed here but means over
runs. STD is vermilion, ADV blue, both together green; single models are hollow, pairs filled.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from advlook.core.names import ARCH_NAMES
from advlook.study.style import COLORS, new_figure

_GREEN = "#009E73"
COMBINATIONS = {  # colour and marker of each
    "STD": (COLORS["std"], "o"),
    "ADV": (COLORS["adv"], "o"),
    "STD+STD": (COLORS["std"], "D"),
    "ADV+ADV": (COLORS["adv"], "D"),
    "STD+ADV": (_GREEN, "s"),
}
MODES = {"fine-tuned": _GREEN, "frozen": "white"}  # how a mode's marker is filled


def parameter_counts(table: pd.DataFrame) -> pd.DataFrame:
    """To be read: millions of parameters of every combination, by architecture and image set. table: `06_ensembles`."""
    sizes = table.assign(millions=table["parameters"] / 1e6).drop_duplicates(["arch", "dataset", "combination"])
    wide = sizes.pivot(index=["arch", "dataset"], columns="combination", values="millions")
    order = [name for name in COMBINATIONS if name in wide]
    return wide[order].rename(index=ARCH_NAMES).rename_axis(columns=None)


def accuracies(table: pd.DataFrame) -> Figure:
    """Accuracy of every combination (Figure 9): a column an image set, by resolution, a row an architecture and mode.

    A small point is a run, the large one their mean; every panel has an accuracy axis of its own.
    table: `06_ensembles`.
    """
    lines = list(table[["arch", "mode"]].drop_duplicates().sort_values(["arch", "mode"]).itertuples(index=False))
    sets = _sets(table)
    names = [name for name in COMBINATIONS if name in set(table["combination"])]
    figure, axes = new_figure(len(lines), len(sets), 2.6 * len(sets) + 0.9, 2.4 * len(lines) + 0.7, sharex=True)
    for place, axis in enumerate(axes):
        (arch, mode), (dataset, pixels) = lines[place // len(sets)], sets[place % len(sets)]
        rows = table[(table["arch"] == arch) & (table["mode"] == mode)]
        rows = rows[(rows["dataset"] == dataset) & (rows["pixels"] == pixels)]
        for x, name in enumerate(names):
            _points(axis, x, rows[rows["combination"] == name]["top1"], name)
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.set_xticks(range(len(names)), [name.replace("+", "+\n") for name in names], fontsize=8)
        axis.grid(visible=False, axis="x")
        axis.margins(y=0.18)
        axis.set_title(f"{dataset}\n{pixels} px" if place < len(sets) else "", fontsize=10.5)
        axis.set_ylabel(f"{ARCH_NAMES[arch]}, {mode}\naccuracy [%]" if place % len(sets) == 0 else "", fontsize=10)
    return figure


def resolution(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """One image set at falling resolution: accuracy above, below how far the other pairs are ahead of STD+ADV.

    A column an architecture and set. Above, a line is the mean over runs, small points are runs; below, differences
    image by image with their 95% intervals, of single models where the preset has no pairs of a kind. Panels of one set
    have the same axes; those of others, which may be far harder, their own.
    table: `06_resolution`; compared: `06_comparisons`. Without a row it is said that there is no such set.
    """
    if table.empty:
        figure, (axis,) = new_figure(1, 1, 6, 1)
        axis.set_axis_off()
        axis.text(0.5, 0.5, "None of the image sets that were to be degraded is here.", ha="center", va="center")
        return figure
    columns = table[["dataset", "arch"]].drop_duplicates().sort_values(["dataset", "arch"]).to_numpy().tolist()
    against = ["STD+STD", "ADV+ADV"] if "STD+STD" in set(table["combination"]) else ["STD", "ADV"]
    compared = compared[(compared["table"] == "06_resolution") & (compared["combination"] == "STD+ADV")]
    figure, axes = new_figure(
        2, len(columns), 3.6 * len(columns) + 0.9, 6.6, sharex="col", gridspec_kw={"height_ratios": [1.3, 1]}
    )
    first: dict[str, tuple[Axes, Axes]] = {}
    for (dataset, arch), above, below in zip(columns, axes[: len(columns)], axes[len(columns) :], strict=True):
        if dataset in first:
            for axis, other in zip((above, below), first[dataset], strict=True):
                axis.sharey(other)
                axis.tick_params(labelleft=False)
        first.setdefault(dataset, (above, below))
        rows = table[(table["dataset"] == dataset) & (table["arch"] == arch)]
        levels = sorted(rows["resolution"].unique())
        for shift, name in zip(_shifts(len(COMBINATIONS), 0.03), COMBINATIONS, strict=True):
            _curve(above, rows[rows["combination"] == name], name, shift)
        of_pair = compared[(compared["dataset"] == dataset) & (compared["arch"] == arch)]
        for shift, name in zip(_shifts(len(against), 0.06), against, strict=True):
            _differences(below, of_pair[of_pair["against"] == name], name, shift)
        below.axhline(0, color=_GREEN, lw=2)
        below.set_xscale("log", base=2)
        below.set_xticks(levels, [str(level) for level in levels])
        below.minorticks_off()
        below.set_xlabel("resolution [px a side]")
        above.set_title(f"{dataset}\n{ARCH_NAMES[arch]}", fontsize=11)
    axes[0].set_ylabel("accuracy [%]")
    axes[len(columns)].set_ylabel("ahead of STD+ADV\n[points]")
    _legend(figure, [name for name in COMBINATIONS if name in set(table["combination"])])
    return figure


def paired(compared: pd.DataFrame) -> Figure:
    """STD+ADV against the better other pair, and against the better single model: a line an image set.

    A panel an architecture and comparison; the bar is the 95% interval over images. Right of zero STD+ADV is more
    accurate. compared: `06_comparisons`.
    """
    compared = compared[compared["table"] == "06_ensembles"]
    kinds = [kind for kind in ("better pair", "better single") if kind in set(compared["against"])]
    archs, sets = list(dict.fromkeys(compared["arch"])), _sets(compared)[::-1]
    panels = [(kind, arch) for kind in kinds for arch in archs]
    size = 3.5 * len(panels) + 1.6, 0.62 * len(sets) + 1.9
    figure, axes = new_figure(1, len(panels), *size, sharex=True, sharey=True)
    for (kind, arch), axis in zip(panels, axes, strict=True):
        rows = compared[(compared["arch"] == arch) & (compared["against"] == kind)]
        for mode, shift in zip(MODES, (0.14, -0.14), strict=True):
            of_mode = rows[rows["mode"] == mode]
            heights = [sets.index(key) + shift for key in zip(of_mode["dataset"], of_mode["pixels"], strict=True)]
            axis.errorbar(
                of_mode["difference"],
                heights,
                xerr=_bars(of_mode),
                fmt="o",
                color=_GREEN,
                ms=6,
                capsize=3,
                lw=1.5,
                mfc=MODES[mode],
            )
        axis.axvline(0, color="#888888", lw=1.2)
        axis.set_yticks(range(len(sets)), [f"{dataset}, {pixels} px" for dataset, pixels in sets])
        axis.set(ylim=(-0.6, len(sets) - 0.4), xlabel="STD+ADV ahead by [points]")
        axis.set_title(f"{ARCH_NAMES[arch]}\nagainst the {kind}", fontsize=11)
    handles = [Line2D([], [], color=_GREEN, marker="o", mfc=fill, ls="", label=mode) for mode, fill in MODES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _sets(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Image sets by resolution, and by name where it is the same."""
    keys = table[["dataset", "pixels"]].drop_duplicates().sort_values(["pixels", "dataset"])
    return list(keys.itertuples(index=False, name=None))


def _points(axis: Axes, x: float, values: pd.Series, name: str) -> None:
    """Runs as small points side by side, and their mean."""
    color, marker = COMBINATIONS[name]
    axis.plot([x - 0.3, x + 0.3], [values.mean()] * 2, color=color, lw=2.2, zorder=2)
    axis.scatter(
        x + _shifts(len(values), 0.1),
        values,
        s=26,
        marker=marker,
        zorder=3,
        lw=1.2,
        facecolor=_fill(name),
        edgecolor=color,
    )


def _curve(axis: Axes, rows: pd.DataFrame, name: str, shift: float) -> None:
    color, marker = COMBINATIONS[name]
    means = rows.groupby("resolution")["top1"].mean()
    axis.plot(means.index * 2**shift, means, color=color, marker=marker, ms=5, mfc=_fill(name), **_line(name))
    axis.scatter(rows["resolution"] * 2**shift, rows["top1"], s=5, color=color, alpha=0.5, zorder=3)


def _differences(axis: Axes, rows: pd.DataFrame, name: str, shift: float) -> None:
    """Differences of STD+ADV, turned round: how far the other one is ahead."""
    color, marker = COMBINATIONS[name]
    rows = rows.sort_values("pixels")
    bars = _bars(rows)[::-1]
    axis.errorbar(
        rows["pixels"] * 2**shift,
        -rows["difference"],
        yerr=bars,
        color=color,
        marker=marker,
        ms=5,
        mfc=_fill(name),
        capsize=2,
        elinewidth=1.2,
        **_line(name),
    )


def _bars(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the two arms of intervals: `(2, rows)`."""
    return np.stack([rows["difference"] - rows["low"], rows["high"] - rows["difference"]]).clip(min=0)


def _shifts(count: int, step: float) -> np.ndarray:
    return (np.arange(count) - (count - 1) / 2) * step


def _fill(name: str) -> str:
    return COMBINATIONS[name][0] if "+" in name else "white"


def _line(name: str) -> dict[str, object]:
    return {"ls": "-" if "+" in name else ":", "lw": 1.6}


def _legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=COMBINATIONS[name][0],
            marker=COMBINATIONS[name][1],
            mfc=_fill(name),
            label=name,
            **_line(name),
        )
        for name in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
