"""Spatial frequencies of a model's answers, maps, filters and maximising inputs: numbers for the scale it looks at."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlook.attacks.ball import check_length
from advlook.attacks.suite import percent
from advlook.core.errors import RequestError
from advlook.core.gradients import evaluating
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import folded

HIGHEST = math.sqrt(0.5)  # radial frequency of the checkerboard
_ROUNDING = 1e-9  # a frequency that should equal a limit may miss it by as much


@dataclass(frozen=True)
class FourierSensitivity:
    """What perturbations along every Fourier basis image do to a model's answers, in percent of the images.

    frequencies: `(n,)`, of the rows and of the columns alike, ascending; error: `(n, n)`, share of wrong answers, the
    heat map of Yin et al. 2019; changed: `(n, n)`, share of answers that differ from those without a perturbation;
    clean: share of wrong answers without one. Row and column 0 are the most negative frequencies.
    """

    frequencies: Tensor
    error: Tensor
    changed: Tensor
    clean: float

    @property
    def radius(self) -> Tensor:
        """Radial frequency `(n, n)` of every point of the heat maps."""
        return torch.hypot(self.frequencies[:, None], self.frequencies[None])


@torch.no_grad()
def fourier_sensitivity(
    model: nn.Module,
    images: ImageSet,
    eps: float,
    *,
    max_frequency: float = 0.5,
    stride: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> FourierSensitivity:
    """How often a model errs under a perturbation of one frequency and fixed length (Yin et al. 2019).

    To channel c of an image with S pixels a side is added, at pixel (y, x),

        d_c(y, x) = eps / sqrt(3) * s_c * a * cos(2 pi (fy y + fx x) + phase),

    where s_c is -1 or 1 at random, for each image and channel, and a = sqrt(2) / S makes the grating's norm 1. So eps
    is the L2 norm over the whole image (Yin et al. state that of one channel, smaller by sqrt(3)). They leave the phase
    open: here it is random for each image, or a model that reads a sine would seem blind to it. Where f and -f are one
    frequency (fy and fx both 0 or 1/2) there is no phase: it is 0 and a = 1 / S. Nothing is cut to [0, 1], which would
    add other frequencies.
    Every frequency meets the same draws, and f and -f are the same, so half of the plane is computed; a grid thinned by
    `max_frequency` (along either axis) and `stride` (each so many multiples of 1 / S) has the values of the full one.
    `error` has the clean error as its floor, which pulls its median frequency towards that of the grid, and tells
    nothing of an untrained model; `changed` is 0 where a model is blind, so give that to `half_frequency`.
    Raises RequestError for a negative eps, images that are not square, or a grid without frequencies.
    """
    eps = check_length(eps, "l2", "eps")
    side = images.images.shape[-1]
    if images.images.shape[-2] != side:
        raise RequestError(f"images of {tuple(images.images.shape[-2:])} pixels are not square; crop them")
    highest = int((min(max_frequency, 0.5) + _ROUNDING) * side)
    if not (max_frequency <= 0.5 and 1 <= stride <= highest):
        raise RequestError(
            f"max_frequency={max_frequency:g} and stride={stride} leave no grid on {side} pixels; "
            "give at most 0.5 cycles per pixel, and a stride of 1 or more that reaches no further"
        )
    reach = highest // stride
    # Of an even side, side / 2 and -side / 2 are one frequency.
    index = [stride * k for k in range(-reach, reach + 1) if 2 * stride * k < side]
    opposite = [index.index(k if 2 * k == -side else -k) for k in index]
    half = [(i, j) for i in range(len(index)) for j in range(len(index)) if (i, j) <= (opposite[i], opposite[j])]
    phase = (2 * math.pi * _uniform((len(images),), generator))[:, None]
    signs = torch.where(_uniform((len(images), 3), generator) < 0.5, -1.0, 1.0) * eps / math.sqrt(3)
    waves = torch.stack([signs * phase.cos(), -signs * phase.sin()], 2)
    still = torch.stack([signs, torch.zeros_like(signs)], 2)
    counts = torch.zeros(2, len(index), len(index), dtype=torch.int64, device=device)
    clean = 0
    axis = torch.arange(side, device=device)
    with evaluating(folded(model)) as fast:
        batches = zip(images.batches(batch_size, device), waves.split(batch_size), still.split(batch_size), strict=True)
        for (batch, labels), moving, standing in batches:
            moving, standing = moving.to(device), standing.to(device)
            before = fast(batch).argmax(1)
            clean += int((before != labels).sum())
            for i, j in half:
                # Whole numbers modulo the side: exact where a float of many turns would not be.
                turns = (index[i] * axis[:, None] + index[j] * axis[None]) % side * (2 * math.pi / side)
                alone = (i, j) == (opposite[i], opposite[j])
                basis = torch.stack([turns.cos(), turns.sin()]).flatten(1) * ((1 if alone else math.sqrt(2)) / side)
                answers = fast(batch + ((standing if alone else moving) @ basis).view(batch.shape)).argmax(1)
                counts[:, i, j] += torch.stack([answers != labels, answers != before]).sum(1)
    for i, j in half:
        counts[:, opposite[i], opposite[j]] = counts[:, i, j]
    error, changed = 100 * counts.double().cpu() / len(images)
    frequencies = torch.tensor(index, dtype=torch.float64) / side
    return FourierSensitivity(frequencies, error, changed, 100 * clean / len(images))


@torch.no_grad()
def accuracy_on(
    model: nn.Module,
    images: ImageSet,
    change: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> float:
    """Accuracy in percent on `change(images)`; `change` takes and returns float `(N, 3, H, W)`."""
    with evaluating(folded(model)) as fast:
        batches = images.batches(batch_size, device)
        return percent(torch.cat([(fast(change(batch)).argmax(1) == labels).cpu() for batch, labels in batches]))


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Images `(N, C, H, W)` of which only the radial frequencies |f| <= `cutoff` (cycles per pixel) are left.

    A sharp circle in the plane of the discrete Fourier transform; the mean stays. Such images overshoot at edges and
    may leave [0, 1] a little; they are not cut off there, which would bring frequencies back. A display may do so.
    Raises RequestError for a cut-off outside [0, sqrt(1/2)].
    """
    if not 0 <= cutoff <= HIGHEST + _ROUNDING:
        raise RequestError(f"cutoff={cutoff:g} must be in [0, {HIGHEST:.4f}] cycles per pixel")
    height, width = images.shape[-2:]
    kept = frequency_radius(height, width, images.device)[:, : width // 2 + 1] <= cutoff + _ROUNDING
    return torch.fft.irfft2(torch.fft.rfft2(images) * kept, s=(height, width))


def high_pass(images: Tensor, cutoff: float) -> Tensor:
    """What `low_pass` takes away, on grey: images - low_pass(images, cutoff) + g, `(N, C, H, W)`.

    g is the image's mean over pixels and channels. It makes the result an image again, about as bright as before, and
    brings no colour back. Not cut to [0, 1]. Raises RequestError as `low_pass` does.
    """
    return images - low_pass(images, cutoff) + images.mean((1, 2, 3), keepdim=True)


def shuffle_blocks(images: Tensor, block: int, generator: torch.Generator | None = None) -> Tensor:
    """Images `(N, C, H, W)` with the pixels of every `block` x `block` tile in random order (Kang et al. 2017).

    Each tile of each image has an order of its own, and all channels share it: colours stay, fine structure goes.
    Raises RequestError for a block that does not divide height and width.
    """
    n, channels, height, width = images.shape
    if block < 1 or height % block or width % block:
        raise RequestError(f"block={block} does not divide images of {height}x{width} pixels")
    rows, columns = height // block, width // block
    tiles = images.reshape(n, channels, rows, block, columns, block).transpose(3, 4).flatten(4)
    order = _uniform((n, 1, rows, columns, block * block), generator).argsort(-1).to(images.device)
    tiles = tiles.gather(4, order.expand_as(tiles)).view(n, channels, rows, columns, block, block)
    return tiles.transpose(3, 4).reshape(images.shape)


def frequency_radius(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Radial frequency `(height, width)`, float64, of every coefficient of `torch.fft.fft2`."""
    fy, fx = (torch.fft.fftfreq(side, dtype=torch.float64, device=device) for side in (height, width))
    return torch.hypot(fy[:, None], fx[None])


def half_frequency(values: Tensor, radius: Tensor) -> Tensor:
    """Median frequency: the lowest F at which the sum of v(f) over |f| <= F is at least half of the sum over all f.

    values: `(..., n, m)`, at least 0, over a part of the plane whose radial frequencies are `radius` `(n, m)`.
    Returns float64 `(...)`; nan where all values are 0. Raises RequestError for negative values.
    """
    if (values < 0).any():
        raise RequestError("values below 0 have no median frequency; give shares, counts or power")
    ascending, order = radius.to(values.device).flatten().sort()
    total = values.flatten(-2)[..., order].double().cumsum(-1)
    # What is exactly half should not hang on rounding.
    place = torch.searchsorted(total, total[..., -1:] * (0.5 - 1e-6))[..., 0].clamp(max=len(ascending) - 1)
    return torch.where(total[..., -1] > 0, ascending[place].double(), torch.nan)


def radial_mean(values: Tensor, radius: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Mean of v(f) over the ring | |f| - F | <= width / 2, for the F that are multiples of `width`.

    values: `(..., n, m)`; radius: `(n, m)`. Returns F `(rings,)`, without the rings that hold no point, and the means
    `(..., rings)`. With width 1 / S on S x S pixels the first ring is the mean alone.
    """
    rings, member = (radius.to(values.device) / width).round().flatten().unique(return_inverse=True)
    sums = values.new_zeros(*values.shape[:-2], len(rings)).index_add_(-1, member, values.flatten(-2))
    return rings * width, sums / member.bincount()


def power_spectrum(maps: Tensor) -> Tensor:
    """Power P(f) = sum over channels of |DFT(map - its mean)|^2 / (H W), `(N, H, W)` from maps `(N, C, H, W)`.

    In the order of `torch.fft.fft2`. By Parseval its sum is the map's energy around the mean of each channel. There is
    no window: every pixel counts alike and a frequency that fits into the image stays a point. The price is that a
    jump from one border to the opposite one counts as an edge, for all models alike.
    """
    power = torch.fft.fft2(maps, norm="ortho").abs().square().sum(1)
    power[:, 0, 0] = 0
    return power


def radial_spectrum(maps: Tensor, *, width: float | None = None, batch_size: int = 250) -> tuple[Tensor, Tensor]:
    """Power of maps `(N, C, H, W)` averaged over rings: frequencies `(rings,)` and power `(N, rings)`.

    `power_spectrum`, then `radial_mean` over rings of `width` (None: 1 / the shorter side, the spacing of the plane).
    """
    radius = frequency_radius(*maps.shape[-2:], maps.device)
    width = width or 1 / min(maps.shape[-2:])
    frequencies, _ = radial_mean(radius, radius, width)
    return frequencies, _batched(lambda part: radial_mean(power_spectrum(part), radius, width)[1], batch_size, maps)


def median_frequency(maps: Tensor, *, batch_size: int = 250) -> Tensor:
    """Frequency below which half of the power of each map or image `(N, C, H, W)` lies, float64 `(N,)`.

    `half_frequency` of `power_spectrum`: the mean does not count. nan for what is constant.
    """
    radius = frequency_radius(*maps.shape[-2:], maps.device)
    return _batched(lambda part: half_frequency(power_spectrum(part), radius), batch_size, maps)


def filter_frequencies(weight: Tensor, grid: int = 64) -> dict[str, Tensor]:
    """Size and frequency of each filter of a convolution that reads images, from its weight `(out, in, k, k)`.

    `norm`: the L2 norm. `dominant`: argmax over f of R(f), `mean`: sum of |f| R(f) / sum of R(f), in cycles per pixel;
    where R(f) is the sum over input channels of |DFT of the filter, padded with zeros to `grid` pixels|^2. Padding
    samples the response to images of any size; k x k points would be too few. The mean is not removed: a filter that
    averages has frequency 0. Where batch normalisation follows, it undoes the norm: give the weight of `models.folded`.
    Returns three tensors `(out,)`; both frequencies of a filter of zeros are nan.
    Raises RequestError for a grid smaller than the filters.
    """
    if grid < max(weight.shape[-2:]):
        raise RequestError(f"grid={grid} is smaller than filters of {tuple(weight.shape[-2:])} pixels")
    weight = weight.detach().double()
    response = torch.fft.fft2(weight, s=(grid, grid)).abs().square().sum(1).flatten(1)
    radius, total = frequency_radius(grid, grid, weight.device).flatten(), response.sum(1)
    dominant = torch.where(total > 0, radius[response.argmax(1)], torch.nan)
    return {"norm": weight.flatten(1).norm(dim=1), "dominant": dominant, "mean": response @ radius / total}


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Uniform draws on the generator's device, not the images': so one seed gives the same ones everywhere."""
    return torch.rand(shape, generator=generator, device=generator.device if generator else "cpu").cpu()


def _batched(function: Callable[..., Tensor], batch_size: int, *tensors: Tensor) -> Tensor:
    """The function's results on `batch_size` rows at a time, joined: what it makes on the way stays small."""
    return torch.cat([function(*parts) for parts in zip(*(t.split(batch_size) for t in tensors), strict=True)])
