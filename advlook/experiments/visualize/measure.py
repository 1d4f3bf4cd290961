"""What notebook 03 measures on every model, the untrained one included: `03_fourier`, `03_scale` and `03_maps`.

A row of `03_scale` is a `measure` and its `value`, shares of answers in percent; `of` is what it was taken of (a kind
of map, a layer), `at` the level (a frequency in cycles per pixel, a smoothing in pixels, the number of a unit),
`images` the number of images that it is the mean over. `EXPECTED` tells what they would
be if ADV looked at larger structures. A row of `03_maps` is the map of one image, with the measures of `BY_IMAGE`."""

import tomllib
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from advlook import sensitivity
from advlook.attacks.ball import l2_norm
from advlook.core import SETTINGS, per_image
from advlook.data import ImageSet, test_bed
from advlook.experiments.defined import defined_maps, save_undefined, undefined_filters, undefined_maps, unit_layers
from advlook.models import folded
from advlook.sensitivity import frequency
from advlook.sensitivity.edges import edge_correlation, energy_shares
from advlook.sensitivity.filters import first_filters, first_layer
from advlook.sensitivity.truncated import Truncated
from advlook.sensitivity.units import Maximised, colour_variance, maximise
from advlook.study import ModelKey, Row, Study
from advlook.study.verification import who

KINDS = ("random", *SETTINGS)  # of models that are measured
SMOOTHINGS = (0.0, 1.0, 2.0, 4.0)  # pixels
BELOW = 0.25  # cycles per pixel: coarser than the checkerboard that strides and pooling leave in gradients
BY_IMAGE = {  # what is kept of every image as well: models are compared image by image
    "median_frequency": ("map_median_frequency", None),
    "edge_correlation": ("map_edge_correlation", 0.0),
}
SHOWN = 10  # units of each layer that figures show, of those that are measured
FIGURE_2 = ("vanilla_gradient", "loss_gradient", "guided_backprop")  # the maps that the paper shows there
# The numbers that tell whether ADV looks at larger structures: title, rows of `03_scale`, on which side ADV would be.
EXPECTED: list[tuple[str, str, str]] = tomllib.loads((Path(__file__).parent / "expected.toml").read_text())["number"]

Maps = dict[str, Tensor | str]  # by method, `(N, 3, H, W)`, or why there are none
Measures = dict[tuple[str, float | None], Tensor]  # by name and level, `(N,)`


def shown_maps(study: Study, arch: str, seed: int, count: int, every: bool = False) -> tuple[Tensor, dict[str, Maps]]:
    """Test images of a fixed draw `(count, 3, H, W)`, and by setting and method their maps by STD and ADV, on the CPU;
    those of the paper's figure 2, or with `every` all five. In place of maps that are not defined stands the reason."""
    images, labels = next(study.test.subset(count, seed=3).batches(count, study.device))
    methods, found, undefined = sensitivity.METHODS if every else FIGURE_2, {}, undefined_maps(study, arch)
    for setting in SETTINGS:
        asked = study.model(arch, setting, seed), images, labels
        samples = study.preset.visualize.samples
        found[setting] = {m: undefined.get(m) or sensitivity.by_name(m, *asked, samples=samples).cpu() for m in methods}
    return images.cpu(), found


def filters_of(study: Study, key: ModelKey) -> Tensor | str:
    """First-layer filters `(units, 3, k, k)` of a model, on the CPU: with batch normalisation folded in, or, where they
    have no strength, each of length 1. Where there are no such filters, the reason."""
    model, size, undefined = study.model(*key), study.preset.data.size, undefined_filters(study, key[0])
    if "filters" in undefined:
        return undefined["filters"]
    if "strength" in undefined:
        filters = first_filters(model, size=size).cpu()
        return filters / per_image(l2_norm(filters).clamp_min(torch.finfo(filters.dtype).tiny))
    fold = folded(model, size=size, required=[first_layer(model, size=size)])
    return first_filters(fold, size=size).cpu()


