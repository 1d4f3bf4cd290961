"""Hybrid images (Oliva, Torralba and Schyns 2006): the coarse structure of one image, the fine detail of another."""

import math

import torch
from torch import Tensor

from advlook.core.errors import RequestError


def hybrid(coarse: Tensor, fine: Tensor, cutoff: float) -> Tensor:
    """Low frequencies of `coarse` and high frequencies of `fine`, both float `(N, 3, H, W)`.

    A frequency f (radial, cycles per pixel) comes from `coarse` by the share exp(-f^2 / (2 cutoff^2)), a Gaussian whose
    standard deviation is `cutoff`, and from `fine` by the rest: `hybrid(x, x, c)` is x, and the brightness is that of
    `coarse`. Images are continued by reflection, so that opposite borders do not mix. Not clamped to [0, 1], which
    would bring other frequencies. Raises RequestError for images of different shapes, or a cut-off that is not above 0.

    >>> hybrid(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), 0.1).abs().max() < 1e-6  # brightness is of the coarse
    tensor(True)
    """
    if coarse.shape != fine.shape or coarse.dim() != 4:
        shapes = f"{tuple(coarse.shape)} and {tuple(fine.shape)}"
        raise RequestError(f"coarse and fine images are {shapes}; give both as float (N, 3, H, W) of one shape")
    if not 0 < cutoff < math.inf:
        raise RequestError(f"cutoff={cutoff:g} must be above 0, in cycles per pixel")
    rows, columns = (_gaussian(length, cutoff).to(coarse) for length in coarse.shape[2:])
    return fine + rows @ (coarse - fine) @ columns.T


def _gaussian(length: int, cutoff: float) -> Tensor:
    """The Gaussian low-pass of an axis that is continued by reflection, as a matrix `(length, length)`: it weights the
    cosines of the discrete cosine transform, which are the frequencies of such an axis."""
    frequencies = torch.arange(length, dtype=torch.float64) / (2 * length)
    places = torch.arange(length, dtype=torch.float64) + 0.5
    cosines = (2 * math.pi * frequencies[:, None] * places).cos() * math.sqrt(2 / length)
    cosines[0] /= math.sqrt(2)
    return cosines.T @ (torch.exp(-0.5 * (frequencies / cutoff) ** 2)[:, None] * cosines)
