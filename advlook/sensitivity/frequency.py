"""Spatial frequencies, in cycles per pixel, of a model's answers, of maps, filters and maximising inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from advlook.attacks import check_length, percent
from advlook.core import Model, RequestError, at_least_float32, evaluating
from advlook.core.classifier import check_finite
from advlook.data import ImageSet
from advlook.data.tensors import Shown, as_image_set
from advlook.models.evaluation import Batches, as_classifier

HIGHEST = math.sqrt(0.5)  # radial frequency of the checkerboard
GRID = 64  # points a side at which the response of filters is sampled
_ROUNDING = 1e-9  # by which a frequency may miss a limit that it equals


@dataclass(frozen=True)
class FourierSensitivity:
    """What perturbations along every Fourier basis image do to a model's answers, in percent of the images."""

    frequencies: Tensor  # (n,), of rows and columns alike, ascending from the most negative
    error: Tensor  # (n, n), share of wrong answers: the heat map of Yin et al. 2019
    changed: Tensor  # (n, n), share of answers that the perturbation changes
    clean: float  # share of wrong answers without one


@torch.no_grad()
def fourier_sensitivity(
    model: Model,
    images: ImageSet | tuple[Tensor, Tensor],
    eps: float,
    *,
    stride: int = 1,
    generator: Generator | None = None,
    **how: Any,
) -> FourierSensitivity:
    """How often a model errs under a perturbation of one frequency and fixed length (Yin et al. 2019).

    To channel c of an image with S pixels a side is added, at pixel (y, x),

        d_c(y, x) = eps / sqrt(3) * s_c * a * cos(2 pi (fy y + fx x) + phase),

    with random signs s_c of each image and channel, a random phase of each image (which Yin et al. leave open), and
    a = sqrt(2) / S: eps is the L2 norm over the whole image (theirs is that of one channel, smaller by sqrt(3)).
    Where f and -f are one frequency (fy and fx both 0 or 1/2), the phase is 0 and a = 1 / S. Nothing is clamped to
    [0, 1], which would add other frequencies. Every frequency meets the same draws. stride: the grid is thinned to
    every so many-th multiple of 1 / S. images: a set, or a pair of float images in [0, 1] and labels. how: as of
    `models.evaluation.Batches`. Raises RequestError for a negative eps, images that are not square, a grid without
    frequencies, and what `core.Classifier` refuses."""
    eps, images = check_length(eps, "l2", "eps"), as_image_set(images)
    height, side = images.images.shape[-2:]
    if height != side:
        raise RequestError(f"images of {(height, side)} pixels are not square; crop them")
    if not 1 <= stride <= side // 2:
        raise RequestError(f"stride={stride} leaves no grid on {side} pixels; give 1 to {side // 2}")
    reach = side // 2 // stride
    index = [stride * k for k in range(-reach, reach + 1) if 2 * stride * k < side]
    # On an even side, side / 2 and -side / 2 are one frequency.
    opposite = [index.index(k if 2 * k == -side else -k) for k in index]
    half = [(i, j) for i in range(len(index)) for j in range(len(index)) if (i, j) <= (opposite[i], opposite[j])]
    phase = (2 * math.pi * _uniform((len(images),), generator))[:, None]
    signs = torch.where(_uniform((len(images), 3), generator) < 0.5, -1.0, 1.0) * eps / math.sqrt(3)
    moving = torch.stack([signs * phase.cos(), -signs * phase.sin()], 2)
    standing = torch.stack([signs, torch.zeros_like(signs)], 2)
    where = Batches(**how)
    counts = torch.zeros(2, len(index), len(index), dtype=torch.int64, device=where.device)
    clean, axis = 0, torch.arange(side, device=where.device)
    with evaluating(as_classifier(model, images.labels)) as fast:
        for _, chosen, batch, labels in where.dealt(images):
            with_phase, without = moving[chosen].to(where.device), standing[chosen].to(where.device)
            before = fast(batch).argmax(1)
            clean += int((before != labels).sum())
            for i, j in half:
                # Integers modulo the side are exact, unlike a float of many turns.
                turns = (index[i] * axis[:, None] + index[j] * axis[None]) % side * (2 * math.pi / side)
                alone = (i, j) == (opposite[i], opposite[j])
                basis = torch.stack([turns.cos(), turns.sin()]).flatten(1) * ((1 if alone else math.sqrt(2)) / side)
                answers = fast(batch + ((without if alone else with_phase) @ basis).view(batch.shape)).argmax(1)
                counts[:, i, j] += torch.stack([answers != labels, answers != before]).sum(1)
    for i, j in half:
        counts[:, opposite[i], opposite[j]] = counts[:, i, j]
    error, changed = 100 * counts.double().cpu() / len(images)
    frequencies = torch.tensor(index, dtype=torch.float64) / side
    return FourierSensitivity(frequencies, error, changed, 100 * clean / len(images))


