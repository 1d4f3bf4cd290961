"""Gaussian blur, median filter and reversed colours.

Images are float `(N, 3, H, W)` of any size, on any device; results have the same type and memory layout. An operation
of no strength returns the images themselves. Borders are reflected as is usual for each filter: about the edge pixels
for the blur (as in OpenCV and torchvision), behind them for the median (as in scipy)."""

import math
from numbers import Integral

import cv2
import numpy as np
import torch
from torch import Tensor

from advlook.core.errors import RequestError

_WINDOWED = 2**22  # values in the windows that torch's median holds at once


def gaussian_blur(images: Tensor, sigma: float, kernel_size: int | None = None) -> Tensor:
    """Images blurred by a Gaussian of standard deviation `sigma` pixels, cut to `kernel_size` pixels a side (odd; None:
    three sigmas on either side), with weights that sum to 1. Raises RequestError for images of another shape or type, a
    sigma that is negative or not finite, or an even size."""
    if not 0 <= sigma < math.inf:
        raise RequestError(f"sigma={sigma:g} is not the width of a blur; give it in pixels, at least 0")
    if kernel_size is None:
        kernel_size = 2 * math.ceil(3 * sigma) + 1
    _check(images, kernel_size)
    if sigma == 0:
        return images
    rows, columns = (_blur_matrix(length, sigma, kernel_size).to(images) for length in images.shape[2:])
    return (rows @ (images @ columns.T)).contiguous(memory_format=_layout(images))


@torch.no_grad()
def median_filter(images: Tensor, times: int, kernel_size: int = 3) -> Tensor:
    """Every pixel replaced, in each channel, by the median of the `kernel_size` square around it, `times` times. Takes
    uint8 images as well; the result carries no gradient. On the CPU 3x3 and 5x5 medians are OpenCV's, and fast. Raises
    RequestError for images of another shape or type, `times` below 0, or an even size."""
    _check(images, kernel_size, or_bytes=True)
    if not isinstance(times, Integral) or times < 0:
        raise RequestError(f"times={times} must be a whole number, at least 0")
    if times == 0 or kernel_size == 1 or not images.numel():
        return images
    layout = _layout(images)
    for _ in range(times):
        images = _median(images, kernel_size)
    return images.contiguous(memory_format=layout)


def match_contrast(images: Tensor, others: Tensor) -> Tensor:
    """Images `(N, 3, H, W)` with the contrast of others: each keeps its mean, and its deviations from that are
    scaled until their root mean square over pixels and channels is that of the other's. An image without contrast stays
    as it is. Nothing is clamped to [0, 1]. Raises RequestError for images of another shape or type.

    >>> image = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(match_contrast(0.5 + image / 4, image).std(), image.std())
    True
    """
    _check(images, 1)
    _check(others, 1)
    means = images.mean((1, 2, 3), keepdim=True)
    own, wanted = (each.std((1, 2, 3), correction=0, keepdim=True) for each in (images, others))
    return means + (images - means) * torch.where(own > 0, wanted / own, 1.0)


def reverse_colors(images: Tensor) -> Tensor:
    """The negative, `1 - images`. Raises RequestError for images of another shape or type, or outside [0, 1]."""
    _check(images)
    if images.numel() and not (images.amin() >= -1e-4 and images.amax() <= 1 + 1e-4):
        span = f"[{images.amin():.3g}, {images.amax():.3g}]"
        raise RequestError(f"images span {span}, not [0, 1]: reverse them before any normalisation")
    return 1 - images


def _blur_matrix(length: int, sigma: float, kernel_size: int) -> Tensor:
    """The blur of an axis as a matrix `(length, length)`: kernel and reflection in one."""
    radius = kernel_size // 2
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    seen = _padded(length, radius, "reflect").unfold(0, kernel_size, 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, seen, (weights / weights.sum()).expand(length, -1))


def _padded(length: int, radius: int, mode: str) -> Tensor:
    """Indices of an axis with `radius` more on either side, by a mode of `numpy.pad`."""
    return torch.from_numpy(np.pad(np.arange(length), radius, mode))


def _median(images: Tensor, kernel_size: int) -> Tensor:
    opencv = images.device.type == "cpu" and images.dtype in (torch.float32, torch.uint8) and kernel_size <= 5
    if opencv and kernel_size == 3:  # OpenCV repeats the edges, which then is the same
        return _opencv_median(images, kernel_size)
    radius, (height, width) = kernel_size // 2, images.shape[2:]
    rows, columns = (_padded(length, radius, "symmetric").to(images.device) for length in (height, width))
    padded = images[:, :, rows][..., columns]
    if opencv:
        return _opencv_median(padded, kernel_size)[..., radius:-radius, radius:-radius]
    if kernel_size == 3:
        return _median_of_nine(padded)
    count = max(1, _WINDOWED // (padded[0].numel() * kernel_size**2))
    windows = (part.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1) for part in padded.split(count))
    return torch.cat([each.flatten(4).median(4).values for each in windows])


def _opencv_median(images: Tensor, kernel_size: int) -> Tensor:
    """Medians by OpenCV, with repeated edges: of one image at a time or, in a contiguous layout, of one channel. OpenCV
    uses one thread for medians; sharing the images among several was measured to be slower."""
    last = _layout(images) is torch.channels_last
    pictures = (images.permute(0, 2, 3, 1) if last else images.contiguous().flatten(0, 1)).numpy(force=True)
    filtered = np.empty_like(pictures, order="C")
    for picture, target in zip(pictures, filtered, strict=True):
        cv2.medianBlur(picture, kernel_size, target)
    made = torch.from_numpy(filtered)
    return made.permute(0, 3, 1, 2) if last else made.view(images.shape)


def _median_of_nine(padded: Tensor) -> Tensor:
    """Medians of 3x3 windows by minima and maxima alone, which are fast on a GPU, where medians of many rows are not.
    The median of nine is that of three: the largest of the columns' minima, the median of their medians, the smallest
    of their maxima (Paeth 1990). A column is sorted once for the three windows that it belongs to."""
    height, width = (length - 2 for length in padded.shape[2:])
    columns = _sorted(*(padded.narrow(2, start, height) for start in range(3)))
    low, middle, high = (_sorted(*(each.narrow(3, start, width) for start in range(3))) for each in columns)
    return _sorted(low[2], middle[1], high[0])[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The smallest, the middle and the largest of three, value by value."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.clamp(c, low, high), torch.maximum(high, c)


def _layout(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _check(images: Tensor, kernel_size: int = 1, or_bytes: bool = False) -> None:
    known = images.is_floating_point() or (or_bytes and images.dtype == torch.uint8)
    if images.dim() != 4 or images.shape[1] != 3 or not known:
        raise RequestError(f"images are {images.dtype} {tuple(images.shape)}; give them as float (N, 3, H, W)")
    if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise RequestError(f"kernel_size={kernel_size} has no pixel in its middle; give an odd number such as 3")
