"""The figures of scale in notebook 04: hybrid images and who names what, controls, answers and masking."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.core.names import MAIN
from advlook.experiments.corruptions.named import Named
from advlook.experiments.corruptions.scale import CUTOFFS, KINDS, MASKED
from advlook.study import style

OPERATIONS = {
    "low-pass": "Only lower frequencies",
    "high-pass": "Only higher frequencies",
    "shuffled": "Pixels shuffled in blocks",
}


def hybrid_names(found: Named) -> Figure:
    """Hybrid images with what STD and ADV say they show, and below each the two images of which it is made."""
    count = len(found.pictures)
    figure, axes = style.new_figure(2, 2 * count, 4.2 * count, 6.6, height_ratios=(2, 1))
    grid = axes[0].get_gridspec()
    for axis in axes[: 2 * count]:
        axis.remove()
    for number, (pictures, classes, votes) in enumerate(zip(found.pictures, found.classes, found.votes, strict=True)):
        large = figure.add_subplot(grid[0, 2 * number : 2 * number + 2])
        small = axes[2 * count + 2 * number :][:2]
        style.picture(large, pictures[1], "\n")
        for setting, name, agreeing, height in zip(SETTINGS, classes, votes, (1.11, 1.03), strict=True):
            said = f"{NAMES[setting]} says: {name}" + (f" ({agreeing} of {found.models})" if found.models > 1 else "")
            large.text(
                0.5, height, said, transform=large.transAxes, ha="center", color=style.COLORS[setting], weight="bold"
            )
        for axis, picture, name, part in zip(
            small, pictures[::2], classes, ("sharp details", "blurred shapes"), strict=True
        ):
            style.picture(axis, picture, f"{part} of:\n{name}", size=10)
        style.bare([large, *small])
    return figure


def hybrid_curves(shown: Mapping[str, Tensor], table: pd.DataFrame, scales: pd.DataFrame) -> Figure:
    """Above, the two images of a pair and their hybrids; below, what the models name over the cut-off: the share of the
    coarse image among answers that name one of the two, and (dotted) how many name neither. shown: pictures
    `(3, H, W)` by title; table, scales: `04_hybrids`, `04_scales`."""
    archs, count = list(table["arch"].unique()), len(shown)
    figure, axes = style.new_figure(2, count, 2.1 * count, 6.3, height_ratios=(1, 1.6))
    for axis, (title, image) in zip(axes, shown.items(), strict=False):
        style.picture(axis, image, title, size=11)
    style.bare(axes[:count])
    grid = axes[0].get_gridspec()
    for axis in axes[count:]:
        axis.remove()
    edges = np.linspace(0, count, len(archs) + 1).round().astype(int)
    for arch, first, last in zip(archs, edges, edges[1:], strict=False):
        axis = figure.add_subplot(grid[1, first:last])
        _named_over_cutoff(axis, style.select(table, arch=arch, condition=MAIN))
        _mark_crossings(axis, style.select(scales, arch=arch, condition=MAIN, seed="all"))
        axis.set(title=ARCH_NAMES[arch], xlabel="cut-off between the two [cycles/px]", ylim=(-2, 102))
        axis.set_ylabel("answers [%]" if first == 0 else "")
    handles = [*style.setting_handles(), style.handle("untrained", style.COLORS["random"], ls="--", lw=1)]
    handles.append(style.handle("names the coarse image [% of answers that name either]", marker="o"))
    handles.append(style.handle("names neither [% of all answers]", ls=":"))
    handles.append(style.handle("switches to the coarse image, 95% interval", style.INK, marker="D", ms=6, ls="none"))
    style.legend(figure, handles, ncols=3)
    return figure


def _named_over_cutoff(axis: Axes, rows: pd.DataFrame) -> None:
    rows = rows.assign(share=100 * rows["coarse"] / (rows["coarse"] + rows["fine"]).replace(0, np.nan))
    for setting in KINDS:
        line = {"marker": "o"} if setting != "random" else {"ls": "--", "lw": 1}
        style.band(axis, style.select(rows, setting=setting), "cutoff", "share", style.COLORS[setting], **line)
    for setting in SETTINGS:
        means = style.select(rows, setting=setting).groupby("cutoff")["neither"].mean()
        axis.plot(means.index, means, color=style.COLORS[setting], ls=":", lw=1.3)
    axis.axhline(50, color=style.GREY, lw=1)
    levels = np.sort(rows["cutoff"].unique())
    _octaves(axis, levels[::2], levels)


def _octaves(axis: Axes, ticks: Sequence[float], levels: Sequence[float]) -> None:
    """A logarithmic axis with ticks over all levels, also where a model without an accuracy leaves nothing to draw."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axis.set_xlim(levels[0] / 1.15, levels[-1] * 1.15)


def _mark_crossings(axis: Axes, rows: pd.DataFrame) -> None:
    for row in rows[rows["of"] != "apart"].itertuples():
        axis.plot([row.low, row.high], [50, 50], color=style.COLORS[row.of], lw=6, alpha=0.5, zorder=3)
        axis.plot(row.scale, 50, "D", color=style.COLORS[row.of], mec="white", ms=8, zorder=4)
    apart = rows[rows["of"] == "apart"].iloc[0]
    text = f"{apart['scale']:.2f} octaves\n[{apart['low']:.2f}, {apart['high']:.2f}]"
    axis.text(0.03, 0.93, text, transform=axis.transAxes, va="top", fontsize=10, color=style.INK)


