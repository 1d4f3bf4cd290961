"""Stylization without a trained network: an image takes on the texture and colours of a style and keeps its layout.

Each image is optimised (Gatys et al. 2016) until the Gram matrices of its responses to fixed random filters
(Ustyuzhaninov et al. 2017) match the style's, while its blurred luminance stays close to the content's. Meant for
images of up to about 100 pixels a side. Of photographs it keeps nearly every edge: `style_network` serves those.

Three changes make few steps suffice and yield strokes rather than coloured speckle. A filter sees one colour axis in
one band of a Laplacian pyramid, and its responses count in units of the style's own: noise in a band or colour that the
style lacks costs much. Their means are matched as well, which tells few strong strokes from much weak noise. The start
is the content's blurred luminance in the style's colours, plus fine detail from random places of the style."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.corruptions.filters import gaussian_blur
from advlook.data.image_sets import luminance

LEVELS = 3  # of the pyramid; each halves the resolution
FILTERS = 8  # random ones per colour axis and level
FILTER_SIZE = 5  # pixels a side
SMALLEST = FILTER_SIZE * 2 ** (LEVELS - 1)  # pixels a side that the coarsest filters need

_AXES = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # luminance and two opponent colours, orthogonal
_FLOOR = 0.05  # of the mean power, added to each filter's: faint responses of a style need not be matched closely
_SHARPNESS = 1.0  # pixels: standard deviation of the blur that leaves the layout
_CONTENT = 30.0  # weight of the layout against the style's statistics; chosen by edges kept, and by eye
_RATE = 0.03  # first learning rate of Adam, in units of [0, 1]; falls to 0 along a cosine

Statistics = list[tuple[Tensor, Tensor]]  # by level: Gram matrix and mean of the responses


def stylize(
    images: Tensor, styles: Tensor, *, strength: float = 1.0, steps: int = 40, seeds: Sequence[int] | None = None
) -> Tensor:
    """Images with the texture and colours of styles, float `(N, 3, H, W)` in [0, 1] like `images`.

    styles: `(N, 3, h, w)`, one per image. strength: in [0, 1]; start and aim are mixed from the content's own (1 -
    strength) and the style's; 0 returns the images themselves. seeds: one per image, of the places in the style from
    which its first texture is taken (None: 0 for all). An image's result does not depend on the others in the batch,
    but for rounding. Raises RequestError for images and styles that do not match or are too small, or a strength
    outside [0, 1]."""
    _check(images, styles, strength, steps)
    if strength == 0 or not len(images):
        return images
    seeds = [0] * len(images) if seeds is None else seeds
    if len(seeds) != len(images):
        raise RequestError(f"{len(seeds)} seeds do not match {len(images)} images; give one an image")
    filters = _filters(images)
    with torch.no_grad():
        levels = zip(_statistics(styles, filters), _statistics(images, filters), strict=True)
        aims = [tuple(strength * a + (1 - strength) * b for a, b in zip(*level, strict=True)) for level in levels]
        layout = _layout(images)
        start = strength * _start(images, styles, seeds) + (1 - strength) * images
    shown = start.clone().requires_grad_()
    # Adam scales each value by itself, so that images do not mix.
    optimizer = torch.optim.Adam([shown], _RATE, betas=(0.9, 0.99), eps=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        with torch.enable_grad():
            texture = _distance(_statistics(shown, filters), aims)
            loss = texture + _CONTENT * (_layout(shown) - layout).square().mean((1, 2))
            (shown.grad,) = torch.autograd.grad(loss.sum(), shown)
        optimizer.step()
        schedule.step()
        shown.detach().clamp_(0, 1)
    return shown.detach()


def gram_distance(images: Tensor, styles: Tensor) -> Tensor:
    """Distance `(N,)` between each image and its style in the statistics that `stylize` optimises."""
    filters = _filters(images)
    with torch.no_grad():
        return _distance(_statistics(images, filters), _statistics(styles, filters))


def _filters(like: Tensor) -> list[Tensor]:
    """Fixed random filters of norm 1 for every level, `(3 FILTERS, 1, size, size)`."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(LEVELS, 3 * FILTERS, FILTER_SIZE**2, generator=generator)
    return list(F.normalize(drawn, dim=2).view(LEVELS, -1, 1, FILTER_SIZE, FILTER_SIZE).to(like))


