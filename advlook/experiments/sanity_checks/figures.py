"""Figures and summary of notebook 07: maps on models of different parameters, side by side, and how alike they are."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.data import ImageSet, to_float
from advlook.experiments.sanity_checks.measure import Maps, effects, image_means, means
from advlook.sensitivity import TITLES
from advlook.sensitivity.similarity import MEASURES, pictures, similarity
from advlook.stats import labelled
from advlook.study import style

_COLORS = "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#000000"
METHOD_STYLES = dict(zip(TITLES, zip(_COLORS, "sDo^v", strict=True), strict=True))
_NAMES = "Spearman, signed", "Spearman, absolute", "SSIM, signed", "SSIM, absolute"
MEASURE_NAMES = dict(zip(MEASURES, _NAMES, strict=True))
SHOWN_MEASURES = ("spearman_abs", "ssim_abs")  # of absolute values; those of signed ones are in the table
KIND_NAMES = NAMES | {"random": "untrained"}
PAIRS = {  # what is compared, from the top of the figure down: pairs of kinds, then the controls
    "random-std": ("untrained - STD", style.COLORS["std"]),
    "random-adv": ("untrained - ADV", style.COLORS["adv"]),
    "std-adv": ("STD - ADV", style.PURPLE),
    "std-std": ("STD, other seed", style.COLORS["std"]),
    "adv-adv": ("ADV, other seed", style.COLORS["adv"]),
    "random-random": ("untrained, other seed", style.COLORS["random"]),
}
_AS_TRAINED = pd.DataFrame([{"stage": "none", "mean": 1.0, "low": 1.0, "high": 1.0}])


def conclusions(table: pd.DataFrame, measure: str = "spearman_abs") -> pd.DataFrame:
    """To be read: similarities of a trained model's maps to those with all stages fresh (the end of the cascade), of
    untrained models and of other seeds, with 95% intervals; "difference": the effect, that of the last two."""
    rows = labelled(table[table["measure"] == measure])
    pairs = {f"random-{setting}": "untrained" for setting in SETTINGS}
    pairs |= {f"{setting}-{setting}": "other seed" for setting in SETTINGS}
    lowest = rows["arch"].map(style.select(rows, comparison="up").groupby("arch")["stage"].last())
    whole = (rows["comparison"] == "up") & (rows["stage"] == lowest)
    rows["against"] = rows["comparison"].map(pairs).mask(whole, "all stages fresh")
    by = ["arch", "setting", "method"]
    found = means(rows.dropna(subset=["against"]), [*by, "against"])
    shown = found.set_index([*by, "against"]).apply(_text, axis=1).unstack()
    effect = effects(table[table["measure"] == measure]).set_index(by).rename(columns={"effect": "mean"})
    shown = shown.reindex(index=effect.index, columns=["all stages fresh", "untrained", "other seed"])
    return shown.astype(object).fillna("-").assign(difference=effect.apply(_text, axis=1))


def maps_by_kind(shown: ImageSet, maps: Mapping[str, Maps]) -> Figure:
    """For each image its maps on the untrained, the STD and the ADV model. maps: by kind of model, then by method."""
    methods = list(next(iter(maps.values())))
    figure, lines = style.blocks([len(maps)] * len(shown), [1, len(methods)], 1.6, 1.68)
    for middle, image, label in zip(
        lines[len(maps) // 2 :: len(maps), 0], to_float(shown.images), shown.labels, strict=True
    ):
        style.show(middle, image)
        text = middle.text(0.5, 1.04, shown.classes[label], transform=middle.transAxes, ha="center")
        text.set_in_layout(False)  # or the whole row would move down for it
    for (place, kind), line in zip(product(range(len(shown)), maps), lines[:, 1:], strict=True):
        line[0].set_ylabel(KIND_NAMES[kind], color=style.COLORS[kind], fontweight="bold")
        for axis, method in zip(line, methods, strict=True):
            _grey(axis, maps[kind][method][place])
    for axis, method in zip(lines[0, 1:], methods, strict=True):
        axis.set_title(TITLES.get(method, method), fontsize=10)
    return figure


def similarities(table: pd.DataFrame) -> Figure:
    """How alike the maps of two models are, a row a method, a column a measure, a line a kind of pair: the mean over
    images with a 95% interval, and the middle half of images, pale. table: `07_sanity`."""
    rows = labelled(table)
    rows = rows[rows["comparison"].isin(PAIRS)]
    archs, methods = (list(rows[column].unique()) for column in ("arch", "method"))
    pairs = [pair for pair in PAIRS if pair in set(rows["comparison"])]
    height = max(2.1, 0.24 * len(pairs) * max(1.0, 0.75 * len(archs)) + 0.35)  # at least that of the longest name
    size = 11.5, height * len(methods) + 1.1
    figure, axes = style.new_figure(len(methods), len(SHOWN_MEASURES), *size, sharex=True, sharey=True)
    for axis, (method, measure) in zip(axes, product(methods, SHOWN_MEASURES), strict=True):
        for (arch, pair), group in style.select(rows, method=method, measure=measure).groupby(["arch", "comparison"]):
            place, color = pairs.index(pair) + 0.36 * (archs.index(arch) - (len(archs) - 1) / 2), PAIRS[pair][1]
            each, spread = image_means(group), means(group, ["arch"]).iloc[0]
            axis.plot(np.nanpercentile(each, [25, 75]), [place, place], color=color, alpha=0.35, lw=6, zorder=1)
            axis.plot(spread[["low", "high"]], [place, place], color=style.INK, lw=1.6, zorder=2)
            drawn = {"ms": 5.5, "mec": style.INK, "mew": 0.9, "zorder": 3}
            axis.plot(spread["mean"], place, style.ARCH_STYLES[arch][1], color=color, **drawn)
        axis.axvline(0, color=style.GREY, lw=1, zorder=0)
        axis.axhline(sum("other" not in PAIRS[pair][0] for pair in pairs) - 0.5, color=style.LIGHT, lw=1, zorder=0)
        axis.grid(visible=False, axis="y")
    axes[0].set(ylim=(len(pairs) - 0.45, -0.55), yticks=range(len(pairs)), yticklabels=[PAIRS[p][0] for p in pairs])
    axes[0].set_xlim(right=1.03)
    beside = [TITLES.get(method, method) for method in methods]
    style.label_outer(axes, [MEASURE_NAMES[measure] for measure in SHOWN_MEASURES], "similarity", beside)
    markers, drawn = {ARCH_NAMES[arch]: style.ARCH_STYLES[arch][1] for arch in archs}, {"ls": "", "mec": style.INK}
    handles = [style.handle(name, style.LIGHT, marker=marker, **drawn) for name, marker in markers.items()]
    handles.append(style.handle("middle half of images", style.GREY, lw=6, alpha=0.35))
    style.legend(figure, [*handles, style.handle("95% interval of the mean", style.INK, lw=1.6)])
    return figure


def over_stages(table: pd.DataFrame) -> Figure:
    """Similarity to the maps of the trained model over the lowest stage that is fresh, with 95% intervals. table:
    `07_sanity`."""
    rows, measures = style.select(labelled(table), comparison="up"), SHOWN_MEASURES
    archs, settings = (rows[column].unique() for column in ("arch", "setting"))
    panels = list(product(archs, measures, settings))
    count = len(archs) * len(measures)
    figure, axes = style.new_figure(count, len(settings), 10.5, 2.75 * count + 0.9, sharey=True)
    below = "fresh from this stage up to the output"
    names = [MEASURE_NAMES[measure] for measure in measures] * len(archs)
    style.label_outer(axes, [""] * len(settings), f"{below} (output side first)", names)
    for axis, (arch, measure, setting) in zip(axes, panels, strict=True):
        chosen = style.select(rows, arch=arch, measure=measure, setting=setting)
        for method, curve in means(chosen, ["method", "stage"]).groupby("method", sort=False):
            color, marker = METHOD_STYLES.get(method, (style.COLORS["random"], "x"))
            curve = pd.concat([_AS_TRAINED, curve])
            front = 3 if method == "guided_backprop" else 2
            axis.plot(curve["stage"], curve["mean"], color=color, marker=marker, ms=5, zorder=front)
            axis.fill_between(curve["stage"], curve["low"], curve["high"], color=color, alpha=0.18, lw=0)
        axis.set_title(f"{ARCH_NAMES[arch]} {NAMES[setting]}")
        style.slant(axis, 10)
    axes[0].set_ylim(top=1.03)
    known = {TITLES[method]: METHOD_STYLES[method] for method in rows["method"].unique() if method in METHOD_STYLES}
    style.legend(figure, [style.handle(title, color, marker=m, ms=5) for title, (color, m) in known.items()])
    return figure


def cascade_pictures(shown: ImageSet, maps: Mapping[str, Mapping[str, Maps]]) -> Figure:
    """Maps over the stages down to which a network is fresh, and their Spearman correlation (absolute values) with the
    trained model's. maps: by setting, then as of `measure.cascade_maps`, of all images `shown`."""
    first = next(iter(maps.values()))
    names, methods = list(first), list(next(iter(first.values())))
    rows = list(product(range(len(shown)), methods, maps))
    figure, lines = style.blocks([len(rows)], [1 + len(names)], 1.28, 1.55)
    for (image, method, setting), line in zip(rows, lines, strict=True):
        style.show(line[0], to_float(shown.images)[image])
        line[0].set_ylabel(f"{TITLES.get(method, method)}\n{NAMES[setting]}", color=style.COLORS[setting], fontsize=10)
        changed = {name: maps[setting][name][method][image : image + 1] for name in names}
        for axis, (name, one) in zip(line[1:], changed.items(), strict=True):
            _grey(axis, one[0])
            if name != "as trained":
                alike = similarity(changed["as trained"], one)["spearman_abs"].item()
                axis.set_xlabel(f"{alike:.2f}", fontsize=10, labelpad=2)
    titles = ["image", *(name if name == "as trained" else f"{name} up".replace("..", "..\n") for name in names)]
    for axis, title in zip(lines[0], titles, strict=True):
        axis.set_title(title, fontsize=11)
    return figure


def _grey(axis: Axes, one: Tensor) -> None:
    """Absolute values of a map `(3, H, W)`, summed over channels: white is 0, black their 99th percentile."""
    axis.set_frame_on(True)
    axis.imshow(pictures(one.abs().sum(0)[None], signed=False)[0], cmap="gray_r", vmin=0, vmax=1)


def _text(row: pd.Series) -> str:
    return "-" if np.isnan(row["mean"]) else f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