@torch.no_grad()
def accuracy_on(model: Model, images: Shown, change: Callable[[Tensor], Tensor], **how: Any) -> float:
    """Accuracy in percent on `change(images)`; `change` takes and returns float `(N, 3, H, W)`. images, how, and errors
    as of `models.evaluation`."""
    images = as_image_set(images)
    with evaluating(as_classifier(model, images.labels)) as fast:
        batches = Batches(**how).dealt(images)
        made = ((_changed(change, shown), labels) for _, _, shown, labels in batches)
        return percent(torch.cat([(fast(shown).argmax(1) == labels).cpu() for shown, labels in made]))


def _changed(change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a change makes of images; RequestError where it is no finite float tensor of as many images."""
    made = change(images)
    if not isinstance(made, Tensor) or not made.is_floating_point() or made.shape[:2] != images.shape[:2]:
        kind = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise RequestError(f"change gives {kind}; it has to return float images {tuple(images.shape)}")
    check_finite(made, "what change returns", "mend what divides by 0, or takes the root or logarithm of less")
    return made


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Images `(N, C, H, W)` reduced to the radial frequencies |f| <= `cutoff` (cycles per pixel); the mean stays.

    Not clamped to [0, 1], which would bring frequencies back. Raises RequestError for a cut-off outside [0, sqrt(1/2)].
    """
    if not 0 <= cutoff <= HIGHEST + _ROUNDING:
        raise RequestError(f"cutoff={cutoff:g} must be in [0, {HIGHEST:.4f}] cycles per pixel")
    height, width = images.shape[-2:]
    return filtered(images, frequency_radius(height, width, images.device)[:, : width // 2 + 1] <= cutoff + _ROUNDING)


def high_pass(images: Tensor, cutoff: float) -> Tensor:
    """What `low_pass` removes, plus the image's mean over pixels and channels, which keeps its brightness."""
    return images - low_pass(images, cutoff) + images.mean((1, 2, 3), keepdim=True)


def filtered(images: Tensor, factor: Tensor) -> Tensor:
    """Images `(N, C, H, W)` with every frequency of `rfft2` multiplied by a factor `(H, W // 2 + 1)`."""
    spectrum = torch.fft.rfft2(at_least_float32(images))  # there is none of half precision
    return torch.fft.irfft2(spectrum * factor, s=images.shape[-2:]).to(images.dtype)


def shuffle_blocks(images: Tensor, block: int, generator: Generator | None = None) -> Tensor:
    """Images `(N, C, H, W)`, the pixels of every `block` x `block` tile in an order of its own (Kang et al. 2017)."""
    n, channels, height, width = images.shape
    if block < 1 or height % block or width % block:
        raise RequestError(f"block={block} does not divide images of {height}x{width} pixels")
    tiles = F.pixel_unshuffle(images, block).unflatten(1, (channels, block**2))
    order = _uniform((n, 1, height // block, width // block, block**2), generator).argsort(-1).movedim(-1, 2)
    shuffled = tiles.gather(2, order.to(images.device).expand_as(tiles))
    return F.pixel_shuffle(shuffled.flatten(1, 2), block)


def frequency_radius(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Radial frequency `(height, width)`, float64, of every coefficient of `torch.fft.fft2`."""
    fy, fx = (torch.fft.fftfreq(side, dtype=torch.float64, device=device) for side in (height, width))
    return torch.hypot(fy[:, None], fx[None])


def half_frequency(values: Tensor, radius: Tensor) -> Tensor:
    """Median frequency: the lowest F at which the sum of v(f) over |f| <= F is at least half of the sum over all f.
    values: `(..., n, m)`, at least 0 (else RequestError), over a part of the plane whose radial frequencies are
    `radius` `(n, m)`. Returns float64 `(...)`; nan where all values are 0."""
    if (values < 0).any():
        raise RequestError("values below 0 have no median frequency; give shares, counts or power")
    ascending, order = radius.to(values.device).flatten().sort()
    total = values.flatten(-2)[..., order].double().cumsum(-1)
    # Rounding must not decide where the sum is exactly half.
    place = torch.searchsorted(total, total[..., -1:] * (0.5 - 1e-6))[..., 0].clamp(max=len(ascending) - 1)
    return torch.where(total[..., -1] > 0, ascending[place].double(), torch.nan)


def radial_mean(values: Tensor, radius: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Mean of v(f), `(..., n, m)`, over the ring | |f| - F | <= width / 2, for the F that are multiples of `width`.
    radius: `(n, m)`. Returns F `(rings,)`, without empty rings, and the means `(..., rings)`."""
    rings, member = (radius.to(values.device) / width).round().flatten().unique(return_inverse=True)
    sums = values.new_zeros(*values.shape[:-2], len(rings)).index_add_(-1, member, values.flatten(-2))
    return rings * width, sums / member.bincount()


def power_spectrum(maps: Tensor, *, grid: int | None = None, mean: bool = False) -> Tensor:
    """Power P(f) = sum over channels of |DFT(map - its mean)|^2 / (H W), `(N, H, W)` from maps `(N, C, H, W)`. In the
    order of `torch.fft.fft2`; by Parseval the sum is the map's energy around its mean. grid: maps are padded with zeros
    to so many pixels a side; mean: the mean is not subtracted."""
    power = torch.fft.fft2(at_least_float32(maps), s=grid and (grid, grid), norm="ortho").abs().square().sum(1)
    if not mean:
        power[:, 0, 0] = 0
    return power


def median_frequency(maps: Tensor) -> Tensor:
    """`half_frequency` of the `power_spectrum` of maps or images `(N, C, H, W)`: float64 `(N,)`, nan for constants."""
    radius = frequency_radius(*maps.shape[-2:], maps.device)
    return in_batches(lambda part: half_frequency(power_spectrum(part), radius), maps)


def filter_frequencies(weight: Tensor) -> dict[str, Tensor]:
    """Size and frequency, two tensors `(out,)`, of each filter of a convolution on images, `(out, in, k, k)`. "norm":
    the L2 norm; "mean": sum of |f| R(f) / sum of R(f), with R the power of the filter padded with zeros to GRID pixels,
    which samples the response to images of any size; nan for a filter of zeros. The mean is not subtracted. Batch
    normalisation behind the filter undoes the norm: give the weight of `models.folded`."""
    weight = weight.detach().double()
    response = power_spectrum(weight, grid=GRID, mean=True).flatten(1)
    radius = frequency_radius(GRID, GRID, weight.device).flatten()
    return {"norm": weight.flatten(1).norm(dim=1), "mean": response @ radius / response.sum(1)}


def in_batches(function: Callable[..., Tensor], *tensors: Tensor, batch_size: int = 250) -> Tensor:
    """The function's results on `batch_size` rows at a time, concatenated, which bounds its intermediate memory."""
    return torch.cat([function(*parts) for parts in zip(*(t.split(batch_size) for t in tensors), strict=True)])


def _uniform(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    """Uniform draws, made on the generator's device: one seed gives the same ones wherever the images are."""
    return torch.rand(shape, generator=generator, device=generator.device if generator else "cpu").cpu()
