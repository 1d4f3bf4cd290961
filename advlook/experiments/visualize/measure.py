"""What notebook 03 measures on every model, the untrained one included: `03_fourier`, `03_scale` and `03_maps`.

A row of `03_scale` is a `measure` and its `value`; `of` is what it was taken of (a kind of map, a layer), `at` the
level (a frequency or cut-off in cycles per pixel, a block or smoothing in pixels, the number of a unit), `images` how
many images it is the mean over. Accuracies and shares of answers are in percent. How each is computed is said in
`scale`; what is expected of it, if robust models look at larger structures, in `EXPECTED`. A row of `03_maps` is the
map of one image, with the measures of `BY_IMAGE`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from advlook import sensitivity
from advlook.data import test_bed
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import folded
from advlook.sensitivity import edges, frequency
from advlook.sensitivity.units import Maximised, colour_variance, conv_layers, first_filters, maximise
from advlook.study.study import Row, Study

SETTINGS = ("random", "std", "adv")
CUTOFFS = (0.03, 0.06, 0.09, 0.125, 0.18, 0.25, 0.35)  # cycles per pixel
BLOCKS = (2, 4, 8, 16)  # pixels
SMOOTHINGS = (0.0, 1.0, 2.0, 4.0)  # pixels
BELOW = 0.25  # cycles per pixel: coarser than the checkerboard that strides and pooling leave in gradients
BY_IMAGE = {  # what is kept of every image as well: models are compared image by image
    "median_frequency": ("map_median_frequency", None),
    "edge_correlation": ("map_edge_correlation", 0.0),
}
DEPTHS = 5  # layers whose units are excited
FIGURE_2 = ("vanilla_gradient", "loss_gradient", "guided_backprop")  # the maps that the paper shows there


@dataclass(frozen=True)
class Expected:
    """A number that tells whether ADV looks at larger structures than STD, and on which side it then lies."""

    measure: str
    of: str | None
    at: float | None
    title: str
    lower: bool  # whether the paper's sentence asks for a lower value of ADV


EXPECTED = (
    Expected("answers_half_frequency", None, None, "frequency below which half of the answers' sensitivity lies", True),
    Expected("kept_low_pass", None, 0.09, "accuracy kept below 0.09 cycles/px [% of clean]", False),
    Expected("kept_high_pass", None, 0.09, "accuracy kept above 0.09 cycles/px [% of clean]", True),
    Expected("kept_shuffled", None, 4, "accuracy kept with 4x4 blocks shuffled [% of clean]", False),
    *(
        Expected("map_median_frequency", method, None, f"median frequency of maps: {title}", True)
        for method, title in sensitivity.TITLES.items()
    ),
    Expected("map_median_frequency_coarse", "loss_gradient", None, "the same of Loss Grad, below 0.25 alone", True),
    Expected("map_median_frequency_coarse", "guided_backprop", None, "of Guided Backprop, below 0.25 alone", True),
    Expected("map_edge_correlation", "loss_gradient", 0, "rank correlation of Loss Grad with edges", False),
    Expected("map_edge_correlation", "guided_backprop", 0, "of Guided Backprop with edges", False),
    Expected("map_energy_inside", "loss_gradient", None, "share of Loss Grad inside, on the texture", True),
    Expected("map_energy_outline", "loss_gradient", None, "share of Loss Grad on the outline", False),
    Expected("unit_median_frequency", None, None, "median frequency of maximising inputs", True),
    Expected("unit_colour_variance", None, None, "colour variance of maximising inputs", True),
    Expected("filter_norm", None, None, "norm of first-layer filters, normalisation folded in", True),
    Expected("filter_frequency", None, None, "mean frequency of first-layer filters", True),
)


def sample(study: Study) -> ImageSet:
    """The test images that everything here is measured on: `visualize.images` of them, drawn by one seed."""
    return study.test.subset(study.preset.visualize.images, seed=2)


def shown_maps(
    study: Study, arch: str, seed: int, count: int, every: bool = False
) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Images to look at and their maps by STD and ADV, all on the CPU: `count` test images of a fixed draw.

    Returns images `(count, 3, H, W)`, and by setting and method the maps of the label's class; those of the paper's
    figure 2, or with `every` all five.
    """
    images, labels = next(study.test.subset(count, seed=3).batches(count, study.device))
    methods = tuple(sensitivity.METHODS) if every else FIGURE_2
    samples = study.preset.visualize.samples
    found = {
        setting: {
            method: sensitivity.by_name(method, study.model(arch, setting, seed), images, labels, samples=samples).cpu()
            for method in methods
        }
        for setting in ("std", "adv")
    }
    return images.cpu(), found