def shown_units(study: Study, arch: str, seed: int, **options: object) -> dict[str, dict[str, Maximised]]:
    """What excites SHOWN of the drawn units, by setting (STD, ADV) and layer; options as of `excited`."""
    found = {}
    for setting in SETTINGS:
        model = study.model(arch, setting, seed)
        chosen = {layer: drawn_units(study, model, layer, SHOWN) for layer in depth_layers(study, model)}
        found[setting] = {layer: excited(study, model, layer, units, **options) for layer, units in chosen.items()}
    return found


def fourier(study: Study, key: ModelKey, thinned: int = 1) -> Iterator[Row]:
    """Errors and changed answers along every Fourier basis image of fixed L2 norm (`sensitivity.fourier_sensitivity`).
    One row a frequency: fy, fx in cycles per pixel; error and changed in percent; clean, the error without; eps.
    thinned: only the frequencies at multiples of so many steps of the grid."""
    config, draws = study.preset.visualize, torch.Generator().manual_seed(0)
    images, stride = study.test.subset(config.images, seed=2), thinned * config.fourier_stride
    options = {"generator": draws, "stride": stride, **study.batches}
    found = sensitivity.fourier_sensitivity(study.model(*key), images, config.fourier_eps, **options)
    about = {"clean": found.clean, "eps": config.fourier_eps, "images": len(images)}
    for fy, errors, changes in zip(found.frequencies, found.error, found.changed, strict=True):
        for fx, error, changed in zip(found.frequencies, errors, changes, strict=True):
            yield {"fy": fy.item(), "fx": fx.item(), "error": error.item(), "changed": changed.item()} | about


def along_frequency(table: pd.DataFrame) -> pd.DataFrame:
    """From `03_fourier`, rows of `03_scale`: `answers_changed` and `answers_wrong`, the mean over rings one grid step
    wide; `answers_half_frequency`, the median frequency of changed answers over the grid."""
    rows: list[Row] = []
    for key, grid in table.groupby(["arch", "setting", "seed"], sort=False):
        about = who(key) | {"images": int(grid["images"].iloc[0])}
        frequencies = torch.tensor(sorted(grid["fx"].unique()), dtype=torch.float64)
        step = (frequencies[1] - frequencies[0]).item()
        radius = torch.hypot(frequencies[:, None], frequencies[None])
        for column, measure in (("changed", "answers_changed"), ("error", "answers_wrong")):
            square = torch.tensor(grid.pivot(index="fy", columns="fx", values=column).to_numpy())
            rings, means = frequency.radial_mean(square, radius, step)
            values = zip(rings.tolist(), means.tolist(), strict=True)
            rows += [about | {"measure": measure, "at": at, "value": value} for at, value in values]
            if column == "changed":
                half = frequency.half_frequency(square, radius).item()
                rows.append(about | {"measure": "answers_half_frequency", "value": half})
    return pd.DataFrame(rows)


def maps(study: Study, key: ModelKey) -> Iterator[Row]:
    """Spectrum, median frequency and edges of all five maps; on the embedded set also where their energy lies.

    `map_spectrum`: power at a radial frequency, relative to the map's mean over the plane (white noise: 1);
    `map_median_frequency`, and `_coarse` below `BELOW`; `map_edge_correlation` at several smoothings;
    `map_energy_outline`, `_inside`, `_background`, with the areas' own shares as of "area". Means over the images."""
    shown, masks = mapped_images(study)
    for method in defined_maps(study, key[0]):
        found = map_measures(study, key, method)
        for (measure, at), values in found.items():
            yield {"measure": measure, "of": method, "at": at, "value": values.nanmean().item(), "images": len(shown)}
        yield from image_rows(found, method)
    if masks is not None:
        for region, shares in energy_shares(torch.ones(len(masks), 3, *masks.shape[1:]), masks).items():
            value = 100 * shares.mean().item()
            yield {"measure": f"map_energy_{region}", "of": "area", "value": value, "images": len(masks)}


