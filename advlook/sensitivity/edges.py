"""Edges of images, and how closely maps follow them."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.data.image_sets import LUMINANCE
from advlook.sensitivity.frequency import _batched
from advlook.sensitivity.similarity import _unit_ranks


def edges(images: Tensor, sigma: float = 0.0) -> Tensor:
    """Strength of the edges of images `(N, 3, H, W)` at the scale `sigma`, `(N, H, W)`.

    |Sobel(G * L)|: luminance L (BT.601), smoothed by a Gaussian G of standard deviation `sigma` pixels (0: not), then
    the length of the Sobel gradient in grey levels per pixel; borders are repeated. Below 1e-5 it is rounding, and set
    to 0, lest flat regions be ranked by it. Raises RequestError for a negative sigma.
    """
    if not sigma >= 0:
        raise RequestError(f"sigma={sigma:g} is not a width; give it in pixels, at least 0")
    grey = torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMINANCE))[:, None]
    if sigma:
        reach = math.ceil(3 * sigma)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(grey) / sigma).square())
        kernel /= kernel.sum()
        grey = F.conv2d(F.pad(grey, (reach,) * 4, mode="replicate"), kernel.view(1, 1, 1, -1))
        grey = F.conv2d(grey, kernel.view(1, 1, -1, 1))
    slope = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    gradient = F.conv2d(F.pad(grey, (1,) * 4, mode="replicate"), torch.stack([slope, slope.T])[:, None])
    strength = gradient.norm(dim=1)
    return strength.where(strength >= 1e-5, 0.0)


def edge_correlation(
    maps: Tensor, images: Tensor, sigmas: Sequence[float] = (0.0, 1.0, 2.0, 4.0), *, batch_size: int = 250
) -> Tensor:
    """Rank correlation over pixels between |map|, summed over channels, and `edges(images, sigma)`.

    maps, images: `(N, 3, H, W)`. Only the images are smoothed: of two maps, the one that follows edges of a larger
    scale has its highest correlation at a larger sigma. Returns float64 `(N, len(sigmas))`.
    Raises RequestError for maps and images of different shapes, or a negative sigma.
    """
    if maps.shape != images.shape:
        raise RequestError(f"maps {tuple(maps.shape)} and images {tuple(images.shape)} must have the same shape")

    def correlations(some: Tensor, shown: Tensor) -> Tensor:
        ranks = _unit_ranks(some.abs().sum(1).flatten(1))
        return torch.stack([(ranks * _unit_ranks(edges(shown, sigma).flatten(1))).sum(1) for sigma in sigmas], 1)

    return _batched(correlations, batch_size, maps, images)


def colour_variance(images: Tensor) -> Tensor:
    """How much the colour of each image `(N, 3, H, W)` varies over its pixels, `(N,)`, in squared units of the image.

    With k_c(p) = x_c(p) - the mean of x(p) over channels, it is the sum over c of the variance of k_c over pixels p.
    Grey images and images of one colour have 0.
    """
    colour = images - images.mean(1, keepdim=True)
    return colour.var((2, 3), unbiased=False).sum(1)


def energy_shares(maps: Tensor, masks: Tensor, band: int = 1) -> dict[str, Tensor]:
    """Shares of each map's energy on a silhouette's outline, inside it and on the background; their sum is 1.

    share(R) = sum of m_c(p)^2 over channels c and pixels p in R / the same sum over all p. The outline is every pixel
    that has pixels of both sides at most `band` rows and columns away, itself included: 2 band pixels wide, centred on
    the border. What of the inside and of the background it leaves are the other two.
    maps: `(N, C, H, W)`; masks: bool `(N, H, W)`, the silhouettes (`SyntheticSet.masks`). Returns "outline", "inside"
    and "background", each float64 `(N,)`; nan for a map of zeros. What the areas alone would give are the shares of
    `torch.ones_like(maps)`. Raises RequestError for masks of another shape or type, or a band below 1.
    """
    if masks.dtype != torch.bool or masks.shape != maps[:, 0].shape:
        raise RequestError(
            f"masks must be bool of shape {tuple(maps[:, 0].shape)}, not {masks.dtype} {tuple(masks.shape)}"
        )
    if band < 1:
        raise RequestError(f"band={band} leaves no outline; give 1 pixel or more")
    near_inside, near_outside = (
        F.max_pool2d(side[:, None].float(), 2 * band + 1, 1, band)[:, 0] > 0 for side in (masks, ~masks)
    )
    outline = near_inside & near_outside
    energy = maps.detach().square().sum(1).double()
    regions = {"outline": outline, "inside": masks & ~outline, "background": ~masks & ~outline}
    return {name: (energy * region).sum((1, 2)) / energy.sum((1, 2)) for name, region in regions.items()}