def filters_of(study: Study, model: nn.Module) -> Tensor:
    """First-layer filters `(units, 3, k, k)` of a model, batch normalisation folded in, on the CPU."""
    return first_filters(folded(model), size=study.preset.data.size).cpu()


def shown_units(study: Study, arch: str, seed: int, **options: object) -> dict[str, dict[str, Maximised]]:
    """What excites the drawn units, by setting (STD, ADV) and layer; options as of `excited`."""
    return {setting: excited(study, study.model(arch, setting, seed), **options) for setting in ("std", "adv")}


def fourier(study: Study, model: nn.Module) -> Iterator[Row]:
    """Errors, and answers that change, along every Fourier basis image of fixed L2 norm (`scale.fourier_sensitivity`).

    One row a frequency: fy, fx in cycles per pixel; error and changed in percent; clean, the error without; eps.
    """
    config = study.preset.visualize
    images = sample(study)
    found = frequency.fourier_sensitivity(
        model,
        images,
        config.fourier_eps,
        stride=config.fourier_stride,
        device=study.device,
        generator=torch.Generator().manual_seed(0),
        batch_size=study.preset.evaluation.batch_size,
    )
    for i, fy in enumerate(found.frequencies.tolist()):
        for j, fx in enumerate(found.frequencies.tolist()):
            yield {
                "fy": fy,
                "fx": fx,
                "error": found.error[i, j].item(),
                "changed": found.changed[i, j].item(),
                "clean": found.clean,
                "eps": config.fourier_eps,
                "images": len(images),
            }


def along_frequency(table: pd.DataFrame) -> pd.DataFrame:
    """From `03_fourier`, rows of `03_scale`: curves over radial frequency, and where half of the sensitivity lies.

    `answers_changed` and `answers_wrong`, the mean over rings one grid step wide; `answers_half_frequency`, the median
    frequency of the changed answers over the grid (nan where none changes).
    """
    rows: list[Row] = []
    for (arch, setting, seed), grid in table.groupby(["arch", "setting", "seed"], sort=False):
        who = {"arch": arch, "setting": setting, "seed": seed, "images": int(grid["images"].iloc[0])}
        frequencies = torch.tensor(sorted(grid["fx"].unique()), dtype=torch.float64)
        step = (frequencies[1] - frequencies[0]).item()
        radius = torch.hypot(frequencies[:, None], frequencies[None])
        for column, measure in (("changed", "answers_changed"), ("error", "answers_wrong")):
            square = torch.tensor(grid.pivot(index="fy", columns="fx", values=column).to_numpy())
            rings, means = frequency.radial_mean(square, radius, step)
            values = zip(rings.tolist(), means.tolist(), strict=True)
            rows += [who | {"measure": measure, "at": at, "value": value} for at, value in values]
            if column == "changed":
                half = frequency.half_frequency(square, radius).item()
                rows.append(who | {"measure": "answers_half_frequency", "value": half})
    return pd.DataFrame(rows)


