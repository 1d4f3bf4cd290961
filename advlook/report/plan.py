"""How many images each measurement of the study may take, so that a pair of models is done in a given time."""

import time
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from advlook.core import Preset, evaluating
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.corruptions.contrast import CHANGES
from advlook.experiments.corruptions.scale import BANDS, BLOCKS, CUTOFFS, NOISE, PASSES, conditions
from advlook.models.folding import for_inference

KERNEL = 15.0  # seconds that starting a notebook's kernel takes, imports and figures included
_GRADIENT = 3.0  # forward passes that a forward and a backward pass to the image take
_KINDS = 1.5  # of STD, ADV and the untrained model, where that is measured too, per trained one
_RIGHT = 0.5  # of the images of an attack: what is lost is not attacked further
_FEWEST = 20  # images of a measurement, below which it says nothing


def forward_passes(preset: Preset, images: int) -> dict[str, float]:
    """How many images are shown to each model of a pair, by notebook; a gradient counts as `_GRADIENT` of them. images:
    how many test images there are."""
    evaluation, visualize, corruptions = preset.evaluation, preset.visualize, preset.corruptions
    curve = min(evaluation.curve_images or images, images)
    radii = sum(eps > 0 for eps in evaluation.curve)
    steps = evaluation.pgd_steps * (radii + 4 + sum(evaluation.restarts)) + sum(evaluation.steps) + radii
    steps += 10 + 2 * evaluation.suite_steps + 13 * evaluation.pgd_steps  # the suite, and smallest radii
    frequencies = (preset.data.size // (2 * visualize.fourier_stride)) ** 2 * 2
    shown, swept = min(visualize.images, images), min(corruptions.images or images, images)
    maps = shown * (3 + 2 * visualize.samples)
    units = 5 * visualize.units * visualize.starts * visualize.steps / 2  # half of a network runs, on average
    levels = 2 * len(corruptions.sigmas) + len(corruptions.median_kernels) * len(corruptions.passes) + 2
    severities = 1 + sum(len(each.strengths) for each in FAMILIES.values()) + len(CHANGES) * len(corruptions.sigmas)
    pairs = min(corruptions.pairs, images // 2)
    hybrids = len(CUTOFFS) * (pairs + (len(conditions()) - 1) * min(corruptions.controls, pairs))
    masked = min(corruptions.masked, images) * (1 + BANDS * len(NOISE))
    sanity = min(visualize.sanity_images, images)
    cascade = 2 * 8 * min(12, sanity) * (3 + 2 * min(10, visualize.samples))
    stylized = min(preset.stylization.images or images, images) + 4 * preset.stylization.partial_images
    return {
        "01": images * (1 + _RIGHT * _GRADIENT * (1 + evaluation.pgd_steps)),
        "02": curve * _RIGHT * _GRADIENT * steps,
        "03": _KINDS * (_GRADIENT * (maps + units) + frequencies * shown),
        "04": swept * levels
        + min(corruptions.family_images, swept) * severities
        + _KINDS * hybrids
        + images * (1 + 2 * len(PASSES) + len(BLOCKS))
        + masked,
        "05": stylized + 6 * preset.stylization.cues,
        "07": _GRADIENT * (sanity * (3 + 2 * visualize.samples) + cascade),
    }


def reduced(preset: Preset, share: float, images: int) -> Preset:
    """The preset with every sample and every number of steps reduced to a share of what it is, of at least `_FEWEST`
    images each; the test images themselves are never fewer than four times that."""

    def of(count: int, least: int = _FEWEST) -> int:
        whole = count or images
        return min(whole, max(least, round(share * whole)))

    evaluation, visualize, corruptions = preset.evaluation, preset.visualize, preset.corruptions
    style = preset.stylization
    return replace(
        preset,
        data=replace(preset.data, test_images=of(preset.data.test_images, 4 * _FEWEST)),
        evaluation=replace(
            evaluation,
            curve_images=of(evaluation.curve_images),
            steps=tuple(each for each in evaluation.steps if each <= max(10, share * max(evaluation.steps))),
            suite_steps=of(evaluation.suite_steps, 25),
        ),
        visualize=replace(
            visualize,
            images=of(visualize.images),
            samples=of(visualize.samples, 8),
            units=of(visualize.units, 3),
            steps=of(visualize.steps, 40),
            starts=1 if share < 0.5 else visualize.starts,
            sanity_images=of(visualize.sanity_images, 6),
        ),
        corruptions=replace(
            corruptions,
            images=of(corruptions.images),
            family_images=of(corruptions.family_images),
            pairs=of(corruptions.pairs),
            controls=of(corruptions.controls),
            masked=of(corruptions.masked),
        ),
        stylization=replace(
            style, images=of(style.images), partial_images=of(style.partial_images), cues=of(style.cues)
        ),
    )


def fitted(
    preset: Preset, images: int, seconds: float, wanted: float, notebooks: Iterable[str]
) -> tuple[Preset, float]:
    """The preset whose samples take no more than `wanted` seconds, and the seconds that they take. seconds: of showing
    one image to one model. Shares are tried from all of every sample down; the smallest is taken where none fits."""
    chosen = set(notebooks)

    def takes(candidate: Preset) -> float:
        count = min(images, candidate.data.test_images or images)
        passes = forward_passes(candidate, count)
        models = 2 * sum(len(external.pairs) for external in preset.external.values())
        return models * seconds * sum(passes[name] for name in chosen & passes.keys()) + KERNEL * len(chosen)

    for step in range(17):
        candidate = reduced(preset, 2 ** (-step / 2), images) if step else preset
        if takes(candidate) <= wanted:
            break
    return candidate, takes(candidate)


def seconds_an_image(model: nn.Module, size: int, device: torch.device, batch_size: int) -> float:
    """The seconds in which a model answers to one image of a batch, backward pass left out: the shorter of two."""
    images = torch.rand(batch_size, 3, size, size, device=device)
    with torch.no_grad(), evaluating(for_inference(model)) as fast:
        fast(images)
        times = []
        for _ in range(2):
            began = time.perf_counter()
            fast(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    return min(times) / batch_size
