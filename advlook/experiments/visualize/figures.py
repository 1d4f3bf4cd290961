"""The plots of notebook 03: maps, filters and maximising inputs to look at, and the measures of scale.

Drawn from images or from the tables `03_scale` and `03_fourier`; nothing is computed here but means over seeds.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from advlook.core.names import ARCH_NAMES, NAMES
from advlook.sensitivity.maps import TITLES
from advlook.sensitivity.units import Maximised, on_one_scale
from advlook.study.style import COLORS, bare, brightest, new_figure, picture


def map_grid(
    images: Tensor, found: Mapping[str, Mapping[str, Tensor]], shared: bool = False, side: float = 1.5
) -> Figure:
    """Sensitivity maps of several models side by side, a row an image.

    images: `(N, 3, H, W)`; found: by the model's setting, by method, maps `(N, 3, H, W)`. A map is shown in colour
    around grey, which stands for 0: its channels are those of the image. With `shared` all maps of one method end at
    the same value, so that a model's weaker maps look weaker; without, each ends at its own 99.5th percentile.
    side: of a picture, in inches.
    """
    methods = list(next(iter(found.values())))
    columns = [(setting, method) for setting in found for method in methods]
    figure, lines = _blocks(len(images), [1, *[len(methods)] * len(found)], side, side)
    limits = {m: max(float(brightest(maps[m])) for maps in found.values()) for m in methods}
    for row, (image, line) in enumerate(zip(images, lines, strict=True)):
        _picture(line[0], image, "image" if row == 0 else "")
        for axis, (setting, method) in zip(line[1:], columns, strict=True):
            values = found[setting][method][row]
            limit = limits[method] if shared else float(brightest(values))
            title = "\n".join([NAMES[setting], *TITLES[method].split()]) if row == 0 else ""
            _picture(axis, 0.5 + values / (2 * limit), title, COLORS[setting])
    return figure


def filter_grid(found: Mapping[str, Tensor], columns: int = 8) -> Figure:
    """First-layer filters of several models on one scale, strongest first.

    found: by the model's setting, weights `(units, 3, k, k)`; grey is 0.
    """
    pictures, limit = on_one_scale(list(found.values()))
    rows = max(-(-len(weights) // columns) for weights in pictures)
    figure = new_figure(1, 1, 3.6 * len(found), 0.42 * rows + 0.9)[0]
    figure.clear()
    parts = figure.subfigures(1, len(found), squeeze=False, wspace=0.05)[0]
    for part, setting, weights in zip(parts, found, pictures, strict=True):
        part.suptitle(f"{NAMES[setting]}", color=COLORS[setting], fontweight="bold")
        order = (weights - 0.5).flatten(1).norm(dim=1).argsort(descending=True)
        axes = part.subplots(rows, columns, squeeze=False)
        for place, axis in enumerate(axes.flat):
            _picture(axis, weights[order[place]] if place < len(order) else None, "")
    figure.supxlabel(f"all on one scale: grey is 0, full contrast is a weight of {limit:.2g}", fontsize=10)
    return figure


def maximised_grid(found: Mapping[str, Mapping[str, Maximised]], count: int, first: int = 0) -> Figure:
    """Inputs that excite units, a row a layer (deeper ones below), a block of columns a model, the same units of each.

    found: by the model's setting, by layer. Under each picture stands the mean activation of the unit's map.
    """
    layers = list(next(iter(found.values())))
    columns = [(setting, unit) for setting in found for unit in range(first, first + count)]
    figure, lines = _blocks(len(layers), [count] * len(found), 1.12, 1.42)
    for row, (layer, line) in enumerate(zip(layers, lines, strict=True)):
        for axis, (setting, unit) in zip(line, columns, strict=True):
            result = found[setting][layer]
            shown = unit < len(result.images)
            title = NAMES[setting] if row == 0 and unit == first else ""
            _picture(axis, result.images[unit] if shown else None, title, COLORS[setting])
            axis.set_xlabel(f"{result.activations[unit]:.2g}" if shown else "", fontsize=9, labelpad=2)
        line[0].set_ylabel(layer.removeprefix("network."), fontsize=10)
    return figure


def fourier_maps(table: pd.DataFrame, column: str = "changed") -> Figure:
    """Heat maps over the plane of frequencies, the lowest in the middle: answers changed, in percent.

    table: `03_fourier`; a row an architecture, a column a setting, mean over seeds, all on one scale.
    """
    archs, settings = list(dict.fromkeys(table["arch"])), list(dict.fromkeys(table["setting"]))
    figure, axes = new_figure(len(archs), len(settings), 3.3 * len(settings) + 1, 3.2 * len(archs) + 0.3)
    highest = table.groupby(["arch", "setting", "fy", "fx"])[column].mean().max()
    for place, axis in enumerate(axes):
        arch, setting = archs[place // len(settings)], settings[place % len(settings)]
        chosen = table[(table["arch"] == arch) & (table["setting"] == setting)]
        grid = chosen.groupby(["fy", "fx"])[column].mean().unstack()
        step = grid.index[1] - grid.index[0]
        ends = (grid.index[0] - step / 2, grid.index[-1] + step / 2)
        drawn = axis.imshow(grid, extent=(*ends, *ends), origin="lower", cmap="magma", vmin=0, vmax=highest)
        axis.set_title(f"{ARCH_NAMES[arch]} {NAMES[setting]}", color=COLORS[setting])
        axis.grid(visible=False)
        axis.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
        axis.set_xlabel("horizontal [cycles/px]" if place >= len(axes) - len(settings) else "")
        axis.set_ylabel("vertical [cycles/px]" if place % len(settings) == 0 else "")
    figure.colorbar(drawn, ax=axes, label="answers changed [%]", shrink=0.8)
    return figure


def answer_curves(table: pd.DataFrame) -> Figure:
    """Answers over scale, a row an architecture: changed by one frequency; right on low-passed, high-passed and
    block-shuffled images. Mean over seeds, and their range; a dotted line is the clean accuracy.

    table: `03_scale`.
    """
    panels = (
        ("answers_changed", "Answers changed\nby one frequency", "frequency [cycles/px]"),
        ("accuracy_low_pass", "Accuracy, only\nlower frequencies", "cut-off [cycles/px]"),
        ("accuracy_high_pass", "Accuracy, only\nhigher frequencies", "cut-off [cycles/px]"),
        ("accuracy_shuffled", "Accuracy, blocks\nshuffled inside", "block [px]"),
    )
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(len(archs), len(panels), 3.5 * len(panels), 2.9 * len(archs) + 0.6, sharey=True)
    for place, axis in enumerate(axes):
        arch, (measure, title, level) = archs[place // len(panels)], panels[place % len(panels)]
        for setting in ("std", "adv"):
            rows = _of(table, arch, setting, measure)
            _line(axis, rows, COLORS[setting])
            if measure != "answers_changed":
                clean = _of(table, arch, setting, "accuracy_clean")["value"].mean()
                axis.axhline(clean, color=COLORS[setting], ls=":", lw=1.2)
        last_row = place >= len(axes) - len(panels)
        axis.set(title=title if place < len(panels) else "", xlabel=level if last_row else "", ylim=(-2, 102))
        axis.set_ylabel(f"{ARCH_NAMES[arch]}\nimages [%]" if place % len(panels) == 0 else "")
        if measure == "accuracy_shuffled":
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted(rows["at"].unique()), [f"{at:g}" for at in sorted(rows["at"].unique())])
    _legend(figure, ("std", "adv"))
    return figure


def map_spectra(table: pd.DataFrame) -> Figure:
    """Spectra of the five maps, a row an architecture: power at a radial frequency, relative to white noise.

    table: `03_scale`. The grey line is the untrained network: what its structure alone leaves in a map.
    """
    above = table[(table["measure"] != "map_spectrum") | (table["at"] > 0)]  # without the mean
    figure, axes = _by_map(above, "map_spectrum", "power / white noise", "frequency [cycles/px]", marker="")
    for axis in axes:
        axis.axhline(1, color="#BBBBBB", lw=1, ls=":")
        axis.set(yscale="log")
    return figure


def edge_correlations(table: pd.DataFrame) -> Figure:
    """Rank correlation of |map| with image edges over the smoothing of the image, a row an architecture.

    table: `03_scale`.
    """
    figure, axes = _by_map(table, "map_edge_correlation", "rank correlation", "smoothing of the image [px]", marker="o")
    for axis in axes:
        axis.axhline(0, color="#BBBBBB", lw=1)
    return figure


def unit_depths(table: pd.DataFrame) -> Figure:
    """Median frequency and colour variance of maximising inputs over the depth of the layer: units as dots, their mean
    as a line, a row an architecture.

    table: `03_scale`.
    """
    panels = (("unit_median_frequency", "Median frequency [cycles/px]"), ("unit_colour_variance", "Colour variance"))
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(len(archs), 2, 11, 2.9 * len(archs) + 0.6)
    for place, axis in enumerate(axes):
        arch, (measure, title) = archs[place // 2], panels[place % 2]
        layers = list(dict.fromkeys(_of(table, arch, "std", measure)["of"]))
        for shift, (setting, color) in zip((-0.15, 0, 0.15), COLORS.items(), strict=True):
            rows = _of(table, arch, setting, measure)
            depth = rows["of"].map({layer: number for number, layer in enumerate(layers)})
            axis.scatter(depth + shift, rows["value"], s=12, color=color, alpha=0.3, lw=0)
            means = rows.assign(depth=depth).groupby("depth")["value"].mean()
            axis.plot(means.index + shift, means, color=color, marker="o")
        axis.set_xticks(range(len(layers)), [layer.removeprefix("network.") for layer in layers])
        axis.tick_params(axis="x", labelsize=9)
        axis.set(title=title if place < 2 else "", ylabel=ARCH_NAMES[arch] if place % 2 == 0 else "")
        axis.set_ylim(bottom=0)
    _legend(figure, COLORS)
    return figure


def filter_sizes(table: pd.DataFrame) -> Figure:
    """First-layer filters: norm over mean frequency, a dot a filter of every seed, a panel an architecture.

    table: `03_scale`.
    """
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(1, len(archs), 5.2 * len(archs) + 0.5, 4.2)
    for axis, arch in zip(axes, archs, strict=True):
        for setting in ("std", "adv"):
            norms, places = (_of(table, arch, setting, m) for m in ("filter_norm", "filter_frequency"))
            both = norms.merge(places, on=["seed", "at"], suffixes=("_norm", "_frequency"))
            axis.scatter(
                both["value_frequency"],
                both["value_norm"],
                s=28,
                color=COLORS[setting],
                alpha=0.6,
                edgecolor="white",
                lw=0.5,
            )
        axis.set(title=ARCH_NAMES[arch], xlabel="mean frequency of the filter [cycles/px]", ylim=(0, None))
    axes[0].set_ylabel("norm of the filter, normalisation folded in")
    _legend(figure, ("std", "adv"), marker="o", ls="")
    return figure


def map_energy(table: pd.DataFrame) -> Figure:
    """Where the energy of the maps lies in the embedded test-bed, a bar a map and model, a panel an architecture.

    table: `03_scale`. A dot is a seed; dotted lines are what the areas alone would give.
    """
    regions = ("outline", "inside", "background")
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(len(archs), 3, 13, 2.9 * len(archs) + 0.6, sharex=True, sharey=True)
    names = [title.replace(" ", "\n").replace("hG", "h\nG") for title in TITLES.values()]
    for place, axis in enumerate(axes):
        arch, region = archs[place // 3], regions[place % 3]
        for shift, setting in zip((-0.25, 0, 0.25), NAMES, strict=True):
            for number, method in enumerate(TITLES):
                values = _of(table, arch, setting, f"map_energy_{region}", method)["value"]
                axis.bar(number + shift, values.mean(), 0.23, color=COLORS[setting], alpha=0.75)
                axis.plot([number + shift] * len(values), values, ".", color="#333333", ms=4)
        areas = _of(table, arch, "std", f"map_energy_{region}", "area")["value"].mean()
        axis.axhline(areas, color="#333333", ls=":", lw=1.5)
        axis.set_xticks(range(len(TITLES)), names, fontsize=9)
        axis.grid(visible=False, axis="x")
        axis.set(title=f"On the {region}" if region != "inside" else "Inside, on the texture")
        axis.set_ylabel(f"{ARCH_NAMES[arch]}\nshare of energy [%]" if region == "outline" else "")
    _legend(figure, NAMES)
    return figure


def _blocks(rows: int, columns: Sequence[int], width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A grid of places for pictures, `width` x `height` inches each, with a gap between blocks of columns.

    Returns the figure and its rows of axes.
    """
    widths = [share for count in columns for share in (*[1] * count, 0.25)][:-1]
    figure, axes = new_figure(
        rows, len(widths), width * sum(widths) + 0.7, height * rows + 0.5, gridspec_kw={"width_ratios": widths}
    )
    for axis, share in zip(axes, widths * rows, strict=True):
        if share < 1:
            axis.remove()
    lines = [axes[row * len(widths) : (row + 1) * len(widths)] for row in range(rows)]
    return figure, [[axis for axis, share in zip(line, widths, strict=True) if share == 1] for line in lines]


