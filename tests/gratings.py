"""Images of known frequency, and the spectrum of images."""

import math

import torch
from torch import Tensor

from advlook.data.image_sets import ImageSet
from advlook.sensitivity import frequency

FLAT_MEDIAN = math.sqrt(1 / (2 * math.pi))  # the circle that holds half of the unit square of frequencies


def grating(rows: int, columns: int, side: int = 32, phase: float = 0.3) -> Tensor:
    """A cosine of so many cycles down and across the image, `(side, side)`."""
    axis = torch.arange(side, dtype=torch.float64) * 2 * math.pi / side
    return torch.cos(rows * axis[:, None] + columns * axis[None] + phase).float()


def grey_set(count: int = 200, side: int = 8) -> ImageSet:
    images = torch.full((count, 3, side, side), 128, dtype=torch.uint8)
    return ImageSet(images, torch.zeros(count, dtype=torch.int64), ("grey", "other"))


def radius(found: frequency.FourierSensitivity) -> Tensor:
    """Radial frequency `(n, n)` of every point of a heat map."""
    return torch.hypot(found.frequencies[:, None], found.frequencies[None])


def radial_spectrum(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Power of square maps averaged over rings: frequencies `(rings,)` and power `(N, rings)`."""
    plane = frequency.frequency_radius(*maps.shape[-2:])
    return frequency.radial_mean(frequency.power_spectrum(maps), plane, 1 / maps.shape[-1])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
