"""The plots of notebook 03, drawn from the table `03_scale` if nothing else is said."""

from collections.abc import Mapping
from itertools import product

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.sensitivity import TITLES
from advlook.sensitivity.filters import on_one_scale
from advlook.sensitivity.units import Maximised
from advlook.study import style

ByMethod = Mapping[str, Tensor | str]  # maps, or why there are none


def map_grid(images: Tensor, found: Mapping[str, ByMethod], shared: bool = False, side: float = 1.5) -> Figure:
    """Sensitivity maps of several models side by side, a row an image, in colour around grey, which stands for 0.

    images: `(N, 3, H, W)`; found: by the model's setting, by method, maps `(N, 3, H, W)`. With `shared` all maps of one
    method end at the same value, so that weaker maps look weaker; without, each at its own 99.5th percentile."""
    methods = list(next(iter(found.values())))
    columns, bold = list(product(found, methods)), {"fontsize": 9.5, "fontweight": "bold"}
    figure, lines = style.blocks([len(images)], [1, *[len(methods)] * len(found)], side, side)
    there = [method for method in methods if isinstance(found[columns[0][0]][method], Tensor)]
    limits = {method: max(float(style.brightest(maps[method])) for maps in found.values()) for method in there}
    lines[0][0].set_title("image", **bold)
    for axis, (setting, method) in zip(lines[0][1:], columns, strict=True):
        axis.set_title("\n".join([NAMES[setting], *TITLES[method].split()]), color=style.COLORS[setting], **bold)
    for place, (image, line) in enumerate(zip(images, lines, strict=True)):
        style.show(line[0], image)
        for axis, (setting, method) in zip(line[1:], columns, strict=True):
            if method not in there:
                reason = f"not defined:\n{found[setting][method]}".replace(", ", "\n")
                axis.text(0.5, 0.5, reason if place == 0 else "", ha="center", va="center", fontsize=8)
                continue
            values = found[setting][method][place]
            style.show(axis, 0.5 + values / (2 * (limits[method] if shared else float(style.brightest(values)))))
    return figure


def filter_grid(found: Mapping[str, Tensor | str], columns: int = 8, most: int = 96) -> Figure:
    """First-layer filters `(units, 3, k, k)` of models, by setting, on one scale around grey; the `most` strongest,
    strongest first. Where there are none, the reason."""
    if missing := {reason for reason in found.values() if isinstance(reason, str)}:
        figure, (axis,) = style.new_figure(1, 1, 7.2, 0.9)
        style.bare([axis], frame=False)
        axis.text(0.5, 0.5, f"first-layer filters are not defined: {', '.join(missing)}", ha="center", va="center")
        return figure
    pictures, limit = on_one_scale(list(found.values()))
    count = max(len(weights) for weights in pictures)
    rows = -(-min(count, most) // columns)
    figure = style.new_figure(1, 1, 3.6 * len(found), 0.42 * rows + 0.9)[0]
    figure.clear()
    parts = figure.subfigures(1, len(found), squeeze=False, wspace=0.05)[0]
    for part, setting, weights in zip(parts, found, pictures, strict=True):
        part.suptitle(NAMES[setting], color=style.COLORS[setting], fontweight="bold")
        axes = list(part.subplots(rows, columns, squeeze=False).flat)
        style.bare(axes, frame=False)
        for axis, place in zip(axes, (weights - 0.5).flatten(1).norm(dim=1).argsort(descending=True), strict=False):
            style.picture(axis, weights[place])
    alike = all(torch.allclose(each.flatten(1).norm(dim=1), torch.ones(len(each))) for each in found.values())
    few = f"{most} of {count}; " if count > most else ""
    if few and not alike:
        few = f"the {most} strongest of {count}; "
    scale = "each of length 1, for strength is not defined" if alike else "all on one scale"
    figure.supxlabel(f"{few}{scale}: grey is 0, full contrast is a weight of {limit:.2g}", fontsize=10)
    return figure


def maximised_grid(found: Mapping[str, Mapping[str, Maximised]], count: int, first: int = 0) -> Figure:
    """Inputs that excite units, a row a layer, a block of columns a model; below each the mean activation of the unit's
    map. found: by the model's setting, by layer."""
    layers = list(next(iter(found.values())))
    columns = list(product(found, range(first, first + count)))
    figure, lines = style.blocks([len(layers)], [count] * len(found), 1.12, 1.42)
    for axis, setting in zip(lines[0][::count], found, strict=True):
        axis.set_title(NAMES[setting], fontsize=9.5, fontweight="bold", color=style.COLORS[setting])
    for layer, line in zip(layers, lines, strict=True):
        line[0].set_ylabel(layer.removeprefix("network."), fontsize=10)
        for axis, (setting, unit) in zip(line, columns, strict=True):
            result = found[setting][layer]
            if unit < len(result.images):
                style.show(axis, result.images[unit])
                axis.set_xlabel(f"{result.activations[unit]:.2g}", fontsize=9, labelpad=2)
    return figure


def fourier_maps(table: pd.DataFrame, column: str = "changed") -> Figure:
    """Answers changed over the plane of frequencies, the lowest in the middle; mean over seeds. table: `03_fourier`."""
    settings, labels = table["setting"].unique(), ("horizontal [cycles/px]", "vertical [cycles/px]")
    size = 3.3 * len(settings) + 1, 3.2, 0.3
    figure, panels = style.arch_rows(table, dict.fromkeys(settings, ""), size, labels)
    most = table.groupby(["arch", "setting", "fy", "fx"])[column].mean().max()
    for axis, rows, setting in panels:
        grid = style.select(rows, setting=setting).pivot_table(column, "fy", "fx")
        half = (grid.index[1] - grid.index[0]) / 2
        ends = (grid.index[0] - half, grid.index[-1] + half)
        drawn = axis.imshow(grid, extent=(*ends, *ends), origin="lower", cmap="magma", vmin=0, vmax=most)
        axis.set_title(f"{ARCH_NAMES[rows['arch'].iloc[0]]} {NAMES[setting]}", color=style.COLORS[setting])
        axis.grid(visible=False)
        axis.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
    figure.colorbar(drawn, ax=figure.axes, label="answers changed [%]", shrink=0.8)
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
    """Measures of maximising inputs over the depth of the layer, a row an architecture: a dot a unit, a line means."""
    titles = {"unit_median_frequency": "Median frequency [cycles/px]", "unit_colour_variance": "Colour variance"}
    figure, panels = style.arch_rows(table, titles, (11, 2.9, 0.6), ("", "{}"))
    for axis, of_arch, measure in panels:
        of_measure = style.select(of_arch, measure=measure)
        layers = list(of_measure["of"].unique())
        for shift, (setting, color) in zip((-0.15, 0, 0.15), style.COLORS.items(), strict=True):
            rows = style.select(of_measure, setting=setting)
            depth = rows["of"].map(layers.index) + shift
            axis.scatter(depth, rows["value"], s=12, color=color, alpha=0.3, lw=0)
            means = rows["value"].groupby(depth).mean()
            axis.plot(means.index, means, color=color, marker="o")
        axis.set_xticks(range(len(layers)), [layer.removeprefix("network.") for layer in layers])
        axis.tick_params(axis="x", labelsize=9)
        style.slant(axis, 14)
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
