"""The plots of notebook 03, drawn from the table `03_scale` if nothing else is said."""

from collections.abc import Mapping
from itertools import product

import pandas as pd
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.core.names import layer_name
from advlook.sensitivity import TITLES
from advlook.sensitivity.filters import on_one_scale
from advlook.sensitivity.units import Maximised
from advlook.study import style

ByMethod = Mapping[str, Tensor | str]  # maps, or why there are none


def map_grid(
    images: Tensor, found: Mapping[str, ByMethod], shared: bool = False, side: float = 1.5, stacked: bool = False
) -> Figure:
    """Sensitivity maps of several models side by side (or `stacked`, one below the other), a row an image, in colour
    around grey, which stands for 0.

    images: `(N, 3, H, W)`; found: by the model's setting, by method, maps `(N, 3, H, W)`. With `shared` all maps of one
    method end at the same value, so that weaker maps look weaker; without, each at its own 99.5th percentile."""
    methods, bold = list(next(iter(found.values()))), {"fontsize": 9.5, "fontweight": "bold"}
    down, across = (len(found), 1) if stacked else (1, len(found))
    figure, lines = style.blocks([len(images)] * down, [1, *[len(methods)] * across], side, side)
    maps = {method: [each[method] for each in found.values() if isinstance(each[method], Tensor)] for method in methods}
    limits = {method: max(float(style.brightest(values)) for values in each) for method, each in maps.items() if each}
    for number, (setting, by_method) in enumerate(found.items()):
        first = len(images) * number if stacked else 0
        rows = lines[first : first + len(images)]
        left = 1 if stacked else 1 + len(methods) * number
        if stacked or not number:
            rows[0][0].set_title("image", **bold)
            for image, line in zip(images, rows, strict=True):
                style.show(line[0], image)
        for column, method in enumerate(methods, left):
            title = "\n".join([NAMES[setting], *TITLES[method].split()])
            rows[0][column].set_title(title, color=style.COLORS[setting], **bold)
            if isinstance(by_method[method], str):
                reason = f"not defined:\n{by_method[method]}".replace(", ", "\n")
                rows[0][column].text(0.5, 0.5, reason, ha="center", va="center", fontsize=8)
                continue
            for values, line in zip(by_method[method], rows, strict=True):
                limit = limits[method] if shared else float(style.brightest(values))
                style.show(line[column], 0.5 + values / (2 * limit))
    return figure


