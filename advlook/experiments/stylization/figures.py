"""The plots of notebook 05: stylized images, accuracy over their strength, shape bias, and the checks of the images.

Drawn from images or from the tables `05_stylization`, `05_differences`, `05_shape_bias`, `05_checked`, `05_checks` and
`05_sentences`; nothing is computed here but means over seeds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from advlook.core.names import ARCH_NAMES, NAMES, REVERSED, STANDARD, STYLIZED
from advlook.core.presets import SETTINGS
from advlook.experiments.stylization.measure import Shown
from advlook.study.style import COLORS, bare, new_figure, picture, summary

_TO_STYLE, _TO_CONTENT, _BEFORE = "#009E73", "#8C6BB1", "#999999"
_SHIFT = {"std": 0.17, "adv": -0.17}
_CLASSES = 24  # at most, in the figure of the shape bias


# To be seen --------------------------------------------------------------------------------------------------------


def picture_grid(shown: Shown) -> Figure:
    """A column an image, its class above, and a row each thing that is shown of it."""
    count = len(shown.names)
    figure, axes = new_figure(len(shown.pictures), count, 1.3 * count + 0.5, 1.32 * len(shown.pictures) + 0.5)
    grid = np.array(axes).reshape(len(shown.pictures), count)
    bare(axes, frame=False)
    for (title, pictures), line in zip(shown.pictures.items(), grid, strict=True):
        line[0].set_ylabel(title)
        for image, axis in zip(pictures, line, strict=True):
            picture(axis, image)
    for name, axis in zip(shown.names, grid[0], strict=True):
        axis.set_title(name, fontsize=9.5, fontweight="normal")
    return figure


def strength_curves(table: pd.DataFrame, differences: pd.DataFrame, chance: float) -> Figure:
    """Top-1 over the strength of the style, as it is and in percent of the control; below each ADV - STD.

    Above: the mean over seeds with their range, dotted the `chance` [%] to be right. Below: 95% intervals over images;
    grey lines are single seeds.
    table: `05_stylization`; differences: `05_differences`.
    """
    table, differences = (rows[rows["variant"] == STYLIZED] for rows in (table, differences))
    table = table.assign(relative=100 * table["top1"] / table["control"].replace(0, np.nan))
    panels = [(arch, measure) for arch in dict.fromkeys(table["arch"]) for measure in ("accuracy", "relative")]
    figure, axes = new_figure(
        2, len(panels), 3.5 * len(panels) + 0.6, 6.0, sharex=True, sharey="row", gridspec_kw={"height_ratios": [1.5, 1]}
    )
    for (arch, measure), above, below in zip(panels, axes[: len(panels)], axes[len(panels) :], strict=True):
        rows = table[table["arch"] == arch]
        for setting in SETTINGS:
            _curve(above, rows[rows["setting"] == setting], "top1" if measure == "accuracy" else measure, setting)
        if measure == "accuracy":
            above.axhline(chance, color="#888888", ls=":", lw=1.5)
        of_arch = differences[(differences["arch"] == arch) & (differences["measure"] == measure)]
        _differences(below, of_arch)
        above.set_title(f"{ARCH_NAMES[arch]}\n{'top-1 [%]' if measure == 'accuracy' else 'top-1 [% of the control]'}")
        above.set_ylim(-2, 108)
        below.set(xlabel="strength", xticks=sorted(table["strength"].unique()))
    axes[0].set_ylabel("accuracy")
    axes[len(panels)].set_ylabel("ADV - STD\n[points]")
    handles = [Line2D([], [], color=COLORS[s], marker="o", ms=5, label=NAMES[s]) for s in SETTINGS]
    handles += [
        Line2D([], [], color="#888888", ls=":", lw=1.5, label="chance"),
        Line2D([], [], color="#222222", marker="o", ms=4, label="difference, 95% interval"),
        Line2D([], [], color="#AAAAAA", lw=1, label="single seeds"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def variant_differences(differences: pd.DataFrame) -> Figure:
    """ADV - STD on the variants of Table 2, a panel an architecture: filled as they are, hollow in percent of the own.

    Bars are 95% intervals over images, small marks single seeds. differences: `05_differences`.
    """
    lines = [(STANDARD, 0.0), (REVERSED, 0.0), (STYLIZED, 1.0)]
    archs = list(dict.fromkeys(differences["arch"]))
    figure, axes = new_figure(1, len(archs), 4.3 * len(archs) + 1.2, 3.2, sharex=True, sharey=True)
    for arch, axis in zip(archs, axes, strict=True):
        axis.axvline(0, color="#888888", lw=1.2)
        for height, (variant, strength) in enumerate(reversed(lines)):
            rows = differences[(differences["arch"] == arch) & (differences["variant"] == variant)]
            rows = rows[rows["strength"] == strength]
            for measure, shift, fill in (("accuracy", 0.14, "#222222"), ("relative", -0.14, "white")):
                if measure == "accuracy" or variant != STANDARD:  # to itself nothing is relative
                    _interval(axis, rows[rows["measure"] == measure], "difference", height + shift, "#222222", fill)
        axis.set_yticks(range(len(lines)), [variant for variant, _ in reversed(lines)])
        axis.set(ylim=(-0.6, len(lines) - 0.4), title=ARCH_NAMES[arch], xlabel="ADV ahead by [points]")
        axis.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color="#222222", marker="o", ms=6, ls="", mfc=fill, label=label)
        for fill, label in (("#222222", "top-1"), ("white", "top-1 in percent of the model's own on standard images"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def shape_bias(table: pd.DataFrame) -> Figure:
    """Shape bias of STD and ADV, over all cue conflicts and by the class of the shape; beside it how many they decide.

    Bars are 95% intervals over images, small marks single seeds. Of many classes those with the most images are shown.
    table: `05_shape_bias`.
    """
    archs, known = (list(dict.fromkeys(table[column])) for column in ("arch", "class"))
    largest = set(table.groupby("class", sort=False)["images"].first().nlargest(_CLASSES + 1).index)  # "all" is first
    classes = [name for name in known if name in largest]
    figure, axes = new_figure(
        1,
        2 * len(archs),
        5.6 * len(archs) + 1.4,
        0.42 * len(classes) + 1.7,
        sharey=True,
        gridspec_kw={"width_ratios": [2, 1] * len(archs)},
    )
    for arch, bias, share in zip(archs, axes[::2], axes[1::2], strict=True):
        for place, name in enumerate(classes):
            for setting in SETTINGS:
                rows = table[(table["arch"] == arch) & (table["class"] == name) & (table["setting"] == setting)]
                height = len(classes) - 1 - place + _SHIFT[setting]
                _interval(bias, rows, "shape_bias", height, COLORS[setting], COLORS[setting])
                pooled = rows[rows["seed"].astype(str) == "all"]
                share.barh(height, pooled["by_shape"] + pooled["by_texture"], 0.3, color=COLORS[setting])
        bias.axvline(50, color="#888888", lw=1.2)
        bias.set(xlim=(-3, 103), title=ARCH_NAMES[arch], xlabel="← texture      shape bias [%]      shape →")
        share.set(xlim=(0, 103), xlabel="decided by either [%]")
        for axis in (bias, share):
            axis.axhline(len(classes) - 1.5, color="#888888", lw=0.8)
            axis.grid(visible=False, axis="y")
    names = ["all classes" if name == "all" else name for name in classes]
    axes[0].set_yticks(range(len(classes)), names[::-1])
    axes[0].set_ylim(-0.6, len(classes) - 0.4)
    handles = [Line2D([], [], color=COLORS[s], marker="o", ms=6, lw=1.6, label=NAMES[s]) for s in SETTINGS]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def check_plots(checked: pd.DataFrame, verdicts: pd.DataFrame, chance: float) -> Figure:
    """Whether the images count as stylized: distances of patches, agreement of edges, accuracy by small patches alone.

    checked: `05_checked`; verdicts: `05_checks`; chance: to be right, in percent.
    """
    figure, (texture, shape, small) = new_figure(1, 3, 13.5, 3.7, gridspec_kw={"width_ratios": [1.3, 1.3, 0.8]})
    distances = {
        "before, to the style": ("patches_before", _BEFORE),
        "after, to the style": ("patches_to_style", _TO_STYLE),
        "after, to the content": ("patches_to_content", _TO_CONTENT),
    }
    farthest = checked[[column for column, _ in distances.values()]].max().max()
    _histograms(texture, checked, distances, np.linspace(0, farthest, 41))
    texture.set(xlabel="distance of patches", ylabel="images")
    agreements = {"to the style": ("edges_style", _TO_STYLE), "to the content": ("edges_content", _TO_CONTENT)}
    _histograms(shape, checked, agreements, np.linspace(-1, 1, 41))
    shape.set(xlabel="correlation of edges", ylabel="images")
    accuracies = 100 * checked[["patch_right_before", "patch_right"]].astype(float).mean()
    small.bar(["content", "stylized"], accuracies, 0.6, color=[_BEFORE, _TO_STYLE])
    for place, accuracy in enumerate(accuracies):
        small.text(place, accuracy + 1.5, f"{accuracy:.{0 if chance >= 1 else 1}f}", ha="center", fontsize=10)
    small.axhline(chance, color="#222222", ls=":", lw=1.5, label="chance")
    small.set(ylim=(0, 108), ylabel="patch classifier, top-1 [%]")
    small.grid(visible=False, axis="x")
    small.legend()
    for axis, row in zip((texture, shape, small), verdicts.itertuples(), strict=True):
        outcome, color = ("passed", "#222222") if row.passed else ("FAILED", "#B00020")
        axis.set_title(f"{row.check}: {outcome}", color=color)
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, value: str, setting: str) -> None:
    """Mean over seeds, and their range as a band."""
    spread = rows.groupby("strength")[value].agg(["mean", "min", "max"])
    axis.plot(spread.index, spread["mean"], "o-", color=COLORS[setting], ms=5)
    axis.fill_between(spread.index, spread["min"], spread["max"], color=COLORS[setting], alpha=0.18, lw=0)


def _differences(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axhline(0, color="#888888", lw=1)
    for seed, run in rows.groupby(rows["seed"].astype(str)):
        if seed != "all":
            axis.plot(run["strength"], run["difference"], color="#AAAAAA", lw=1, zorder=1)
            continue
        axis.plot(run["strength"], run["difference"], "o-", color="#222222", ms=4)
        axis.fill_between(run["strength"], run["low"], run["high"], color="#222222", alpha=0.15, lw=0)


def _interval(axis: Axes, rows: pd.DataFrame, value: str, height: float, color: str, fill: str) -> None:
    """A point with its interval for all seeds, and a small mark for each; no bar where there is no interval."""
    every = rows["seed"].astype(str) == "all"
    axis.scatter(rows[~every][value], [height] * int((~every).sum()), s=34, marker="|", color=color, zorder=3, lw=1)
    axis.hlines([height] * int(every.sum()), rows[every]["low"], rows[every]["high"], color=color, lw=1.6)
    axis.plot(rows[every][value], [height] * int(every.sum()), "o", color=color, mfc=fill, ms=6.5, zorder=2)


def _histograms(axis: Axes, rows: pd.DataFrame, columns: dict[str, tuple[str, str]], bins: np.ndarray) -> None:
    for label, (column, color) in columns.items():
        axis.hist(rows[column], bins, color=color, alpha=0.65, label=label)
    axis.legend(loc="best", fontsize=9)


# To be read --------------------------------------------------------------------------------------------------------


def findings(verdicts: pd.DataFrame) -> str:
    """What every check found, a line each, and whether the images count as stylized. verdicts: `05_checks`."""
    lines = [f"{'passed' if row.passed else 'FAILED'}: {row.check}: {row.finding}" for row in verdicts.itertuples()]
    failed = ", ".join(verdicts[~verdicts["passed"]]["check"])
    in_all = f"The images do NOT count as stylized: {failed}" if failed else "The images count as stylized."
    return "\n".join([*lines, in_all])


def table_2(table: pd.DataFrame) -> pd.DataFrame:
    """Table 2 as the paper sets it: architecture, setting and metric against variants; mean (and range) over seeds.

    table: `05_stylization`.
    """
    strongest = table[(table["variant"] != STYLIZED) | (table["strength"] == 1)]
    cells = summary(strongest, ["arch", "setting", "variant"], ["top1", "top5"]).rename_axis(columns="metric")
    wide = cells.stack().unstack("variant")[[STANDARD, REVERSED, STYLIZED]]
    archs = dict.fromkeys(table["arch"].map(ARCH_NAMES))
    lines = [(arch, NAMES[setting], metric) for arch in archs for setting in SETTINGS for metric in ("top1", "top5")]
    names = {"top1": "top-1 [%]", "top5": "top-5 [%]"}
    return wide.loc[lines].rename(index=names).rename_axis(index=[None] * 3, columns=None)


def decisions(table: pd.DataFrame) -> pd.DataFrame:
    """What decided over the cue conflicts, in percent, and the shape bias with its 95% interval and that of each seed.

    table: `05_shape_bias`.
    """
    every = table[table["class"] == "all"].assign(seed=lambda rows: rows["seed"].astype(str))
    rows = every[every["seed"] == "all"]
    seeds = every[every["seed"] != "all"].groupby(["arch", "setting"])["shape_bias"]
    shown = pd.DataFrame(
        {
            "by shape": rows["by_shape"].round(1),
            "by texture": rows["by_texture"].round(1),
            "by neither": (100 - rows["by_shape"] - rows["by_texture"]).round(1),
            "shape bias": [
                f"{row.shape_bias:.1f}"
                + (f" [{row.low:.1f}, {row.high:.1f}]" if np.isfinite(row.low) else ", no interval")
                for row in rows.itertuples()
            ],
        }
    )
    keys = pd.MultiIndex.from_frame(rows[["arch", "setting"]])
    shown = shown.set_axis(keys)
    if len(seeds):
        shown["each seed"] = seeds.agg(lambda column: ", ".join(f"{value:.1f}" for value in column)).reindex(keys)
    return shown.rename(index=ARCH_NAMES | NAMES).rename_axis(index=[None] * 2)


def verdicts(sentences: pd.DataFrame) -> pd.DataFrame:
    """A line a sentence, a column an architecture: verdict, ADV - STD with its interval, and each seed's verdict.

    sentences: `05_sentences`.
    """
    shown = {}
    for (sentence, arch), rows in sentences.groupby(["sentence", "arch"], sort=False):
        every = rows["seed"].astype(str) == "all"
        row, each = rows[every].iloc[0], rows[~every]["verdict"]
        text = f"{row['verdict']}: {row['difference']:+.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        shown[sentence, arch] = text + (f"; seeds {', '.join(each)}" if len(each) else "")
    wide = pd.Series(shown).unstack()
    order = (dict.fromkeys(sentences[column]) for column in ("sentence", "arch"))
    index, columns = map(list, order)
    return wide.loc[index, columns].rename(columns=ARCH_NAMES)
