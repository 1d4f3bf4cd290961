"""At which scale a model reads an image, by its answers: hybrid images, frequencies taken away, noise of one octave.

`04_hybrids`: low frequencies of one test image and high frequencies of another of a different class; which of the two a
model names, over the cut-off between them. `04_answers`: accuracy on low-passed and high-passed images, and with pixels
shuffled inside blocks. `04_masking`: accuracy under noise of one octave (Subramanian et al. 2023). All keep the answers
image by image. Frequencies are in cycles per pixel; no image is clamped to [0, 1], which would add frequencies."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import evaluating
from advlook.corruptions import hybrid
from advlook.data import ImageSet
from advlook.models import folded
from advlook.sensitivity import high_pass, low_pass
from advlook.sensitivity.frequency import filtered, frequency_radius, shuffle_blocks
from advlook.study import ModelKey, Row, Study

KINDS = ("std", "adv", "random")  # of models that hybrid images are shown to
CUTOFFS = tuple(0.01 * 2 ** (step / 2) for step in range(12))  # of hybrid images: half octaves, 0.01 to 0.45
PASSES = (0.03, 0.06, 0.09, 0.18)  # cut-offs of the low-pass and the high-pass
BLOCKS = (2, 4)  # pixels a side
BANDS = 7  # of noise, an octave wide each, from two cycles an image to the Nyquist frequency
NOISE = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)  # its standard deviation, in units of [0, 1]
MAIN = "as they are"

Mix = Callable[[Tensor, Tensor, float], Tensor]  # (coarse, fine, cut-off) -> hybrid images


def hybrid_rows(
    study: Study, key: ModelKey, only: str = "", chosen: slice | Tensor = slice(None), cutoffs: tuple = CUTOFFS
) -> Iterator[Row]:
    """How often a model names the coarse image of a pair, the fine one, or neither, in percent, a row a condition (see
    `conditions`) and cut-off; on all pairs, controls on the first `corruptions.controls`, or on those chosen. Which
    answers are by the coarse image, and which by the fine one: `by_coarse`, `by_fine`. An untrained model sees no
    controls."""
    controls = slice(study.preset.corruptions.controls)
    with torch.no_grad(), evaluating(folded(study.model(*key))) as model:
        for condition, mix in conditions().items():
            if only not in ("", condition) or (key[1] == "random" and condition != MAIN):
                continue
            few = condition != MAIN or key[1] == "random"
            images = [each[controls] if few else each for each in pairs(study)]
            images = [each[chosen] for each in images]
            named = defaultdict(list)
            for (coarse, first), (fine, second) in zip(
                *(each.batches(**study.batches) for each in images), strict=True
            ):
                if condition == "roles swapped":
                    coarse, first, fine, second = fine, second, coarse, first
                for cutoff in cutoffs:
                    answers = model(mix(coarse, fine, cutoff)).argmax(1)
                    named[cutoff].append(torch.stack([answers == first, answers == second]).cpu())
            for cutoff in cutoffs:
                by_coarse, by_fine = torch.cat(named[cutoff], dim=1)
                shares = {"coarse": percent(by_coarse), "fine": percent(by_fine)}
                shares["neither"] = percent(~by_coarse & ~by_fine)
                answers = {"by_coarse": by_coarse.numpy(), "by_fine": by_fine.numpy()}
                yield {"condition": condition, "cutoff": cutoff} | shares | {"images": len(by_coarse)} | answers


def pairs(study: Study) -> tuple[ImageSet, ImageSet]:
    """The coarse and the fine images of `corruptions.pairs` pairs of test images of different classes, drawn by one
    seed; fewer where the test images do not suffice, as no image is in two pairs."""
    half = len(study.test) // 2
    order = torch.randperm(len(study.test), generator=torch.Generator().manual_seed(6))[: 2 * half]
    first, second = (study.test[part] for part in order.split(half))
    differ = (first.labels != second.labels).nonzero()[:, 0][: study.preset.corruptions.pairs]
    return first[differ], second[differ]


def conditions() -> dict[str, Mix]:
    """Hybrid images as they are, and the controls: what else but the scale of the two images could decide?"""
    return {
        MAIN: hybrid,
        "roles swapped": hybrid,  # another image of the pair is the coarse one
        "grey": lambda coarse, fine, cutoff: hybrid(_grey(coarse), _grey(fine), cutoff),
        "equal contrast": _equal_contrast,
        "sharp filter": lambda coarse, fine, cutoff: fine + low_pass(coarse - fine, cutoff),
    }


def _grey(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True).expand_as(images)


def _equal_contrast(coarse: Tensor, fine: Tensor, cutoff: float) -> Tensor:
    """Both parts of a hybrid image with the same root mean square, and the contrast of the whole as it was."""
    low = hybrid(coarse, torch.zeros_like(fine), cutoff)
    high = hybrid(torch.zeros_like(coarse), fine, cutoff)
    mean = low.mean((1, 2, 3), keepdim=True)
    parts = low - mean, high - high.mean((1, 2, 3), keepdim=True)
    wanted = _contrast(sum(parts)) / math.sqrt(2)
    return mean + sum(part * wanted / _contrast(part).clamp_min(1e-6) for part in parts)


def _contrast(images: Tensor) -> Tensor:
    return images.square().mean((1, 2, 3), keepdim=True).sqrt()


def answer_rows(study: Study, key: ModelKey, only: str = "", chosen: slice | Tensor = slice(None)) -> Iterator[Row]:
    """Accuracy on all test images, or on those chosen, after every change of `changes`, or of one operation; and what
    share of the accuracy on unchanged images, both less chance, it is (`kept`)."""
    chance, clean = 100 / study.preset.data.classes, math.nan
    for operation, level, change in changes(study):
        if only in ("", operation):
            right = _right(study, key, study.test[chosen], change)
            top1 = percent(right)
            clean = top1 if operation == "clean" else clean
            kept = 100 * (top1 - chance) / (clean - chance) if clean > chance else math.nan
            about = {"operation": operation, "level": level, "top1": top1, "kept": kept}
            yield about | {"images": len(right), "right": right.numpy()}


def changes(study: Study) -> Iterator[tuple[str, float, Callable[[Tensor], Tensor]]]:
    """What is done to the test images: an operation, its level (a cut-off, or pixels of a block), and the change."""
    yield "clean", 0.0, lambda images: images
    for (name, change), cutoff in product({"low-pass": low_pass, "high-pass": high_pass}.items(), PASSES):
        yield name, cutoff, partial(change, cutoff=cutoff)
    for block in BLOCKS:
        if study.preset.data.size % block == 0:
            yield "shuffled", float(block), partial(_shuffled, block=block)


def _shuffled(images: Tensor, block: int) -> Tensor:
    """Pixels shuffled inside blocks, in the same order in every image: an answer does not depend on its batch."""
    together, order = images.flatten(0, 1)[None], torch.Generator().manual_seed(block)
    return shuffle_blocks(together, block, order)[0].unflatten(0, images.shape[:2])


def masking_rows(study: Study, key: ModelKey, only: float = 0.0, chosen: slice | Tensor = slice(None)) -> Iterator[Row]:
    """Accuracy under grey noise of one octave (the band's centre is `frequency`, 0 for no noise) and of a standard
    deviation `noise`, on the first `corruptions.masked` of a fixed draw of test images, or on those chosen."""
    images = study.test.subset(study.preset.corruptions.masked, seed=2)
    height, width = images.images.shape[-2:]
    white = torch.randn(len(images), 1, height, width, generator=torch.Generator().manual_seed(0))[chosen]
    images = images[chosen]
    rows = [] if only else [(0.0, 0.0, _right(study, key, images))]
    for centre in [only] if only else bands(min(height, width)):
        masks = octave_noise(white, centre)
        rows += [(centre, deviation, _right(study, key, images, masks=deviation * masks)) for deviation in NOISE]
    for centre, deviation, right in rows:
        about = {"frequency": centre, "noise": deviation, "top1": percent(right)}
        yield about | {"images": len(right), "right": right.numpy()}


def bands(size: int) -> list[float]:
    """Centres of the bands, in cycles per pixel: from two cycles an image to half an octave below 1/2."""
    lowest, highest = math.log2(2 / size), math.log2(0.5 / math.sqrt(2))
    return [2 ** (lowest + (highest - lowest) * band / (BANDS - 1)) for band in range(BANDS)]


def octave_noise(white: Tensor, centre: float) -> Tensor:
    """White noise `(N, 1, H, W)` reduced to the octave around a radial frequency, with a root mean square of 1."""
    height, width = white.shape[-2:]
    radius = frequency_radius(height, width, white.device)[:, : width // 2 + 1]
    noise = filtered(white, (radius >= centre / math.sqrt(2)) & (radius < centre * math.sqrt(2)))
    return noise / _contrast(noise)


@torch.no_grad()
def _right(
    study: Study,
    key: ModelKey,
    images: ImageSet,
    change: Callable[[Tensor], Tensor] | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Which images `(N,) bool` a model answers right after a change, or under a mask each."""
    found, size = [], study.preset.evaluation.batch_size
    masks = torch.zeros(len(images), 1, 1, 1) if masks is None else masks
    with evaluating(folded(study.model(*key))) as model:
        for (shown, labels), mask in zip(images.batches(**study.batches), masks.split(size), strict=True):
            changed = (change(shown) if change else shown) + mask.to(shown.device)
            found.append((model(changed).argmax(1) == labels).cpu())
    return torch.cat(found)
