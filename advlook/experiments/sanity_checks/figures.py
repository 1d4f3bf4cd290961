"""Figures and summary of notebook 07: maps on models of different parameters, side by side, and how alike they are."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from advlook.core.names import ARCH_NAMES
from advlook.core.presets import SETTINGS
from advlook.data.image_sets import ImageSet, to_float
from advlook.experiments.sanity_checks.measure import Maps, effects, means
from advlook.sensitivity.maps import TITLES
from advlook.sensitivity.similarity import MEASURES, pictures, similarity
from advlook.stats.paired import labelled
from advlook.study.style import ARCH_STYLES, COLORS, bare, new_figure

METHOD_STYLES = {
    "vanilla_gradient": ("#E69F00", "s"),
    "loss_gradient": ("#CC79A7", "D"),
    "guided_backprop": ("#009E73", "o"),
    "smooth_grad": ("#56B4E9", "^"),
    "integrated_gradients": ("#000000", "v"),
}
MEASURE_NAMES = dict(
    zip(MEASURES, ("Spearman, signed", "Spearman, absolute", "SSIM, signed", "SSIM, absolute"), strict=True)
)
KIND_NAMES = {"random": "untrained", "std": "STD", "adv": "ADV"}
# What is compared, from the top of the figure down: pairs of kinds, then the controls.
PAIRS = {
    "random-std": ("untrained - STD", "#D55E00"),
    "random-adv": ("untrained - ADV", "#0072B2"),
    "std-adv": ("STD - ADV", "#8C6BB1"),
    "std-std": ("STD, other seed", "#D55E00"),
    "adv-adv": ("ADV, other seed", "#0072B2"),
    "random-random": ("untrained, other seed", "#7F7F7F"),
}


def conclusions(table: pd.DataFrame, measure: str = "spearman_abs") -> pd.DataFrame:
    """To be read: mean similarities of a trained model's maps, with 95% intervals, and the verdict of `sanity.effects`.

    One row an arch, setting and method; what they are compared with: the model with "all stages fresh", the end of the
    cascade; "untrained" and "other seed", the pairs. "difference" is that of the last two.
    """
    rows = labelled(table[table["measure"] == measure])
    lowest = rows[rows["comparison"] == "up"].groupby("arch")["stage"].last()
    whole = (rows["comparison"] == "up") & (rows["stage"] == rows["arch"].map(lowest))
    pairs = {
        f"{first}-{setting}": name
        for setting in SETTINGS
        for first, name in (("random", "untrained"), (setting, "other seed"))
    }
    rows["against"] = rows["comparison"].map(pairs).mask(whole, "all stages fresh")
    by = ["arch", "setting", "method"]
    found = means(rows.dropna(subset=["against"]), [*by, "against"])
    shown = found.set_index([*by, "against"]).apply(_text, axis=1).unstack()
    effect = effects(table[table["measure"] == measure]).set_index(by).rename(columns={"effect": "mean"})
    shown = shown.reindex(index=effect.index, columns=["all stages fresh", "untrained", "other seed"])
    shown = shown.astype(object).fillna("-")
    return shown.assign(difference=effect.apply(_text, axis=1), verdict=effect["verdict"])


def maps_by_kind(shown: ImageSet, maps: Mapping[str, Maps]) -> Figure:
    """Rows: for each image its maps on the untrained, the STD and the ADV model; columns: the methods.

    maps: by kind of model, then by method, of all images `shown`. Absolute values summed over channels, each map on
    its own scale (`sanity.pictures`): white is 0, black its 99th percentile.
    """
    methods, rows = list(next(iter(maps.values()))), len(maps)
    heights = ([1.0] * rows + [0.12]) * len(shown)  # a gap below the maps of each image
    figure, axes = new_figure(
        len(heights), 1 + len(methods), 10.5, 1.68 * sum(heights) + 0.4, gridspec_kw={"height_ratios": heights}
    )
    bare(axes)
    grid = np.array(axes).reshape(len(shown), rows + 1, 1 + len(methods))
    for axis in grid[:, rows].flat:
        axis.set_axis_off()
    for place, image in enumerate(to_float(shown.images)):
        for axis in grid[place, :, 0]:
            axis.set_axis_off()
        middle = grid[place, rows // 2, 0]
        middle.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        label = middle.text(0.5, 1.04, shown.classes[shown.labels[place]], transform=middle.transAxes, ha="center")
        label.set_in_layout(False)  # or the whole row would move down for it
        for row, (kind, by_method) in enumerate(maps.items()):
            grid[place, row, 1].set_ylabel(KIND_NAMES[kind], color=COLORS[kind], fontweight="bold")
            for axis, method in zip(grid[place, row, 1:], methods, strict=True):
                _grey(axis, by_method[method][place])
    for axis, method in zip(grid[0, 0, 1:], methods, strict=True):
        axis.set_title(TITLES.get(method, method), fontsize=10)
    return figure


def similarities(table: pd.DataFrame) -> Figure:
    """How alike the maps of two models are: a row of panels a method, a column a measure, a line a kind of pair.

    Faint points are images (mean over the pairs of that kind), marked points their mean with a 95% interval.
    table: `07_sanity`.
    """
    rows = labelled(table)
    rows = rows[rows["comparison"].isin(PAIRS)]
    archs, methods = (list(dict.fromkeys(rows[column])) for column in ("arch", "method"))
    pairs = [pair for pair in PAIRS if pair in set(rows["comparison"])]
    height = max(2.1, 0.24 * len(pairs) * max(1.0, 0.75 * len(archs)) + 0.35)  # at least that of the longest name
    figure, axes = new_figure(len(methods), len(MEASURES), 11.5, height * len(methods) + 1.1, sharex=True, sharey=True)
    panels = [(method, measure) for method in methods for measure in MEASURES]
    for axis, (method, measure) in zip(axes, panels, strict=True):
        chosen = rows[(rows["method"] == method) & (rows["measure"] == measure)]
        images = chosen.groupby(["arch", "comparison", "image"])["value"].mean().reset_index()
        spread = means(chosen, ["arch", "comparison"]).set_index(["arch", "comparison"])
        for (arch, pair), group in images.groupby(["arch", "comparison"]):
            place = pairs.index(pair) + 0.36 * (archs.index(arch) - (len(archs) - 1) / 2)
            color, marker = PAIRS[pair][1], ARCH_STYLES[arch][1]
            axis.plot(group["value"], [place] * len(group), "|", color=color, alpha=0.3, ms=6, zorder=1)
            mean, low, high, _ = spread.loc[(arch, pair)]
            axis.plot([low, high], [place, place], color="#222222", lw=1.6, zorder=2)
            axis.plot(mean, place, marker, color=color, ms=5.5, mec="#222222", mew=0.9, zorder=3)
        axis.axvline(0, color="#888888", lw=1, zorder=0)
        axis.axhline(sum("other" not in PAIRS[pair][0] for pair in pairs) - 0.5, color="#CCCCCC", lw=1, zorder=0)
        axis.set_yticks(range(len(pairs)), [PAIRS[pair][0] for pair in pairs])
        axis.grid(visible=False, axis="y")
    axes[0].set_ylim(len(pairs) - 0.45, -0.55)
    axes[0].set_xlim(right=1.03)
    for axis, measure in zip(axes, MEASURES, strict=False):
        axis.set_title(MEASURE_NAMES[measure])
    for axis, method in zip(axes[:: len(MEASURES)], methods, strict=True):
        axis.set_ylabel(TITLES.get(method, method), fontweight="bold")
    for axis in axes[-len(MEASURES) :]:
        axis.set_xlabel("similarity")
    handles = [
        Line2D([], [], color="#AAAAAA", mec="#222222", marker=ARCH_STYLES[a][1], ls="", label=ARCH_NAMES[a])
        for a in archs
    ]
    handles.append(Line2D([], [], color="#888888", marker="|", ls="", ms=8, label="one image"))
    handles.append(Line2D([], [], color="#222222", lw=1.6, label="95% interval of the mean"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def over_stages(table: pd.DataFrame, comparison: str, measures: Sequence[str] = ("spearman_abs", "ssim_abs")) -> Figure:
    """Similarity to the maps of the trained model over the stage that is fresh; lines are means, bands 95% intervals.

    comparison: "up", where every stage nearer to the output is fresh too, or "alone". A row of panels an architecture
    and measure, a column a setting.
    table: `07_sanity`.
    """
    rows = labelled(table)
    rows = rows[rows["comparison"] == comparison]
    archs, settings = (list(dict.fromkeys(rows[column])) for column in ("arch", "setting"))
    panels = [(arch, measure, setting) for arch in archs for measure in measures for setting in settings]
    count = len(archs) * len(measures)
    figure, axes = new_figure(count, len(settings), 10.5, 2.75 * count + 0.9, sharey=True)
    for axis, (arch, measure, setting) in zip(axes, panels, strict=True):
        chosen = rows[(rows["arch"] == arch) & (rows["measure"] == measure) & (rows["setting"] == setting)]
        names = list(dict.fromkeys(chosen["stage"]))
        for method, curve in means(chosen, ["method", "stage"]).groupby("method", sort=False):
            color, marker = METHOD_STYLES.get(method, ("#7F7F7F", "x"))
            values = curve.set_index("stage").loc[names, ["mean", "low", "high"]]
            if comparison == "up":
                values.loc["none"] = 1.0
                values = values.loc[["none", *names]]
            places = range(len(values))
            front = 3 if method == "guided_backprop" else 2
            line = {"ls": "-"} if comparison == "up" else {"ls": ":", "lw": 1.2}
            axis.plot(places, values["mean"], color=color, marker=marker, ms=5, zorder=front, **line)
            axis.fill_between(places, values["low"], values["high"], color=color, alpha=0.18, lw=0)
        axis.set_xticks(places, values.index)
        axis.set_title(f"{ARCH_NAMES[arch]} {setting.upper()}")
    axes[0].set_ylim(top=1.03)
    for place in range(count):
        axes[place * len(settings)].set_ylabel(MEASURE_NAMES[measures[place % len(measures)]])
    below = {"up": "fresh from this stage up to the output", "alone": "the one stage that is fresh"}[comparison]
    for axis in axes[-len(settings) :]:
        axis.set_xlabel(f"{below} (output side first)")
    handles = [
        Line2D([], [], color=METHOD_STYLES[method][0], marker=METHOD_STYLES[method][1], ms=5, label=TITLES[method])
        for method in dict.fromkeys(rows["method"])
        if method in METHOD_STYLES
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def cascade_pictures(shown: ImageSet, maps: Mapping[str, Mapping[str, Maps]]) -> Figure:
    """The cascade to look at: columns are the stages down to which a network is fresh, rows method, setting and image.

    maps: by setting ("std", "adv"), then as `sanity.cascade_maps` gives them, of all images `shown`. Absolute values,
    each map on its own scale; below it its Spearman correlation (absolute values) with the one of the trained model.
    """
    first = next(iter(maps.values()))
    names, methods = list(first), list(next(iter(first.values())))
    rows = [(image, method, setting) for image in range(len(shown)) for method in methods for setting in maps]
    width = 1 + len(names)
    figure, axes = new_figure(len(rows), width, 1.28 * width + 0.5, 1.55 * len(rows) + 0.4)
    bare(axes)
    for row, (image, method, setting) in enumerate(rows):
        line = axes[row * width : (row + 1) * width]
        line[0].imshow(to_float(shown.images)[image].permute(1, 2, 0).numpy(), interpolation="nearest")
        line[0].set_ylabel(f"{TITLES.get(method, method)}\n{setting.upper()}", color=COLORS[setting], fontsize=10)
        trained = maps[setting]["as trained"][method][image : image + 1]
        for axis, name in zip(line[1:], names, strict=True):
            changed = maps[setting][name][method][image : image + 1]
            _grey(axis, changed[0])
            if name != "as trained":
                axis.set_xlabel(f"{similarity(trained, changed)['spearman_abs'].item():.2f}", fontsize=10, labelpad=2)
    axes[0].set_title("image", fontsize=11)
    for axis, name in zip(axes[1:width], names, strict=True):
        axis.set_title(name if name == "as trained" else f"{name} up", fontsize=11)
    return figure


def _grey(axis: Axes, one: Tensor) -> None:
    """A map `(3, H, W)` as absolute values: white for 0."""
    axis.imshow(pictures(one.abs().sum(0)[None], signed=False)[0], cmap="gray_r", vmin=0, vmax=1)


def _text(row: pd.Series) -> str:
    return "-" if np.isnan(row["mean"]) else f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