def answers(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy on low-passed, high-passed and block-shuffled images, and what share of the clean accuracy that is."""
    most = study.preset.evaluation.curve_images
    images = study.test.subset(most and max(study.preset.visualize.images, most), seed=2)
    size = study.preset.data.size
    changes = {"clean": {None: lambda x: x}} | {
        "low_pass": {at: (lambda x, at=at: frequency.low_pass(x, at)) for at in CUTOFFS},
        "high_pass": {at: (lambda x, at=at: frequency.high_pass(x, at)) for at in CUTOFFS},
        "shuffled": {
            at: (lambda x, at=at: frequency.shuffle_blocks(x, at, torch.Generator().manual_seed(at)))
            for at in BLOCKS
            if size % at == 0
        },
    }
    clean = 0.0
    for name, levels in changes.items():
        for at, change in levels.items():
            top1 = frequency.accuracy_on(
                model, images, change, batch_size=study.preset.evaluation.batch_size, device=study.device
            )
            clean = top1 if name == "clean" else clean
            yield {"measure": f"accuracy_{name}", "at": at, "value": top1, "images": len(images)}
            if name != "clean" and clean > 0:
                yield {"measure": f"kept_{name}", "at": at, "value": 100 * top1 / clean, "images": len(images)}


def maps(study: Study, model: nn.Module) -> Iterator[Row]:
    """Spectrum, median frequency and edges of all five maps; on the embedded set also where their energy lies.

    `map_spectrum`: power at a radial frequency, relative to the map's mean over the plane, so that white noise is 1
    everywhere; `map_median_frequency` with its variant below `BELOW`; `map_edge_correlation` at several smoothings;
    `map_energy_outline`, `_inside` and `_background`, with the areas' own shares as of "area". Means over the images;
    rows with an `image` hold those of BY_IMAGE for that one, to 4 digits.
    """
    config = study.preset.visualize
    shown, masks = sample(study), None
    if study.preset.data.name == "synthetic":
        made = test_bed.generate(config.images, study.preset.data.size, seed=0, split="test")
        shown, masks = ImageSet(made.images, made.labels, test_bed.CLASSES), made.masks
    for method in sensitivity.METHODS:
        found = _map_measures(study, model, method, shown, masks)
        for (measure, at), values in found.items():
            yield {"measure": measure, "of": method, "at": at, "value": values.nanmean().item(), "images": len(shown)}
        for image, values in enumerate(zip(*(found[key].tolist() for key in BY_IMAGE.values()), strict=True)):
            rounded = (round(value, 4) for value in values)
            yield {"of": method, "image": image, **dict(zip(BY_IMAGE, rounded, strict=True))}
    if masks is not None:
        for region, shares in edges.energy_shares(torch.ones(len(masks), 3, *masks.shape[1:]), masks).items():
            value = 100 * shares.mean().item()
            yield {"measure": f"map_energy_{region}", "of": "area", "value": value, "images": len(masks)}


def _map_measures(
    study: Study, model: nn.Module, method: str, shown: ImageSet, masks: Tensor | None
) -> dict[tuple[str, float | None], Tensor]:
    """Every measure of a model's maps, by name and level, image by image `(N,)`.

    No more maps are held than the images of a batch have.
    """
    samples, size = study.preset.visualize.samples, study.preset.evaluation.batch_size
    noise = torch.Generator(study.device).manual_seed(0)  # goes on from batch to batch: their size changes no draw
    regions = [None] * -(-len(shown) // size) if masks is None else masks.split(size)
    parts = []
    for (images, labels), inside in zip(shown.batches(size, study.device), regions, strict=True):
        found = sensitivity.by_name(method, model, images, labels, samples=samples, generator=noise).cpu()
        parts.append(_measures(found, images.cpu(), inside))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _measures(found: Tensor, images: Tensor, masks: Tensor | None) -> dict[tuple[str, float | None], Tensor]:
    radius = frequency.frequency_radius(*images.shape[-2:])
    power = frequency.power_spectrum(found).double()
    relative = power / power.mean((1, 2), keepdim=True)
    rings, means = frequency.radial_mean(relative, radius, 1 / min(images.shape[-2:]))
    measures = {("map_spectrum", at): means[:, place] for place, at in enumerate(rings.tolist())}
    measures["map_median_frequency", None] = frequency.half_frequency(power, radius)
    measures["map_median_frequency_coarse", None] = frequency.half_frequency(power * (radius <= BELOW), radius)
    correlations = edges.edge_correlation(found, images, SMOOTHINGS)
    measures |= {("map_edge_correlation", at): correlations[:, place] for place, at in enumerate(SMOOTHINGS)}
    if masks is not None:
        shares = edges.energy_shares(found, masks)
        measures |= {(f"map_energy_{region}", None): 100 * share for region, share in shares.items()}
    return measures


def filters(study: Study, model: nn.Module) -> Iterator[Row]:
    """L2 norm and mean frequency of every filter of the first layer, with batch normalisation folded in."""
    found = frequency.filter_frequencies(filters_of(study, model))
    for measure, values in (("filter_norm", found["norm"]), ("filter_frequency", found["mean"])):
        for number, value in enumerate(values.tolist()):
            yield {"measure": measure, "of": "first layer", "at": number, "value": value}


def units(study: Study, model: nn.Module) -> Iterator[Row]:
    """Median frequency and colour variance of the inputs that excite units: of a layer, at a unit."""
    for layer, found in excited(study, model).items():
        numbers = drawn_units(study, model, layer)
        measures = {
            "unit_median_frequency": frequency.median_frequency(found.images),
            "unit_colour_variance": colour_variance(found.images),
        }
        for measure, values in measures.items():
            for unit, value in zip(numbers, values.tolist(), strict=True):
                yield {"measure": measure, "of": layer, "at": unit, "value": value}


def depth_layers(study: Study, model: nn.Module) -> list[str]:
    """Names of up to `DEPTHS` convolutions, evenly spread from the first to the last; shortcuts are left out."""
    names = [name for name in conv_layers(model, size=study.preset.data.size) if "downsample" not in name]
    places = torch.linspace(0, len(names) - 1, min(DEPTHS, len(names))).round().int().tolist()
    return [names[place] for place in places]


def drawn_units(study: Study, model: nn.Module, layer: str) -> list[int]:
    """The units of a layer that are shown and measured: `visualize.units` of them, drawn by one seed for all models."""
    channels = model.get_submodule(layer).out_channels
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(0))
    return sorted(order[: study.preset.visualize.units].tolist())


def excited(study: Study, model: nn.Module, **options: object) -> dict[str, Maximised]:
    """Inputs that excite the drawn units of each of `depth_layers`, by layer (`layers.maximise`).

    Batch normalisation is folded in: a unit is what the next layer gets, up to the ReLU.
    options: of `layers.maximise`, such as `parameterisation="fourier", jitter=2`.
    """
    config, fast = study.preset.visualize, folded(model)
    settings = {"size": study.preset.data.size, "steps": config.steps, "starts": config.starts} | options
    return {
        layer: maximise(
            fast,
            layer,
            drawn_units(study, model, layer),
            generator=torch.Generator().manual_seed(0),
            precision="auto",
            progress=study.progress,
            **settings,
        )
        for layer in depth_layers(study, model)
    }


def scale_table(study: Study) -> pd.DataFrame:
    """Measure everything on every model, and save `03_fourier`, `03_maps` and `03_scale`; returns the last."""
    found = [along_frequency(study.measure("03_fourier", fourier, SETTINGS))]
    for name, measurement in (("answers", answers), ("maps", maps), ("filters", filters), ("units", units)):
        found.append(study.rows(f"03_{name}", measurement, SETTINGS))
    alone = found[2]["image"].notna()
    about = ["arch", "setting", "seed", "of", "image"]
    study.save_table("03_maps", found[2].loc[alone, [*about, *BY_IMAGE]].astype({"image": int}))
    found[2] = found[2][~alone]
    columns = ["arch", "setting", "seed", "measure", "value", "of", "at", "images"]
    return study.save_table("03_scale", pd.concat(found, ignore_index=True)[columns])


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """One row an architecture and number of `EXPECTED`: the means of the random, STD and ADV models over their seeds,
    and whether ADV lies where larger structures would put it ("yes", "no", "mixed" where seeds disagree, "-" where
    nothing is known of them).

    table: `03_scale`. Numbers that a preset does not have are left out.
    """
    rows = []
    for arch in dict.fromkeys(table["arch"]):
        for expected in EXPECTED:
            chosen = table[(table["arch"] == arch) & (table["measure"] == expected.measure)]
            chosen = chosen if expected.of is None else chosen[chosen["of"] == expected.of]
            chosen = chosen if expected.at is None else chosen[(chosen["at"] - expected.at).abs() < 1e-9]
            if chosen.empty:
                continue
            each = chosen.groupby(["setting", "seed"])["value"].mean().unstack("setting")
            known = each.dropna(subset=["adv", "std"])
            as_expected = (known["adv"] < known["std"]) if expected.lower else (known["adv"] > known["std"])
            verdict = "yes" if as_expected.all() else "mixed" if as_expected.any() else "no"
            verdict = verdict if len(known) else "-"
            rows.append(
                {"arch": arch, "number": expected.title}
                | {name: each[name].mean() for name in SETTINGS if name in each}
                | {"larger would be": "lower" if expected.lower else "higher", "ADV is": verdict}
            )
    return pd.DataFrame(rows)
