"""Corruptions of the four families of ImageNet-C (noise, blur, weather, digital), at five severities. After Hendrycks
and Dietterich (2019), by torchvision and Pillow. The strengths are not those of ImageNet-C, which are made for 224
pixels: sizes here are relative to the image's, except single-pixel noise and JPEG's blocks of eight."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from advlook.data.image_sets import to_bytes, to_float

Apply = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Corruption:
    """One corruption: `apply(images, strength, generator)` -> images, both float `(N, 3, H, W)`."""

    family: str
    title: str
    unit: str  # what a strength is
    strengths: tuple[float, float, float, float, float]  # by severity, from 1 to 5
    apply: Apply

    def sweep(self, images: Tensor, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        """Severity, from 0 (the images themselves) to 5, and images in [0, 1]."""
        yield 0, images
        for severity, strength in enumerate(self.strengths, 1):
            yield severity, self.apply(images, strength, generator).clamp(0, 1)


def gaussian_noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Independent Gaussian noise on every value."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + (deviation * noise).to(images)  # of the images' type, whatever that is


def zoom_blur(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """The mean of eight copies, enlarged about the centre 1 to `most` times."""
    still = {"angle": 0.0, "translate": [0.0, 0.0], "shear": [0.0, 0.0], "interpolation": InterpolationMode.BILINEAR}
    zooms = torch.linspace(1, most, 8).tolist()
    return torch.stack([vision.affine(images, scale=zoom, **still) for zoom in zooms]).mean(0)


def _undrawn(change: Callable[[Tensor, float], Tensor]) -> Apply:
    """A corruption that draws nothing: all values multiplied, or their differences from the mean luminance."""
    return lambda images, strength, generator: change(images, strength)


def pixelate(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Reduced to a share of the pixels a side, each drawn as a block."""
    size = list(images.shape[-2:])
    coarse = vision.resize(images, [max(1, round(share * side)) for side in size], antialias=True)
    return vision.resize(coarse, size, InterpolationMode.NEAREST)


def jpeg(images: Tensor, quality: float, generator: torch.Generator) -> Tensor:
    """Written as JPEG of this quality and read again; values outside [0, 1] are clipped first."""
    read = []
    for pixels in to_bytes(images).permute(0, 2, 3, 1).numpy(force=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        read.append(torch.from_numpy(np.array(Image.open(file))))
    return to_float(torch.stack(read).permute(0, 3, 1, 2)).to(images)


FAMILIES = {
    corruption.title: corruption
    for corruption in (
        Corruption("noise", "Gaussian noise", "deviation", (0.04, 0.08, 0.12, 0.18, 0.26), gaussian_noise),
        Corruption("blur", "zoom blur", "largest zoom", (1.06, 1.12, 1.18, 1.26, 1.36), zoom_blur),
        Corruption("weather", "brightness", "factor", (1.3, 1.6, 2.0, 2.5, 3.2), _undrawn(vision.adjust_brightness)),
        Corruption("digital", "contrast", "factor", (0.6, 0.45, 0.3, 0.2, 0.12), _undrawn(vision.adjust_contrast)),
        Corruption("digital", "pixelate", "share of a side", (0.7, 0.55, 0.4, 0.3, 0.22), pixelate),
        Corruption("digital", "JPEG", "quality", (50, 30, 18, 10, 6), jpeg),
    )
}