def filter_grid(found: Mapping[str, Tensor | str], columns: int = 8, most: int = 96) -> Figure:
    """First-layer filters `(units, 3, k, k)` of models, by setting, around grey; the `most` strongest, strongest first:
    above on one scale, below the strongest of each model on that model's own. Where there are none, the reason."""
    if missing := {reason for reason in found.values() if isinstance(reason, str)}:
        figure, (axis,) = style.new_figure(1, 1, 7.2, 0.9)
        style.bare([axis], frame=False)
        axis.text(0.5, 0.5, f"first-layer filters are not defined: {', '.join(missing)}", ha="center", va="center")
        return figure
    pictures, limit = on_one_scale(list(found.values()))
    alike = all(torch.allclose(each.flatten(1).norm(dim=1), torch.ones(len(each))) for each in found.values())
    count = max(len(weights) for weights in pictures)
    rows, own = -(-min(count, most) // columns), 0 if alike else min(2, -(-count // columns))
    figure = style.new_figure(1, 1, 3.6 * len(found), 0.42 * (rows + own) + 1.4)[0]
    figure.clear()
    parts = figure.subfigures(
        1 + bool(own), len(found), squeeze=False, wspace=0.05, height_ratios=[rows, own][: 1 + bool(own)]
    )
    for place, (setting, weights) in enumerate(zip(found, pictures, strict=True)):
        parts[0][place].suptitle(NAMES[setting], color=style.COLORS[setting], fontweight="bold")
        order = (weights - 0.5).flatten(1).norm(dim=1).argsort(descending=True)
        _filters(parts[0][place], weights[order], rows, columns)
        if own:
            alone, end = on_one_scale([found[setting]])
            _filters(parts[1][place], alone[0][order], own, columns)
            parts[1][place].supxlabel(f"strongest, own scale: full contrast is {end:.2g}", fontsize=9)
    few = f"{most} of {count}; " if count > most else ""
    if few and not alike:
        few = f"the {most} strongest of {count}; "
    scale = "each of length 1, for strength is not defined" if alike else "above all on one scale"
    figure.supxlabel(f"{few}{scale}: grey is 0, full contrast is a weight of {limit:.2g}", fontsize=10)
    return figure


def _filters(part: SubFigure, weights: Tensor, rows: int, columns: int) -> None:
    axes = list(part.subplots(rows, columns, squeeze=False).flat)
    style.bare(axes, frame=False)
    for axis, picture in zip(axes, weights, strict=False):
        style.picture(axis, picture)


def maximised_grid(found: Mapping[str, Mapping[str, Maximised]], count: int, first: int = 0, arch: str = "") -> Figure:
    """Inputs that excite units, a row a layer, a block of columns a model; below each the mean activation of the unit's
    map. Of the first layer, whose filters have a figure of their own, only where there is no other: its inputs are flat
    colours. found: by the model's setting, by layer."""
    layers = list(next(iter(found.values())))
    layers = layers[1:] or layers
    columns = list(product(found, range(first, first + count)))
    figure, lines = style.blocks([len(layers)], [count] * len(found), 1.12, 1.42)
    for axis, setting in zip(lines[0][::count], found, strict=True):
        axis.set_title(NAMES[setting], fontsize=9.5, fontweight="bold", color=style.COLORS[setting])
    for layer, line in zip(layers, lines, strict=True):
        line[0].set_ylabel(layer_name(layer, arch).replace(", ", "\n"), fontsize=10)
        for axis, (setting, unit) in zip(line, columns, strict=True):
            result = found[setting][layer]
            if unit < len(result.images):
                axis.set_frame_on(True)
                style.show(axis, result.images[unit])
                axis.set_xlabel(f"{result.activations[unit]:.2g}", fontsize=9, labelpad=2)
    return figure


def fourier_maps(table: pd.DataFrame, column: str = "changed") -> Figure:
    """Answers changed over the plane of frequencies, the lowest in the middle; mean over seeds. Of every architecture
    two rows: on the scale of all, and each model on its own. table: `03_fourier`."""
    settings, archs = list(table["setting"].unique()), list(table["arch"].unique())
    size = 3.5 * len(settings) + 1, 3.1 * 2 * len(archs) + 0.3
    figure, axes = style.new_figure(2 * len(archs), len(settings), *size, sharex=True, sharey=True)
    means = table.groupby(["arch", "setting", "fy", "fx"])[column].mean()
    for axis, ((arch, own), setting) in zip(axes, product(product(archs, (False, True)), settings), strict=True):
        grid = means[arch, setting].unstack("fx")
        half = (grid.index[1] - grid.index[0]) / 2
        ends = (grid.index[0] - half, grid.index[-1] + half)
        limit = grid.to_numpy().max() if own else means.max()
        drawn = axis.imshow(grid, extent=(*ends, *ends), origin="lower", cmap="magma", vmin=0, vmax=max(limit, 1e-9))
        title = f"{ARCH_NAMES[arch]} {NAMES[setting]}{', own scale' if own else ''}"
        axis.set_title(title, color=style.COLORS[setting], fontsize=10)
        axis.grid(visible=False)
        axis.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
        if own or setting == settings[-1]:
            figure.colorbar(drawn, ax=axis, shrink=0.85, label="" if own else "answers changed [%]")
    style.label_outer(
        axes,
        [axis.get_title() for axis in axes[: len(settings)]],
        "horizontal [cycles/px]",
        ["vertical"] * (2 * len(archs)),
    )
    return figure


def map_spectra(table: pd.DataFrame) -> Figure:
    """Spectra of the five maps relative to white noise; grey: of an untrained network, from its structure alone."""
    spectra = table[(table["measure"] == "map_spectrum") & (table["at"] > 0)]  # without the mean
    return _by_map(spectra, ("frequency [cycles/px]", "{}\npower / white noise"), 1, ":", yscale="log")


def edge_correlations(table: pd.DataFrame) -> Figure:
    """Rank correlation of |map| with image edges over the smoothing of the image, a row an architecture."""
    rows = style.select(table, measure="map_edge_correlation")
    return _by_map(rows, ("smoothing of the image [px]", "{}\nrank correlation"), 0, "-", marker="o")


def _by_map(
    rows: pd.DataFrame, labels: style.Labels, reference: float, ls: str, marker: str = "", yscale: str = "linear"
) -> Figure:
    """A measure of each kind of map over its level, and a line of reference: a panel a map, a row an architecture."""
    figure, panels = style.arch_rows(rows, TITLES, (2.9 * len(TITLES), 2.7, 0.6), labels, sharex=True, sharey=True)
    for axis, of_arch, method in panels:
        of_map = style.select(of_arch, of=method)
        style.bands(axis, of_map, "at", "value", style.COLORS, marker=marker, ms=4)
        if of_map.empty:
            axis.text(0.5, 0.5, "not defined", transform=axis.transAxes, ha="center", va="center", color=style.GREY)
        axis.axhline(reference, color=style.LIGHT, lw=1, ls=ls)
        axis.set(yscale=yscale)
    style.legend(figure, style.setting_handles(style.COLORS))
    return figure


def unit_depths(table: pd.DataFrame) -> Figure:
    """Measures of maximising inputs over the depth of the layer, a row an architecture: the median of the units of all
    seeds, their quartiles (thick) and the middle 90% (thin). A line joins medians."""
    titles = {"unit_median_frequency": "Median frequency [cycles/px]", "unit_colour_variance": "Colour variance"}
    figure, panels = style.arch_rows(table, titles, (11, 2.9, 0.6), ("", "{}"))
    for axis, of_arch, measure in panels:
        of_measure = style.select(of_arch, measure=measure)
        layers = list(of_measure["of"].unique())
        for shift, (setting, color) in zip((-0.15, 0, 0.15), style.COLORS.items(), strict=True):
            rows = style.select(of_measure, setting=setting)
            parts = rows.groupby("of")["value"].quantile([0.05, 0.25, 0.5, 0.75, 0.95]).unstack().reindex(layers)
            depth = [place + shift for place in range(len(layers))]
            axis.vlines(depth, parts[0.05], parts[0.95], color=color, lw=1)
            axis.vlines(depth, parts[0.25], parts[0.75], color=color, lw=4, alpha=0.6)
            axis.plot(depth, parts[0.5], color=color, marker="o", ms=5)
        names = [layer_name(layer, of_arch["arch"].iloc[0]).replace(", ", "\n") for layer in layers]
        axis.set_xticks(range(len(layers)), names)
        axis.tick_params(axis="x", labelsize=9)
        style.slant(axis, 16)
        axis.set_ylim(bottom=0)
    style.legend(figure, style.setting_handles(style.COLORS))
    return figure


def filter_sizes(table: pd.DataFrame) -> Figure:
    """First-layer filters: norm over mean frequency, a dot a filter of every seed, a panel an architecture."""
    labels = "mean frequency of the filter [cycles/px]", "norm of the filter, normalisation folded in"
    figure, panels = style.arch_columns(table, (4.2, 5.2, 0.5), labels)
    for axis, of_arch in panels:
        of_filters = of_arch[of_arch["measure"].isin(["filter_frequency", "filter_norm"])]
        if set(of_filters["measure"]) != {"filter_frequency", "filter_norm"}:
            axis.text(0.5, 0.5, "strength not defined", ha="center", va="center", transform=axis.transAxes)
            continue
        both = of_filters.pivot(index=["setting", "seed", "at"], columns="measure", values="value")
        for setting in SETTINGS:
            color = style.COLORS[setting]
            axis.scatter(*both.loc[setting].to_numpy().T, s=28, color=color, alpha=0.6, edgecolor="white", lw=0.5)
        axis.set_ylim(bottom=0)
    style.legend(figure, style.setting_handles(marker="o", ls=""))
    return figure


def map_energy(table: pd.DataFrame) -> Figure:
    """Where the energy of the maps lies in the embedded test-bed; a dot is a seed, dotted what areas alone would
    give."""
    titles = {"outline": "On the outline", "inside": "Inside, on the texture", "background": "On the background"}
    labels = "", "{}\nshare of energy [%]"
    figure, panels = style.arch_rows(table, titles, (13, 2.9, 0.6), labels, sharex=True, sharey=True)
    names = [title.replace(" ", "\n").replace("hG", "h\nG") for title in TITLES.values()]
    for axis, of_arch, region in panels:
        of_region = style.select(of_arch, measure=f"map_energy_{region}")
        for shift, setting in zip((-0.25, 0, 0.25), NAMES, strict=True):
            for number, method in enumerate(TITLES):
                values = style.select(of_region, setting=setting, of=method)["value"]
                axis.bar(number + shift, values.mean(), 0.23, color=style.COLORS[setting], alpha=0.75)
                axis.plot([number + shift] * len(values), values, ".", color=style.INK, ms=4)
        axis.axhline(style.select(of_region, of="area")["value"].mean(), color=style.INK, ls=":", lw=1.5)
        axis.set_xticks(range(len(TITLES)), names, fontsize=9)
        axis.grid(visible=False, axis="x")
    style.legend(figure, style.setting_handles(NAMES))
    return figure