def _by_map(table: pd.DataFrame, measure: str, label: str, level: str, marker: str) -> tuple[Figure, list[Axes]]:
    """A measure of each kind of map over its level: a panel a map, a row an architecture, a line a setting."""
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(
        len(archs), len(TITLES), 2.9 * len(TITLES), 2.7 * len(archs) + 0.6, sharex=True, sharey=True
    )
    for place, axis in enumerate(axes):
        arch, method = archs[place // len(TITLES)], list(TITLES)[place % len(TITLES)]
        for setting, color in COLORS.items():
            _line(axis, _of(table, arch, setting, measure, method), color, marker)
        axis.set_title(TITLES[method] if place < len(TITLES) else "")
        axis.set_xlabel(level if place >= len(axes) - len(TITLES) else "")
        axis.set_ylabel(f"{ARCH_NAMES[arch]}\n{label}" if place % len(TITLES) == 0 else "")
    _legend(figure, COLORS)
    return figure, axes


def _of(table: pd.DataFrame, arch: str, setting: str, measure: str, of: str | None = None) -> pd.DataFrame:
    """The rows of one measure of one kind of model."""
    chosen = table[(table["arch"] == arch) & (table["setting"] == setting) & (table["measure"] == measure)]
    return chosen if of is None else chosen[chosen["of"] == of]


def _line(axis: Axes, rows: pd.DataFrame, color: str, marker: str = "o") -> None:
    """Mean over seeds over the level, and their range as a band."""
    spread = rows.groupby("at")["value"].agg(["mean", "min", "max"])
    axis.plot(spread.index, spread["mean"], color=color, marker=marker, ms=4)
    axis.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.18, lw=0)


def _legend(figure: Figure, settings: Sequence[str] | Mapping[str, object], **line: object) -> None:
    handles = [Line2D([], [], color=COLORS[s], label=NAMES[s], **line) for s in settings]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _picture(axis: Axes, image: Tensor | None, title: str, color: str = "#222222") -> None:
    """An image `(3, H, W)` without ticks; an empty place where there is none."""
    bare([axis])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if image is not None:
        picture(axis, image)
    axis.set_title(title, fontsize=9.5, color=color, fontweight="bold" if title else "normal")