def image_rows(found: Measures, method: str, first: int = 0) -> Iterator[Row]:
    """The measures of BY_IMAGE, to 4 digits, a row an image; `first`: the number of the first."""
    for image, values in enumerate(zip(*(found[each].tolist() for each in BY_IMAGE.values()), strict=True), first):
        yield {"of": method, "image": image} | {n: round(value, 4) for n, value in zip(BY_IMAGE, values, strict=True)}


def mapped_images(study: Study) -> tuple[ImageSet, Tensor | None]:
    """The images whose maps are measured; of the embedded test-bed with the masks `(N, H, W)` of their regions."""
    if study.preset.data.name != "synthetic":
        return study.test.subset(study.preset.visualize.images, seed=2), None
    made = test_bed.generate(study.preset.visualize.images, study.preset.data.size, seed=0, split="test")
    return ImageSet(made.images, made.labels, test_bed.CLASSES), made.masks


def map_measures(study: Study, key: ModelKey, method: str, batches: Collection[int] | None = None) -> Measures:
    """Every measure of a model's maps, image by image; of the images of these batches of the evaluation, or of all."""
    (shown, masks), model = mapped_images(study), study.model(*key)
    samples, size = study.preset.visualize.samples, study.preset.evaluation.batch_size
    noise = torch.Generator(study.device).manual_seed(0)  # goes on from batch to batch: their size changes no draw
    regions = [None] * -(-len(shown) // size) if masks is None else masks.split(size)
    parts = []
    for number, ((images, labels), inside) in enumerate(zip(shown.batches(size, study.device), regions, strict=True)):
        if batches is None or number in batches:
            found = sensitivity.by_name(method, model, images, labels, samples=samples, generator=noise).cpu()
            parts.append(_measures(found, images.cpu(), inside))
        else:
            for _ in range(len(images) * samples):  # what SmoothGrad would have drawn
                images.new_empty(images.shape[1:]).normal_(generator=noise)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _measures(found: Tensor, images: Tensor, masks: Tensor | None) -> Measures:
    radius = frequency.frequency_radius(*images.shape[-2:])
    power = frequency.power_spectrum(found).double()
    relative = power / power.mean((1, 2), keepdim=True)
    rings, means = frequency.radial_mean(relative, radius, 1 / min(images.shape[-2:]))
    measures = {("map_spectrum", at): means[:, place] for place, at in enumerate(rings.tolist())}
    measures["map_median_frequency", None] = frequency.half_frequency(power, radius)
    measures["map_median_frequency_coarse", None] = frequency.half_frequency(power * (radius <= BELOW), radius)
    correlations = edge_correlation(found, images, SMOOTHINGS)
    measures |= {("map_edge_correlation", at): correlations[:, place] for place, at in enumerate(SMOOTHINGS)}
    if masks is not None:
        shares = energy_shares(found, masks)
        measures |= {(f"map_energy_{region}", None): 100 * share for region, share in shares.items()}
    return measures


def filters(study: Study, key: ModelKey) -> Iterator[Row]:
    """L2 norm and mean frequency of every filter of the first layer, with batch normalisation folded in; of those
    without strength the frequency alone, and nothing where there are none."""
    filters = filters_of(study, key)
    if isinstance(filters, str):
        return
    found = frequency.filter_frequencies(filters)
    lengths = {} if undefined_filters(study, key[0]) else {"filter_norm": found["norm"]}
    for measure, values in (lengths | {"filter_frequency": found["mean"]}).items():
        for number, value in enumerate(values.tolist()):
            yield {"measure": measure, "of": "first layer", "at": number, "value": value}


def units(study: Study, key: ModelKey) -> Iterator[Row]:
    """Median frequency and colour variance of the inputs that excite units: of a layer, at a unit."""
    model = study.model(*key)
    for layer in depth_layers(study, model):
        yield from unit_rows(study, key, layer, drawn_units(study, model, layer))


def unit_rows(study: Study, key: ModelKey, layer: str, numbers: list[int]) -> Iterator[Row]:
    """The rows of `units` of these units of one layer."""
    images = excited(study, study.model(*key), layer, numbers).images
    measures = {"median_frequency": sensitivity.median_frequency(images), "colour_variance": colour_variance(images)}
    for measure, values in measures.items():
        for unit, value in zip(numbers, values.tolist(), strict=True):
            yield {"measure": f"unit_{measure}", "of": layer, "at": unit, "value": value}


def depth_layers(study: Study, model: nn.Module) -> list[str]:
    """Names of the layers whose units are measured (`defined.unit_layers`)."""
    return unit_layers(model, study.preset.data.size)


def drawn_units(study: Study, model: nn.Module, layer: str, at_most: int | None = None) -> list[int]:
    """The units of a layer that are measured: `visualize.units` of them, drawn by one seed for all models; the first
    `at_most` of the draw."""
    channels = Truncated(model, layer).channels(study.preset.data.size)
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(0))
    return sorted(order[: study.preset.visualize.units][:at_most].tolist())