def _statistics(images: Tensor, filters: list[Tensor]) -> Statistics:
    """Gram matrices and means of the rectified responses in each band, and of the colours of the coarsest level."""
    axes = F.normalize(images.new_tensor(_AXES), dim=1).view(3, 3, 1, 1)
    shown, found = F.conv2d(images - 0.5, axes), []
    for bank in filters:
        # Overlapping windows: pooling by separate 2x2 blocks would leave visible blocks in the result.
        coarse = F.avg_pool2d(F.pad(shown, (1,) * 4, mode="replicate"), 4, 2)
        band = shown - F.interpolate(coarse, shown.shape[2:], mode="bilinear")
        band = F.pad(band, (FILTER_SIZE // 2,) * 4, mode="reflect")
        found.append(_gram_and_mean(F.relu(F.conv2d(band, bank, groups=3))))
        shown = coarse
    return [*found, _gram_and_mean(shown)]


def _gram_and_mean(responses: Tensor) -> tuple[Tensor, Tensor]:
    flat = responses.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2], flat.mean(2)


def _distance(found: Statistics, aims: Statistics) -> Tensor:
    """Mean squared differences `(N,)` of Gram matrices and of means, in units of the aims, summed over the levels."""
    total = torch.zeros(())
    for (gram, mean), (aim, aim_mean) in zip(found, aims, strict=True):
        power = aim.diagonal(dim1=1, dim2=2)
        scale = (power + _FLOOR * power.mean(1, keepdim=True) + 1e-6).rsqrt()
        grams = ((gram - aim) * scale[:, :, None] * scale[:, None]).square().mean((1, 2))
        total = total + grams + ((mean - aim_mean) * scale).square().mean(1)
    return total


def _layout(images: Tensor) -> Tensor:
    """Blurred luminance `(N, H, W)`, scaled to mean 0 and variance 1: the style sets brightness and contrast."""
    grey = luminance(gaussian_blur(images, _SHARPNESS))
    grey = grey - grey.mean((1, 2), keepdim=True)
    return grey * (grey.square().mean((1, 2), keepdim=True) + 1e-4).rsqrt()


def _start(images: Tensor, styles: Tensor, seeds: Sequence[int]) -> Tensor:
    """The content's layout in the style's colours (by regression on luminance), plus the style's shuffled detail."""
    grey = luminance(styles)
    spread = (grey - grey.mean((1, 2), keepdim=True))[:, None]
    deviation = spread.std((2, 3), keepdim=True) + 1e-3
    middle = styles.mean((2, 3), keepdim=True)
    slope = ((styles - middle) * spread).mean((2, 3), keepdim=True) / deviation
    detail = styles - gaussian_blur(styles, _SHARPNESS)
    pieces = [_pieces(one, images.shape[2:], seed) for one, seed in zip(detail, seeds, strict=True)]
    return (middle + slope * _layout(images)[:, None] + torch.stack(pieces)).clamp_(0, 1)


def _pieces(detail: Tensor, shape: Sequence[int], seed: int) -> Tensor:
    """Square pieces of `(3, h, w)` from random places, tiled to `(3, *shape)`: texture without the style's shapes."""
    side = min(max(FILTER_SIZE, min(shape) // 4), *detail.shape[1:])
    rows, columns = (math.ceil(length / side) for length in shape)
    places = torch.rand(rows, columns, 2, generator=torch.Generator().manual_seed(seed))
    room = torch.tensor([length - side + 1 for length in detail.shape[1:]])
    tops = (places * room).long().tolist()
    lines = [torch.cat([detail[:, y : y + side, x : x + side] for y, x in line], 2) for line in tops]
    return torch.cat(lines, 1)[:, : shape[0], : shape[1]]


def _check(images: Tensor, styles: Tensor, strength: float, steps: int) -> None:
    for name, given in (("images", images), ("styles", styles)):
        if given.dim() != 4 or given.shape[1] != 3 or not given.is_floating_point():
            raise RequestError(f"{name} are {given.dtype} {tuple(given.shape)}; give them as float (N, 3, H, W)")
        if len(given) and min(given.shape[2:]) < SMALLEST:
            raise RequestError(f"{name} of {tuple(given.shape[2:])} pixels are too small; give at least {SMALLEST}")
    if len(images) != len(styles):
        raise RequestError(f"{len(styles)} styles do not match {len(images)} images; give one an image")
    check_strength(strength)
    if steps < 1:
        raise RequestError(f"steps={steps} must be at least 1")


def check_strength(strength: float) -> None:
    """Raises RequestError for a strength outside [0, 1]."""
    if not 0 <= strength <= 1:
        raise RequestError(f"strength={strength:g} is outside [0, 1]; 0 leaves the images, 1 is the whole style")
