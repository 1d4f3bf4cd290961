"""Edges of images, and how closely maps follow them."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.data.image_sets import luminance
from advlook.sensitivity.frequency import in_batches
from advlook.sensitivity.similarity import unit_ranks

FLAT = 1e-5  # grey levels per pixel; a weaker gradient is rounding


def edges(images: Tensor, sigma: float = 0.0) -> Tensor:
    """Edges of images `(N, 3, H, W)` at the scale `sigma` pixels (0: none): `(N, H, W)`, grey levels per pixel: the
    Sobel gradient of the smoothed luminance, borders replicated. Values below FLAT are set to 0, so that flat regions
    are not ranked by rounding. Raises RequestError for a negative sigma."""
    if not sigma >= 0:
        raise RequestError(f"sigma={sigma:g} is not a width; give it in pixels, at least 0")
    grey = luminance(images)[:, None]
    if sigma:
        reach = math.ceil(3 * sigma)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(grey) / sigma).square())
        kernel /= kernel.sum()
        grey = F.conv2d(F.pad(grey, (reach,) * 4, mode="replicate"), kernel.view(1, 1, 1, -1))
        grey = F.conv2d(grey, kernel.view(1, 1, -1, 1))
    slope = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    gradient = F.conv2d(F.pad(grey, (1,) * 4, mode="replicate"), torch.stack([slope, slope.T])[:, None])
    strength = gradient.norm(dim=1)
    return strength.where(strength >= FLAT, 0.0)


def edge_correlation(maps: Tensor, images: Tensor, sigmas: Sequence[float] = (0.0, 1.0, 2.0, 4.0)) -> Tensor:
    """Rank correlation over pixels of |map|, summed over channels, and `edges(images, sigma)`.

    maps, images: `(N, 3, H, W)`, else RequestError. Only the images are smoothed: a map that follows edges of a larger
    scale has its highest correlation at a larger sigma. Returns float64 `(N, len(sigmas))`."""
    if maps.shape != images.shape:
        raise RequestError(f"maps {tuple(maps.shape)} and images {tuple(images.shape)} must have the same shape")

    def correlations(some: Tensor, shown: Tensor) -> Tensor:
        ranks = unit_ranks(some.abs().sum(1).flatten(1))
        return torch.stack([(ranks * unit_ranks(edges(shown, sigma).flatten(1))).sum(1) for sigma in sigmas], 1)

    return in_batches(correlations, maps, images)


def energy_shares(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Shares of each map's energy on a silhouette's outline, inside it and on the background; they sum to 1. share(R) =
    sum of m_c(p)^2 over channels c and pixels p in R / the same sum over all p. The outline holds every pixel with both
    sides in its 3 x 3 neighbourhood: it is 2 pixels wide. maps: `(N, C, H, W)`; masks: bool `(N, H, W)` (else
    RequestError). Returns "outline", "inside" and "background", float64 `(N,)`; nan for a map of zeros."""
    if masks.dtype != torch.bool or masks.shape != maps[:, 0].shape:
        shape = tuple(maps[:, 0].shape)
        raise RequestError(f"masks must be bool of shape {shape}, not {masks.dtype} {tuple(masks.shape)}")
    inner, outer = (F.max_pool2d(side.float(), 3, stride=1, padding=1) > 0 for side in (masks, ~masks))
    outline = inner & outer
    energy = maps.detach().square().sum(1).double()
    regions = {"outline": outline, "inside": masks & ~outline, "background": ~masks & ~outline}
    return {name: (energy * region).sum((1, 2)) / energy.sum((1, 2)) for name, region in regions.items()}
