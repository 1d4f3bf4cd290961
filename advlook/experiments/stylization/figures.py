"""The figures of notebook 05: stylized images, accuracy over their strength, shape bias, and the images' checks."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.core.names import REVERSED, STANDARD, STYLIZED
from advlook.experiments.stylization.judged import VALID
from advlook.study import style

_BEFORE = "#999999"
_CLASSES = 24  # at most, in the figure of the shape bias


def picture_grid(pictures: Mapping[str, Tensor], names: Sequence[str]) -> Figure:
    """A column an image, its name above; a row for each entry of `pictures`, float `(N, 3, H, W)` in [0, 1]."""
    figure, lines = style.blocks([len(pictures)], [len(names)], 1.3, 1.32)
    for number, ((title, images), line) in enumerate(zip(pictures.items(), lines, strict=True)):
        line[0].set_ylabel(title)
        for axis, image, name in zip(line, images, names, strict=True):
            style.picture(axis, image, "" if number else name)
    return figure


def strength_curves(table: pd.DataFrame, differences: pd.DataFrame, chance: float) -> Figure:
    """Top-1 over the strength of the style, in percent of all images and of that at strength 0, with the range over
    seeds and the `chance` [%] to be right; below each ADV - STD. table: `05_stylization`; differences:
    `05_differences`."""
    table, differences = (style.select(rows, variant=STYLIZED) for rows in (table, differences))
    table = table.assign(accuracy=table["top1"], relative=100 * table["top1"] / table["control"].replace(0, np.nan))
    measures = {"accuracy": "top-1 [%]", "relative": "top-1 [% of strength 0]"}
    panels = list(product(dict.fromkeys(table["arch"]), measures))
    size, ratios = (3.5 * len(panels) + 0.6, 6.0), {"height_ratios": [1.5, 1]}
    figure, axes = style.new_figure(2, len(panels), *size, sharex=True, sharey="row", gridspec_kw=ratios)
    for (arch, measure), above, below in zip(panels, axes[: len(panels)], axes[len(panels) :], strict=True):
        style.bands(above, style.select(table, arch=arch), "strength", measure, marker="o")
        if measure == "accuracy":
            above.axhline(chance, color=style.GREY, ls=":", lw=1.5)
        style.difference_band(below, style.select(differences, arch=arch, measure=measure), "strength")
        above.set_ylim(-2, 108)
        below.set_xticks(sorted(table["strength"].unique()))
    titles = [f"{ARCH_NAMES[arch]}\n{measures[measure]}" for arch, measure in panels]
    style.label_outer(axes, titles, "strength", ["accuracy", "ADV - STD\n[points]"])
    handles = [*style.setting_handles(marker="o", ms=5), style.handle("chance", style.GREY, ls=":", lw=1.5)]
    style.legend(figure, handles + style.difference_handles(differences))
    return figure


def variant_differences(differences: pd.DataFrame) -> Figure:
    """ADV - STD on the variants of Table 2: filled in points, hollow in percent of the own. differences:
    `05_differences`."""
    lines = [(STYLIZED, 1.0), (REVERSED, 0.0), (STANDARD, 0.0)]  # from below
    marks = {"accuracy": (0.14, style.INK), "relative": (-0.14, "white")}
    labels = "ADV ahead by [points]", ""
    figure, panels = style.arch_columns(differences, (3.2, 4.3, 1.2), labels, sharex=True, sharey=True)
    for axis, of_arch in panels:
        axis.axvline(0, color=style.GREY, lw=1.2)
        for (height, (variant, strength)), (measure, (shift, fill)) in product(enumerate(lines), marks.items()):
            if (variant, measure) != (STANDARD, "relative"):  # relative to itself it is always 0
                rows = style.select(of_arch, variant=variant, strength=strength, measure=measure)
                _interval(axis, rows, "difference", height + shift, style.INK, fill)
        axis.set_yticks(range(len(lines)), [variant for variant, _ in lines])
        axis.set_ylim(-0.6, len(lines) - 0.4)
        axis.grid(visible=False, axis="y")
    drawn = {"marker": "o", "ms": 6, "ls": ""}
    own = style.handle("top-1 in percent of the model's own on standard images", style.INK, mfc="white", **drawn)
    seeds = style.handle("single seeds", style.INK, marker="|", ms=6, ls="")
    style.legend(figure, [style.handle("top-1", style.INK, **drawn), own, seeds])
    return figure


def shape_bias(table: pd.DataFrame) -> Figure:
    """Shape bias over all cue conflicts and by the class of the shape (of many the largest), with 95% intervals; beside
    it how many are decided. table: `05_shape_bias`."""
    archs, known = (list(dict.fromkeys(table[column])) for column in ("arch", "class"))
    largest = set(table.groupby("class", sort=False)["images"].first().nlargest(_CLASSES + 1).index)  # "all" is first
    classes = [name for name in known if name in largest][::-1]  # from below
    size, ratios = (5.6 * len(archs) + 1.4, 0.42 * len(classes) + 1.7), {"width_ratios": [2, 1] * len(archs)}
    figure, axes = style.new_figure(1, 2 * len(archs), *size, sharey=True, gridspec_kw=ratios)
    for arch, bias, share in zip(archs, axes[::2], axes[1::2], strict=True):
        for (place, name), setting in product(enumerate(classes), SETTINGS):
            rows = style.select(table, arch=arch, setting=setting, **{"class": name})
            height = place + {"std": 0.17, "adv": -0.17}[setting]
            _interval(bias, rows, "shape_bias", height, style.COLORS[setting])
            pooled = style.select(rows, seed="all")
            share.barh(height, pooled["by_shape"] + pooled["by_texture"], 0.3, color=style.COLORS[setting])
        bias.axvline(50, color=style.GREY, lw=1.2)
        bias.set(xlim=(-3, 103), title=ARCH_NAMES[arch], xlabel="← texture      shape bias [%]      shape →")
        share.set(xlim=(0, 103), xlabel="decided by either [%]")
        for axis in (bias, share):
            axis.axhline(len(classes) - 1.5, color=style.GREY, lw=0.8)
            axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(classes)), ["all classes" if name == "all" else name for name in classes])
    axes[0].set_ylim(-0.6, len(classes) - 0.4)
    style.legend(figure, style.setting_handles(marker="o", ms=6, lw=1.6))
    return figure


def bias_curves(table: pd.DataFrame, over: str) -> Figure:
    """Shape bias over the size of blocks ("block") or of pictures ("size"), of the models of each architecture and of
    the judge, with 95% intervals over images, and single seeds as thin lines; the size of the claim is marked. table:
    `05_curves`."""
    table = style.select(table, over=over)
    judge = style.select(table, arch="judge")
    label = {"block": "block size [px, in images of 160 px]", "size": "shown at [px]"}[over]
    size = 4.4, 4.6, 0.6
    figure, panels = style.arch_columns(table.drop(judge.index), size, (label, "shape bias [%]"), sharey=True)
    judges = {"judge": judge}
    if over == "block":  # at the size at which they are made, and at that of the study
        judges = {f"judge, {pixels} px": rows for pixels, rows in sorted(judge.groupby("shown"), reverse=True)}
    lines = dict(zip(judges, ("-", "--"), strict=False))
    for axis, of_arch in panels:
        axis.axvline(table.loc[table["of_claim"], "at"].iloc[0], color=style.GREY, lw=1)
        axis.axhline(VALID, color=style.GREY, ls=":", lw=1.5)
        for name, rows in judges.items():
            _curve(axis, rows, style.INK, lines[name])
        for setting in SETTINGS:
            rows = style.select(of_arch, setting=setting)
            _curve(axis, style.select(rows, seed="all"), style.COLORS[setting], "-")
            for _, run in rows[rows["seed"] != "all"].groupby("seed"):
                axis.plot(run["at"], run["shape_bias"], color=style.COLORS[setting], lw=0.7, alpha=0.6)
        axis.set(xscale="log", ylim=(-3, 103))
        axis.set_xticks(sorted(judge["at"].unique()), [f"{at:g}" for at in sorted(judge["at"].unique())])
        axis.minorticks_off()
    handles = [style.handle(name, style.INK, ls=line, marker="o", ms=4) for name, line in lines.items()]
    handles.append(style.handle("single seeds", style.LIGHT, lw=0.7))
    handles.append(style.handle(f"judge's limit, {VALID:g}%", style.GREY, ls=":", lw=1.5))
    handles.append(style.handle(f"{over} of the claim", style.GREY, lw=1))
    style.legend(figure, [*style.setting_handles(marker="o", ms=4), *handles], ncols=4)
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, color: str, line: str) -> None:
    """A line with a band from low to high."""
    axis.plot(rows["at"], rows["shape_bias"], line, marker="o", color=color, ms=4)
    axis.fill_between(rows["at"], rows["low"], rows["high"], color=color, alpha=0.15, lw=0)


def _interval(axis: Axes, rows: pd.DataFrame, value: str, height: float, color: str, fill: str = "") -> None:
    """A point with its interval for all seeds, and a small mark for each."""
    pooled = style.select(rows, seed="all")
    for found in rows.drop(pooled.index)[value]:
        axis.plot(found, height, "|", color=color, ms=5.8, mew=1, zorder=3)
    for row in pooled.to_dict("records"):
        axis.hlines(height, row["low"], row["high"], color=color, lw=1.6)
        axis.plot(row[value], height, "o", color=color, mfc=fill or color, ms=6.5, zorder=2)


def check_plots(checked: pd.DataFrame, checks: pd.DataFrame, chance: float, named: np.ndarray | None = None) -> Figure:
    """Whether the images count as stylized: `05_checked` and `05_checks`; chance: to be right, in percent; named:
    which photographs the judge named rightly before and after, where `05_checks` has a row of it."""
    ratios = [1.3, 1.3, *[0.8] * (len(checks) - 2)]
    figure, axes = style.new_figure(1, len(checks), 4 * sum(ratios), 3.7, gridspec_kw={"width_ratios": ratios})
    texture, shape, small = axes[:3]
    distances = {
        "original and style": ("patches_before", _BEFORE),
        "stylized and style": ("patches_to_style", style.GREEN),
        "stylized and original": ("patches_to_content", style.PURPLE),
    }
    farthest = checked[[column for column, _ in distances.values()]].max().max()
    agreements = {
        "stylized and style": ("edges_style", style.GREEN),
        "stylized and original": ("edges_content", style.PURPLE),
    }
    for axis, columns, label, first, last in (
        (texture, distances, "distance of patches", 0, farthest),
        (shape, agreements, "correlation of edges", -1, 1),
    ):
        for title, (column, color) in columns.items():
            axis.hist(checked[column], np.linspace(first, last, 41), color=color, alpha=0.65, label=title)
        axis.legend(loc="best", fontsize=9)
        axis.set(xlabel=label, ylabel="images")
    before = 100 * checked[["patch_right_before", "patch_right"]].astype(float).mean()
    accuracies = {"patch classifier": (small, before)} | (
        {} if named is None else {"judge": (axes[3], 100 * named.mean(0))}
    )
    for name, (axis, values) in accuracies.items():
        bars = axis.bar(["original", "stylized"], values, 0.6, color=[_BEFORE, style.GREEN])
        axis.bar_label(bars, fmt="%.0f" if chance >= 1 else "%.1f", padding=2, fontsize=10)
        axis.axhline(chance, color=style.INK, ls=":", lw=1.5, label="chance")
        axis.set(ylim=(0, 108), ylabel=f"{name}, top-1 [%]")
        axis.grid(visible=False, axis="x")
        axis.legend()
    for axis, row in zip(axes, checks.itertuples(), strict=True):
        outcome, color = ("passed", style.INK) if row.passed else ("FAILED", style.WRONG)
        axis.set_title(f"{row.check}: {outcome}", color=color)
    return figure


def findings(checks: pd.DataFrame) -> str:
    """What every check found, a line each, and whether the images count as stylized. checks: `05_checks`."""
    lines = [f"{'passed' if row.passed else 'FAILED'}: {row.check}: {row.finding}" for row in checks.itertuples()]
    failed = ", ".join(checks[~checks["passed"]]["check"])
    in_all = f"The images do NOT count as stylized: {failed}" if failed else "The images count as stylized."
    return "\n".join([*lines, in_all])


def table_2(table: pd.DataFrame) -> pd.DataFrame:
    """Table 2 in the paper's layout: architecture, setting and metric against variants; mean (range) over seeds."""
    strongest = table[(table["variant"] != STYLIZED) | (table["strength"] == 1)]
    cells = style.summary(strongest, ["arch", "setting", "variant"], ["top1", "top5"]).rename_axis(columns="metric")
    wide = cells.stack().unstack("variant", sort=False)[[STANDARD, REVERSED, STYLIZED]]
    names = {"top1": "top-1 [%]", "top5": "top-5 [%]"}
    return wide.rename(index=names).rename_axis(index=[None] * 3, columns=None)


def decisions(table: pd.DataFrame) -> pd.DataFrame:
    """What decided over the cue conflicts, in percent, and the shape bias with its 95% interval; by seed."""
    keys = ["arch", "setting"]
    every = style.select(table, **{"class": "all"})
    rows = style.select(every, seed="all").set_index(keys)
    shown = rows[["by_shape", "by_texture"]].round(1).set_axis(["by shape", "by texture"], axis=1)
    shown["by neither"] = (100 - rows["by_shape"] - rows["by_texture"]).round(1)
    shown["shape bias"] = [
        f"{row.shape_bias:.1f}" + (f" [{row.low:.1f}, {row.high:.1f}]" if np.isfinite(row.low) else ", no interval")
        for row in rows.itertuples()
    ]
    seeds = every[every["seed"] != "all"].groupby(keys)["shape_bias"]
    if len(seeds):
        shown["each seed"] = seeds.agg(lambda column: ", ".join(f"{value:.1f}" for value in column))
    return shown.rename(index=ARCH_NAMES | NAMES).rename_axis(index=[None] * 2)
