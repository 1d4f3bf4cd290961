"""The plots of notebook 06: five combinations on every image set, frozen and fine-tuned, compared image by image and
over resolution, and single models over the radius of their training. Where combinations are lines, single models are
hollow and dotted, pairs filled and solid."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advlook.core import ARCH_NAMES, eps_label
from advlook.experiments.ensembles import panels
from advlook.experiments.ensembles.panels import LINE_STYLES, bars, combinations_of, shifts
from advlook.study import style
from advlook.study.style import image_grid as image_grid

MODE_FILLS = {"fine-tuned": style.GREEN, "frozen": "white"}  # of markers
_DOTS = {"s": 8, "alpha": 0.6, "lw": 0, "zorder": 2}  # of single runs


def parameter_counts(table: pd.DataFrame) -> pd.DataFrame:
    """To be read: millions of parameters of every combination, by architecture and how many classes are told apart.
    table: `06_ensembles`."""
    sizes = table.assign(millions=table["parameters"] / 1e6).drop_duplicates(["arch", "classes", "combination"])
    wide = sizes.pivot(index=["arch", "classes"], columns="combination", values="millions")
    return wide[combinations_of(table)].rename(index=ARCH_NAMES, level="arch").rename_axis(columns=None)


def differences(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """How many points every combination is ahead of the single STD model with frozen backbones (Figure 9): a panel a
    set, all with the same axes; 95% intervals over images, and a dot a run. table: `06_ensembles`; compared:
    `06_comparisons`."""
    table = style.select(table, mode="frozen")
    compared = style.select(compared, table="06_ensembles", mode="frozen", against="STD")
    names, archs = combinations_of(table), table["arch"].unique()
    step = 0.84 / len(archs)
    figure, places = panels.set_panels(style.select(table, combination="STD"), 2.4)
    for axis, (dataset, pixels) in places:
        for arch, shift in zip(archs, shifts(len(archs), step), strict=True):
            where = {"arch": arch, "dataset": dataset, "pixels": pixels}
            runs, leads = style.select(table, **where), style.select(compared, **where)
            base = style.select(runs, combination="STD")["top1"].mean()
            for x, name in zip(np.arange(len(names)) + shift, names, strict=True):
                color, row = LINE_STYLES[name]["color"], style.select(leads, combination=name)
                ahead = style.select(runs, combination=name)["top1"] - base
                axis.scatter([x + 0.3 * step] * len(ahead), ahead, color=color, **_DOTS)
                drawn = {"fmt": style.ARCH_STYLES[arch][1], "ms": 5.5, "capsize": 2.5, "lw": 1.5, "zorder": 3}
                axis.errorbar([x - 0.1 * step] * len(row), row["difference"], bars(row), color=color, **drawn)
        axis.set_xticks(range(len(names)), [name.replace("+", "+\n") for name in names], fontsize=9)
        axis.set_xlim(-0.6, len(names) - 0.4)
    handles = [*panels.arch_handles(archs), panels.run_handle(), *panels.known_handles(table)]
    style.legend(figure, handles)
    return figure


def fine_tuning(table: pd.DataFrame) -> Figure:
    """Accuracy of every combination, fine-tuned (filled) and with frozen backbones (hollow), on the sets that have
    both: a column a set, a row an architecture; dots are runs, the dotted line is chance. table: `06_ensembles`."""
    table = table[table.groupby(["dataset", "pixels"])["mode"].transform("nunique") == 2]
    if table.empty:
        return panels.sentence("No image set was learned both ways, fine-tuned and with frozen backbones.")
    sets, archs, names = panels.sets_of(table), table["arch"].unique(), combinations_of(table)
    size = panels.width_of(len(sets), 4.4) * len(sets) + 1.3, 2.3 * len(archs) + 0.9
    figure, axes = style.new_figure(len(archs), len(sets), *size, sharex="col", sharey=True)
    for axis, (arch, (dataset, pixels)) in zip(axes, product(archs, sets), strict=True):
        rows = style.select(table, arch=arch, dataset=dataset, pixels=pixels)
        axis.axvline(100 / rows["classes"].iloc[0], color=style.GREY, ls=":", lw=1.5)
        for y, name in enumerate(names):
            _two_modes(axis, style.select(rows, combination=name), y, LINE_STYLES[name]["color"])
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        if rows["known"].any():
            axis.set_facecolor(panels.KNOWN_COLOR)
    titles = [panels.set_name(*key) for key in sets]
    style.label_outer(axes, titles, "accuracy [%]", [ARCH_NAMES[arch] for arch in archs])
    handles = [style.handle("fine-tuned", marker="o", ls=""), style.handle("frozen", marker="o", mfc="white", ls="")]
    handles += [panels.run_handle(), style.handle("chance", style.GREY, ls=":", lw=1.5)]
    style.legend(figure, [*handles, *panels.known_handles(table)])
    return figure


def _two_modes(axis: Axes, rows: pd.DataFrame, y: float, color: str) -> None:
    """Frozen a little above fine-tuned, so that both are seen where they are equally accurate."""
    means, side = rows.groupby("mode")["top1"].mean(), {"frozen": -0.13, "fine-tuned": 0.13}
    axis.plot([means[mode] for mode in side], [y + shift for shift in side.values()], color=color, lw=1.2, alpha=0.6)
    for mode, shift in side.items():
        values, fill = style.select(rows, mode=mode)["top1"], color if mode == "fine-tuned" else "white"
        axis.scatter(values, [y + 2.7 * shift] * len(values), color=color, **_DOTS)
        axis.plot(means[mode], y + shift, "o", color=color, mfc=fill, ms=6, mew=1.4)


def paired(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """STD+ADV against the better other pair and the better single model, with 95% intervals. table: `06_ensembles`;
    compared: `06_comparisons`."""
    compared = compared[compared["table"] == "06_ensembles"]
    sets, known = panels.sets_of(compared)[::-1], panels.known_sets(table)
    kinds = [kind for kind in ("better pair", "better single") if kind in set(compared["against"])]
    columns = list(product(kinds, compared["arch"].unique()))
    size = panels.width_of(len(columns), 3.5) * len(columns) + 1.6, 0.4 * len(sets) + 1.9
    figure, axes = style.new_figure(1, len(columns), *size, sharex=True, sharey=True)
    both = compared.groupby(["dataset", "pixels"])["mode"].nunique() > 1
    for (kind, arch), axis in zip(columns, axes, strict=True):
        for place in (sets.index(key) for key in known if key in sets):
            axis.axhspan(place - 0.48, place + 0.48, color=panels.KNOWN_COLOR, lw=0, zorder=0)
        rows = style.select(compared, arch=arch, against=kind)
        for (mode, fill), shift in zip(MODE_FILLS.items(), (0.17, -0.17), strict=True):
            of = rows[rows["mode"] == mode]
            keys = zip(of["dataset"], of["pixels"], strict=True)
            heights = [sets.index(key) + shift * both[key] for key in keys]
            drawn = {"color": style.GREEN, "fmt": "o", "ms": 5.5, "capsize": 2.5, "lw": 1.5, "mfc": fill}
            axis.errorbar(of["difference"], heights, xerr=bars(of), **drawn)
        axis.axvline(0, color=style.GREY, lw=1.2)
        axis.set_yticks(range(len(sets)), [panels.set_name(*key) for key in sets])
        axis.set_ylim(-0.6, len(sets) - 0.4)
        axis.set_xlabel("STD+ADV ahead by [points]", fontsize=10)
        axis.set_title(f"{ARCH_NAMES[arch]}\nagainst the {kind}", fontsize=10.5)
    modes = [style.handle(mode, style.GREEN, marker="o", mfc=fill, ls="") for mode, fill in MODE_FILLS.items()]
    style.legend(figure, [*modes, *panels.known_handles(table)])
    return figure


def resolution(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """Image sets at falling resolution, a column a set and architecture (where these are many, a line of them an
    architecture): accuracy above, below how far other pairs (or single models, where there are none) are ahead of
    STD+ADV, with 95% intervals. table: `06_resolution`; compared: `06_comparisons`."""
    if table.empty:
        return panels.sentence("None of the image sets that were to be degraded is here.")
    finest = table.groupby("dataset")["resolution"].max().reset_index()
    sets, archs = finest.sort_values(["resolution", "dataset"])["dataset"], sorted(table["arch"].unique())
    several = len(sets) * len(archs) > panels.COLUMNS
    columns = list(product(archs, sets) if several else ((arch, name) for name in sets for arch in archs))
    width = len(sets) if several else len(columns)
    lines = len(columns) // width
    size = panels.width_of(width, 3.6) * width + 0.9, (4.6 if several else 5.6) * lines + 0.7
    heights = {"height_ratios": [1.3, 1] * lines}
    figure, axes = style.new_figure(2 * lines, width, *size, sharex="col", gridspec_kw=heights)
    compared = style.select(compared, table="06_resolution", combination="STD+ADV")
    first: dict[str, list[Axes]] = {}
    for place, (arch, dataset) in enumerate(columns):
        start = place + place // width * width  # below each panel is its second one
        both = [axes[start], axes[start + width]]
        for axis, other in zip(both, first.setdefault(dataset, both), strict=True):
            if axis is not other:
                axis.sharey(other)
                axis.tick_params(labelleft=several)
        _accuracy_lines(both[0], style.select(table, dataset=dataset, arch=arch))
        _difference_lines(both[1], style.select(compared, dataset=dataset, arch=arch))
        both[0].set_title(f"{dataset}\n{ARCH_NAMES[arch]}", fontsize=11)
        if place % width == 0:
            both[0].set_ylabel("accuracy [%]")
            both[1].set_ylabel("ahead of STD+ADV\n[points]")
    for axis in axes[-width:]:
        axis.set_xlabel("resolution [px a side]")
    style.legend(figure, [style.handle(name, **LINE_STYLES[name]) for name in combinations_of(table)])
    return figure


def _accuracy_lines(axis: Axes, rows: pd.DataFrame) -> None:
    for shift, (name, drawn) in zip(shifts(len(LINE_STYLES), 0.03), LINE_STYLES.items(), strict=True):
        runs = rows[rows["combination"] == name]
        means = runs.groupby("resolution")["top1"].mean()
        axis.plot(means.index * 2**shift, means, **drawn)
        axis.scatter(runs["resolution"] * 2**shift, runs["top1"], s=5, color=drawn["color"], alpha=0.5, zorder=3)


def _difference_lines(axis: Axes, rows: pd.DataFrame) -> None:
    """Differences of STD+ADV, turned round: how far the others are ahead."""
    pairs = ["STD+STD", "ADV+ADV"]
    against = pairs if set(pairs) <= set(rows["against"]) else ["STD", "ADV"]
    for shift, name in zip(shifts(len(against), 0.06), against, strict=True):
        of = rows[rows["against"] == name].sort_values("pixels")
        arms = bars(of)[::-1]
        axis.errorbar(of["pixels"] * 2**shift, -of["difference"], arms, capsize=2, elinewidth=1.2, **LINE_STYLES[name])
    axis.axhline(0, color=style.GREEN, lw=2)
    levels = sorted(rows["pixels"].unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(levels, [str(level) for level in levels])
    axis.minorticks_off()
    axis.tick_params(labelbottom=True)


def transfer(table: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """How many points single models trained at each radius are ahead of STD, with frozen backbones: a panel a set, all
    with the same axes. Lines are means over seeds with 95% intervals, dots are seeds, and the most accurate radius is
    filled. table: `06_transfer`; effects: `06_transfer_effects`."""
    if table.empty:
        return panels.sentence("There are no models of other radii here.")
    radii, archs = sorted(table["eps"].unique()), table["arch"].unique()
    step = 0.76 / len(archs)
    figure, places = panels.set_panels(style.select(table, eps=0), 2.4)
    for axis, (dataset, pixels) in places:
        for arch, shift in zip(archs, shifts(len(archs), step), strict=True):
            where = {"arch": arch, "dataset": dataset, "pixels": pixels}
            at = {eps: place + shift for place, eps in enumerate(radii)}
            _over_radius(axis, style.select(table, **where), style.select(effects, **where), at, beside=step / 3)
        axis.set_xticks(range(len(radii)), [eps_label(eps) if eps else "STD" for eps in radii], fontsize=9)
        axis.set_xlim(-0.5, len(radii) - 0.5)
        axis.set_xlabel("radius in training" if axis.xaxis.get_tick_params()["labelbottom"] else "")
    best = style.handle("filled: most accurate", marker="o", ls="")
    handles = [*panels.arch_handles(archs, mfc="white", joined=True), best, panels.run_handle("single seeds")]
    style.legend(figure, [*handles, *panels.known_handles(table)])
    return figure


def _over_radius(
    axis: Axes, rows: pd.DataFrame, effects: pd.DataFrame, at: Mapping[float, float], beside: float
) -> None:
    """One architecture on one set. at: the place of each radius; beside: how far from it the seeds stand."""
    line, marker = style.ARCH_STYLES[rows["arch"].iloc[0]]
    by_seed = rows.pivot_table(index="seed", columns="eps", values="top1")
    for eps, ahead in by_seed.sub(by_seed[0], axis=0).drop(columns=0).items():
        axis.scatter([at[eps] + beside] * len(ahead), ahead, color=style.GREY, **_DOTS)
    effects = effects[effects["eps"] > 0].sort_values("eps")
    x, heights = [at[0], *effects["eps"].map(at)], np.array([0, *effects["difference"]])
    axis.plot(x, heights, line, color=style.INK, lw=1.2, zorder=2)
    axis.errorbar(x[1:], heights[1:], bars(effects), fmt="none", color=style.COLORS["adv"], capsize=2.5, lw=1.5)
    for place, height in zip(x, heights, strict=True):
        color = style.COLORS["std" if place == x[0] else "adv"]
        fill = color if height == heights.max() else "white"
        axis.plot(place, height, marker, color=color, mfc=fill, ms=5.5, mew=1.4, zorder=4)