def excited(study: Study, model: nn.Module, layer: str, units: list[int], **options: object) -> Maximised:
    """Inputs that excite these units of a layer; options: of `sensitivity.maximise`, such as `jitter=2`. Batch
    normalisation is folded in: a unit is what the next layer gets, up to the ReLU."""
    config = study.preset.visualize
    settings = {"size": study.preset.data.size, "steps": config.steps, "starts": config.starts}
    settings |= {"generator": torch.Generator().manual_seed(0), "precision": "auto", "progress": study.progress}
    return maximise(folded(model, size=settings["size"], required=[]), layer, units, **settings | options)


def scale_table(study: Study, settings: Sequence[str] = KINDS, number: str = "03") -> pd.DataFrame:
    """Measure everything on every model of these settings, and save `03_fourier`, `03_maps` and `03_scale`, under the
    number of a notebook, and `03_undefined` where something is not defined; returns the last but that."""
    save_undefined(study, number, filters=True)
    fourier_rows = along_frequency(study.measure(f"{number}_fourier", fourier, settings))
    measurements = {"maps": maps, "filters": filters, "units": units}
    found = {name: study.rows(f"{number}_{name}", each, settings) for name, each in measurements.items()}
    by_image = found["maps"]["image"].notna()
    about = ["arch", "setting", "seed", "of", "image"]
    study.save_table(f"{number}_maps", found["maps"].loc[by_image, [*about, *BY_IMAGE]].astype({"image": int}))
    found["maps"] = found["maps"][~by_image]
    columns = ["arch", "setting", "seed", "measure", "value", "of", "at", "images"]
    return study.save_table(f"{number}_scale", pd.concat([fourier_rows, *found.values()], ignore_index=True)[columns])


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """One row an architecture and number of `EXPECTED` that the preset has: the means of the random, STD and ADV
    models, ADV - STD with its range over seeds, and on which side ADV would lie if it looked at larger structures."""
    rows = []
    for arch, (title, which, side) in product(table["arch"].unique(), EXPECTED):
        chosen = table[table["arch"] == arch].query(which)
        if not chosen.empty:
            each = chosen.groupby(["setting", "seed"])["value"].mean().unstack("setting")
            means = {kind: each[kind].mean() for kind in KINDS if kind in each}
            gains = each["adv"] - each["std"]
            difference = {"ADV - STD": gains.mean(), "lowest seed": gains.min(), "highest seed": gains.max()}
            rows.append({"arch": arch, "number": title} | means | difference | {"larger would be": side})
    return pd.DataFrame(rows)
