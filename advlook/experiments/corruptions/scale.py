"""At which scale a model reads an image, by its answers: hybrid images, frequencies taken away, noise of one octave.

`04_hybrids`: low frequencies of one test image and high frequencies of another of a different class; which of the two a
model names, over the cut-off between them. `04_answers`: accuracy on low-passed and high-passed images, and with pixels
shuffled inside blocks. `04_masking`: accuracy under noise of one octave (Subramanian et al. 2023). All keep the answers
image by image. Frequencies are in cycles per pixel; no image is clamped to [0, 1], which would add frequencies."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import evaluating
from advlook.core.names import MAIN
from advlook.corruptions import hybrid
from advlook.data import ImageSet
from advlook.models.evaluation import as_classifier
from advlook.sensitivity import high_pass, low_pass
from advlook.sensitivity.frequency import filtered, frequency_radius, shuffle_blocks
from advlook.stats.bootstrap import Effect
from advlook.stats.crossing import channel, masked_octave, octave_of, octaves_apart
from advlook.stats.paired import Answers, bands_and_noise, by_seed, named, under_noise
from advlook.stats.two_way import Sample, estimate
from advlook.study import ModelKey, Row, Study

KINDS = ("std", "adv", "random")  # of models that hybrid images are shown to
CUTOFFS = tuple(0.01 * 2 ** (step / 2) for step in range(12))  # of hybrid images: half octaves, 0.01 to 0.45
PASSES = (0.03, 0.06, 0.09, 0.18)  # cut-offs of the low-pass and the high-pass
BLOCKS = (2, 4)  # pixels a side
BANDS = 7  # of noise, an octave wide each, from two cycles an image to the Nyquist frequency
NOISE = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)  # its standard deviation, in units of [0, 1]
MASKED = "noise of one octave"

Mix = Callable[[Tensor, Tensor, float], Tensor]  # (coarse, fine, cut-off) -> hybrid images


def hybrid_rows(study: Study, key: ModelKey, only: str = "", chosen: slice | Tensor = slice(None)) -> Iterator[Row]:
    """How often a model names the coarse image of a pair, the fine one, or neither, in percent, a row a condition (see
    `conditions`) and cut-off; on all pairs, controls on the first `corruptions.controls`, or on those chosen. Which
    answers are by the coarse image, and which by the fine one: `by_coarse`, `by_fine`. An untrained model sees no
    controls."""
    controls = slice(study.preset.corruptions.controls)
    with torch.no_grad(), evaluating(as_classifier(study.model(*key))) as model:
        for condition, mix in conditions().items():
            if only not in ("", condition) or (key[1] == "random" and condition != MAIN):
                continue
            few = condition != MAIN or key[1] == "random"
            images = [each[controls] if few else each for each in pairs(study)]
            images = [each[chosen] for each in images]
            found = defaultdict(list)
            for (coarse, first), (fine, second) in zip(
                *(each.batches(**study.batches) for each in images), strict=True
            ):
                if condition == "roles swapped":
                    coarse, first, fine, second = fine, second, coarse, first
                for cutoff in CUTOFFS:
                    answers = model(mix(coarse, fine, cutoff)).argmax(1)
                    found[cutoff].append(torch.stack([answers == first, answers == second]).cpu())
            for cutoff in CUTOFFS:
                by_coarse, by_fine = torch.cat(found[cutoff], dim=1)
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


def shown_hybrids(study: Study) -> dict[str, Tensor]:
    """For the figure: the first pair, and its hybrids at four cut-offs, `(3, H, W)` on the CPU, by title."""
    (coarse, first), (fine, second) = (next(each[:1].batches(1)) for each in pairs(study))
    classes = study.test.classes
    mixed = {f"cut-off {cutoff:.2g}": hybrid(coarse, fine, cutoff)[0] for cutoff in CUTOFFS[1::3]}
    return {f"fine: {classes[second]}": fine[0]} | mixed | {f"coarse: {classes[first]}": coarse[0]}


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


def masking_rows(
    study: Study, key: ModelKey, only: float | None = None, chosen: slice | Tensor = slice(None)
) -> Iterator[Row]:
    """Accuracy under grey noise of one octave (the band's centre is `frequency`, 0 for no noise) and of a standard
    deviation `noise`, on the first `corruptions.masked` of a fixed draw of test images, or on those chosen. only: one
    frequency."""
    images = study.test.subset(study.preset.corruptions.masked, seed=2)
    height, width = images.images.shape[-2:]
    white = torch.randn(len(images), 1, height, width, generator=torch.Generator().manual_seed(0))[chosen]
    images = images[chosen]
    for centre in (0.0, *bands(min(height, width))) if only is None else (only,):
        masks = octave_noise(white, centre) if centre else torch.zeros_like(white)
        for deviation in NOISE if centre else (0.0,):
            right = _right(study, key, images, masks=deviation * masks)
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
    with evaluating(as_classifier(study.model(*key))) as model:
        for (shown, labels), mask in zip(images.batches(**study.batches), masks.split(size), strict=True):
            changed = (change(shown) if change else shown) + mask.to(shown.device)
            found.append((model(changed).argmax(1) == labels).cpu())
    return torch.cat(found)


def scale_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Measure every model; save `04_hybrids`, `04_answers`, `04_masking` and what follows from them; return all."""
    measured = {
        "04_hybrids": study.measure("04_hybrids", hybrid_rows, KINDS),
        "04_answers": study.measure("04_answers", answer_rows),
        "04_masking": study.measure("04_masking", masking_rows),
    }
    derived = derived_tables(measured, study.preset.data.classes, study.preset.data.size)
    return measured | {name: study.save_table(name, table) for name, table in derived.items()}


def derived_tables(tables: Mapping[str, pd.DataFrame], classes: int, size: int) -> dict[str, pd.DataFrame]:
    """`04_scales` and `04_channels`, from `04_hybrids` and `04_masking`.

    `04_scales`, by arch, condition and seed ("all", or one), has the `scale` of "std" and of "adv": the cut-off at
    which the model changes from the fine to the coarse image, or, in the condition MASKED, the centre of its channel,
    in cycles per pixel (`cycles_per_image` as well); and of "apart": by how many octaves ADV's is lower. 95% intervals
    are over pairs (or images) and seeds."""
    hybrids, masking, found = tables["04_hybrids"], tables["04_masking"], []
    for (arch, condition), rows in hybrids[hybrids["setting"] != "random"].groupby(["arch", "condition"], sort=False):
        levels = np.sort(rows["cutoff"].unique())
        each = _scales(rows, named, levels, octave_of(levels))
        found += [{"arch": arch, "condition": condition} | row for row in each]
    for arch, rows in masking.groupby("arch", sort=False):
        levels, noise = bands_and_noise(rows)
        each = _scales(rows, under_noise, levels, masked_octave(levels, noise, 1 / classes))
        found += [{"arch": arch, "condition": MASKED} | row for row in each]
    scales = pd.DataFrame(found)
    pixels = scales["of"] != "apart"
    scales.insert(scales.columns.get_loc("images"), "cycles_per_image", (scales["scale"] * size).where(pixels))
    return {"04_scales": scales, "04_channels": _channels(masking, classes)}


def _scales(rows: pd.DataFrame, values: Answers, levels: np.ndarray, of_one: Effect) -> Iterator[Row]:
    """Rows of one architecture and condition. An interval ends where the levels do: nothing is known beyond them."""
    seeds, both = by_seed(rows, values)
    lowest, highest = np.log2(levels[[0, -1]])
    std, adv = np.split(both, 2, axis=2)
    parts = {"std": (std, of_one), "adv": (adv, of_one), "apart": (both, octaves_apart(of_one))}
    chosen = {"all": slice(None)} | ({str(seed): [k] for k, seed in enumerate(seeds)} if len(seeds) > 1 else {})
    for (seed, which), (of, (answers, effect)) in product(chosen.items(), parts.items()):
        found = estimate(Sample(answers[:, which], effect, seeds))
        ends = np.array([found.effect, *found.interval()])
        if of == "apart":
            found, low, high = np.clip(ends, lowest - highest, highest - lowest)
        else:
            found, low, high = 2 ** np.clip(ends, lowest, highest)
        yield {"seed": seed, "of": of, "scale": found, "low": low, "high": high, "images": len(answers)}


def _channels(masking: pd.DataFrame, classes: int) -> pd.DataFrame:
    found = []
    frequencies, noise = bands_and_noise(masking)
    for key, run in masking.groupby(["arch", "setting", "seed"], sort=False):
        means = under_noise(run).mean(0)
        sensitivity, centre, width = channel(frequencies, noise, 1 / classes, means)
        about = dict(zip(("arch", "setting", "seed"), key, strict=True))
        about |= {"centre": 2**centre, "width": width, "peak": sensitivity.max()}
        found += [about | {"frequency": f, "sensitivity": s} for f, s in zip(frequencies, sensitivity, strict=True)]
    return pd.DataFrame(found)