def scale_intervals(scales: pd.DataFrame) -> Figure:
    """The frequency at which each model switches to the coarse image, in every condition, and that of the noise that
    masks it most, with 95% intervals (an arrow: none up to there); right of it the distance in octaves. A
    panel an architecture. scales: `04_scales`."""
    conditions = list(scales["condition"].unique())
    size = (0.45 * len(conditions) + 1.6, 6.2, 1.6)
    figure, panels = style.arch_columns(scales, size, ("frequency [cycles/px]", ""), sharey=True)
    for axis, of_arch in panels:
        for place, condition in enumerate(conditions):
            rows = style.select(of_arch, condition=condition, seed="all").set_index("of")
            for of, shift in (("std", -0.13), ("adv", 0.13)):
                if of in rows.index:
                    row, color = rows.loc[of], style.COLORS[of]
                    axis.plot([row["low"], row["high"]], [place + shift] * 2, color=color, lw=3, alpha=0.6)
                    beyond = row["scale"] >= CUTOFFS[-1]  # switches nowhere up to there
                    axis.plot(row["scale"], place + shift, ">" if beyond else "o", color=color, ms=6)
            if "apart" in rows.index:
                row, least = rows.loc["apart"], "≥ " if rows["scale"].get("std", 0) >= CUTOFFS[-1] else ""
                text = f"{least}{row['scale']:+.2f} [{row['low']:.2f}, {row['high']:.2f}]"
                axis.text(1.02, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=9.5)
        _octaves(axis, (0.02, 0.04, 0.08, 0.16, 0.32), CUTOFFS)
        axis.set_yticks(
            range(len(conditions)), [f"hybrids, {c}" if c != MASKED else "noise that masks most" for c in conditions]
        )
        axis.text(1.02, -0.75, "octaves apart", transform=axis.get_yaxis_transform(), fontsize=9.5, va="center")
        axis.set_ylim(len(conditions) - 0.5, -0.5)
    style.legend(figure, style.setting_handles(marker="o"))
    return figure


def retained_curves(table: pd.DataFrame) -> Figure:
    """The share of the clean accuracy, both less chance, that is retained when frequencies are taken away or pixels are
    shuffled; mean and range over seeds, a row an architecture. table: `04_answers`."""
    below = ["cut-off [cycles/px]", "cut-off [cycles/px]", "block [px]"]
    labels = (below, "{}\nretained [%]")
    figure, panels = style.arch_rows(table, OPERATIONS, (11, 2.9, 0.6), labels, sharex="col", sharey=True)
    for axis, of_arch, operation in panels:
        rows = style.select(of_arch, operation=operation)
        style.bands(axis, rows, "level", "kept", marker="o")
        axis.axhline(0, color=style.GREY, lw=1)
        levels = sorted(rows["level"].unique())
        _octaves(axis, levels, levels)
    style.legend(figure, style.setting_handles())
    return figure


def channels(table: pd.DataFrame) -> Figure:
    """Sensitivity to noise over its frequency, and (triangles) the centre of each channel, mean and range over seeds; a
    panel an architecture. table: `04_channels`."""
    labels = "centre of the noise [cycles/px]", "sensitivity: 1 / noise\nthat halves the accuracy"
    figure, panels = style.arch_columns(table, (3.6, 4.6, 0.6), labels, sharey=True)
    for axis, of_arch in panels:
        style.bands(axis, of_arch, "frequency", "sensitivity", marker="o")
        for setting in SETTINGS:
            centre = style.select(of_arch, setting=setting)["centre"].mean()
            axis.plot(centre, 0, "^", color=style.COLORS[setting], ms=10, mec="white", clip_on=False, zorder=4)
        levels = sorted(of_arch["frequency"].unique())
        _octaves(axis, levels, levels)
        axis.set_ylim(0, np.nanmax([1.0, 1.05 * table["sensitivity"].max()]))
    style.legend(figure, style.setting_handles(marker="o"))
    return figure


def sides(scales: pd.DataFrame) -> pd.DataFrame:
    """To be read: where STD and ADV switch to the coarse image, in cycles per pixel and per image, and how far they are
    apart, with 95% intervals; of all seeds and of each."""
    rows = style.select(scales, condition=MAIN)
    texts = {}
    for row in rows.itertuples():
        interval = f"{row.scale:.3f} [{row.low:.3f}, {row.high:.3f}]"
        text = f"{row.scale:.2f} [{row.low:.2f}, {row.high:.2f}]" if row.of == "apart" else interval
        text += "" if row.of == "apart" else f"; {row.cycles_per_image:.1f} an image"
        title = "octaves apart" if row.of == "apart" else NAMES[row.of]
        texts.setdefault((ARCH_NAMES[row.arch], row.seed), {})[title] = text
    return pd.DataFrame.from_dict(texts, orient="index").rename_axis(["network", "seed"])
