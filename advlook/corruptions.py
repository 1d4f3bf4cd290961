"""What takes detail or colour from images: Gaussian blur, median filter, reversed colours.

Images are float `(N, 3, H, W)` of any size, on any device, and so are the results, in the same memory layout; an
operation of no strength returns the images themselves. At the edges images are reflected as is usual for each filter:
for the blur about the edge pixels (as in OpenCV and torchvision), for the median behind them, so that they count twice
(as in scipy; for 3x3 that is OpenCV's repeated edge as well).
"""

import math
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor

from advlook.errors import RequestError

_CACHED = 2**19  # bytes of images that a 3x3 median works on at a time, so that they and its scratch stay in the cache
_WINDOWED = 2**22  # values in the windows that a larger median holds at once


def gaussian_blur(images: Tensor, sigma: float, kernel_size: int) -> Tensor:
    """Images blurred by a Gaussian of standard deviation `sigma`, in pixels, cut to `kernel_size` pixels a side.

    The weights of the odd `kernel_size` are scaled to sum to 1. The kernel may be larger than the image.
    Raises RequestError for images of another shape or type, a sigma that is negative or not finite, and a kernel_size
    that is not odd.
    """
    _check(images, kernel_size)
    if not 0 <= sigma < math.inf:
        raise RequestError(f"sigma={sigma:g} is not the width of a blur; give it in pixels, at least 0")
    if sigma == 0:
        return images
    rows, columns = (_blur_matrix(length, sigma, kernel_size).to(images) for length in images.shape[2:])
    return (rows @ (images @ columns.T)).contiguous(memory_format=_layout(images))


@torch.no_grad()
def median_filter(images: Tensor, times: int, kernel_size: int = 3) -> Tensor:
    """Every pixel replaced, in each channel, by the median of the odd `kernel_size` square around it, `times` times.

    Bytes, as an `ImageSet` holds them, are taken as well, and filtered three times as fast. The result carries no
    gradient. Raises RequestError for images of another shape or type, a number of times that is not whole or below 0,
    and a kernel_size that is not odd.
    """
    _check(images, kernel_size, or_bytes=True)
    if not isinstance(times, Integral) or times < 0:
        raise RequestError(f"times={times} must be a whole number, at least 0")
    if times == 0 or kernel_size == 1 or not images.numel():
        return images
    if _layout(images) is torch.channels_last:
        pixels = images.permute(0, 2, 3, 1)
    else:
        pixels = images.contiguous().flatten(0, 1).unsqueeze(3)
    filtered = torch.empty_like(pixels)
    most = _CACHED // pixels.itemsize if kernel_size == 3 else _WINDOWED // kernel_size**2
    count = max(1, most // pixels[0].numel()) if kernel_size > 3 or pixels.device.type == "cpu" else len(pixels)
    for part, target in zip(pixels.split(count), filtered.split(count), strict=True):
        target.copy_(_median_3x3(part, times) if kernel_size == 3 else _median(part, times, kernel_size))
    return filtered.permute(0, 3, 1, 2) if _layout(images) is torch.channels_last else filtered.view(images.shape)


def reverse_colors(images: Tensor) -> Tensor:
    """The negative, `1 - images`: its own inverse, up to the last bit of a float.

    Raises RequestError for images of another shape or type, or outside [0, 1].
    """
    _check(images)
    if images.numel() and not (images.amin() >= -1e-4 and images.amax() <= 1 + 1e-4):
        raise RequestError(
            f"images span [{images.amin():.3g}, {images.amax():.3g}], not [0, 1]: reverse them before any normalisation"
        )
    return 1 - images


def _blur_matrix(length: int, sigma: float, kernel_size: int) -> Tensor:
    """The blur of an axis as a matrix `(length, length)`: kernel and reflection in one, whatever the sizes."""
    radius = kernel_size // 2
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    seen = _reflected(length, radius, twice=False).unfold(0, kernel_size, 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, seen, (weights / weights.sum()).expand(length, -1))


def _reflected(length: int, radius: int, twice: bool) -> Tensor:
    """Indices of an axis with `radius` more on either side, reflected; whether the edge counts twice."""
    period = 2 * length if twice else max(1, 2 * length - 2)
    places = torch.arange(-radius, length + radius) % period
    return torch.minimum(places, 2 * (length - 1) + twice - places)


def _median_3x3(pixels: Tensor, times: int) -> Tensor:
    """Medians of contiguous `(P, H, W, C)` by minima and maxima alone, of whole rows of memory.

    The median of nine is that of three: the largest of the columns' minima, the median of their medians, the smallest
    of their maxima (Paeth 1990). A column is sorted once for the three windows that it belongs to.
    """
    count, height, width, channels = pixels.shape
    padded = pixels.new_empty(count, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = pixels
    # One line of memory: the neighbour of each value is at a fixed distance. What is made of borders is not used.
    flat, row = padded.view(-1), (width + 2) * channels

    def across(combine: Callable[[Tensor, Tensor, Tensor], Tensor], columns: Tensor) -> Tensor:
        return combine(columns[: -2 * channels], columns[channels:-channels], columns[2 * channels :])

    for _ in range(times):
        padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
        padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
        low, middle, high = _sorted(flat[: -2 * row], flat[row:-row], flat[2 * row :])
        flat[row + channels : -row - channels] = _middle(
            across(lambda a, b, c: torch.maximum(torch.maximum(a, b), c), low),
            across(_middle, middle),
            across(lambda a, b, c: torch.minimum(torch.minimum(a, b), c), high),
        )
    return padded[:, 1:-1, 1:-1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The smallest, the middle and the largest of three, value by value."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.clamp(c, low, high), torch.maximum(high, c)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The median of three, value by value."""
    return torch.clamp(c, torch.minimum(a, b), torch.maximum(a, b))


def _median(pixels: Tensor, times: int, kernel_size: int) -> Tensor:
    """Medians of `(P, H, W, C)` over windows of any odd size."""
    rows, columns = (_reflected(length, kernel_size // 2, twice=True).to(pixels.device) for length in pixels.shape[1:3])
    for _ in range(times):
        windows = pixels[:, rows][:, :, columns].unfold(1, kernel_size, 1).unfold(2, kernel_size, 1)
        pixels = windows.flatten(4).median(4).values
    return pixels


def _layout(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _check(images: Tensor, kernel_size: int = 1, or_bytes: bool = False) -> None:
    known = images.is_floating_point() or (or_bytes and images.dtype == torch.uint8)
    if images.dim() != 4 or images.shape[1] != 3 or not known:
        raise RequestError(f"images are {images.dtype} {tuple(images.shape)}; give them as float (N, 3, H, W)")
    if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise RequestError(f"kernel_size={kernel_size} has no pixel in its middle; give an odd number such as 3")
