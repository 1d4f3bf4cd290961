"""Blur, median and reversal against scipy and torchvision, at their edges, in any layout; and what they refuse."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from helpers import random_images
from torchvision.transforms.functional import gaussian_blur as torchvision_blur

from advlook.core.errors import RequestError
from advlook.corruptions import filters
from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors

SHAPES = [(5, 3, 16, 16), (2, 3, 9, 14), (3, 3, 2, 7), (1, 3, 1, 6), (2, 3, 1, 1)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def images_of(shape, layout=torch.contiguous_format, dtype=torch.float32):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return images.to(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("sigma", "size"), [(0.4, 3), (1.3, 9), (3.0, 19)])
def test_blur_is_scipys(shape, sigma, size, layout):
    """Every pixel, edges and corners too, also where the kernel is larger than the image; the layout stays."""
    images = images_of(shape, layout)
    blurred = gaussian_blur(images, sigma, size)
    expected = scipy.ndimage.gaussian_filter(
        images.double().numpy(), sigma, mode="mirror", radius=size // 2, axes=(2, 3)
    )
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-6)
    assert blurred.dtype == images.dtype
    assert blurred.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("sigma", "size"), [(0.3, 3), (1.0, 7), (2.1, 15)])
def test_blur_reaches_three_sigmas(sigma, size):
    """Where no size is given."""
    images = images_of((1, 3, 12, 12))
    assert torch.equal(gaussian_blur(images, sigma), gaussian_blur(images, sigma, size))


@pytest.mark.parametrize(("sigma", "size"), [(0.5, 3), (2.0, 13)])
def test_blur_is_torchvisions(sigma, size):
    """The same kernel and the same edges."""
    images = images_of((4, 3, 20, 33))
    expected = torchvision_blur(images, [size, size], [sigma, sigma])
    torch.testing.assert_close(gaussian_blur(images, sigma, size), expected, atol=1e-6, rtol=0)


def test_blur_grows_with_sigma():
    """A sigma near 0 leaves the image, one beyond the kernel makes a mean of it, and detail falls in between."""
    images = images_of((4, 3, 24, 24))
    torch.testing.assert_close(gaussian_blur(images, 1e-300, 5), images)
    detail = [float(gaussian_blur(images, sigma, 31).var((2, 3)).mean()) for sigma in (0.3, 0.6, 1.2, 2.4, 4.8)]
    assert detail == sorted(detail, reverse=True)
    box = torch.nn.functional.avg_pool2d(images, 3, 1)
    torch.testing.assert_close(gaussian_blur(images, 1e6, 3)[..., 1:-1, 1:-1], box)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("size", "times"), [(3, 1), (3, 4), (5, 2), (7, 1)])
def test_median_is_scipys(shape, size, times, layout, dtype):
    """To the bit, at the edges too, whether by OpenCV or, as on a GPU, by torch; the layout stays."""
    images = (255 * images_of(shape, layout, torch.float64)).to(dtype)
    before = images.clone()
    filtered = median_filter(images, times, size)
    expected = images.numpy()
    for _ in range(times):
        expected = scipy.ndimage.median_filter(expected, size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(filtered.numpy(), expected)
    assert filtered.dtype == dtype
    assert filtered.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [3, 7])
def test_medians_in_parts_are_the_same(size, monkeypatch):
    """However few windows torch may hold at once."""
    images = images_of((5, 3, 12, 10), dtype=torch.float64)
    expected = median_filter(images, 1, size)
    for windows in (0, 2 * images[0].numel() * size**2):
        monkeypatch.setattr(filters, "_WINDOWED", windows)
        assert torch.equal(median_filter(images, 1, size), expected)


def test_median_carries_no_gradient():
    """Of what asks for one neither: a median of images under attack is a constant."""
    for dtype in (torch.float32, torch.float64):
        assert not median_filter(images_of((1, 3, 8, 8), dtype=dtype).requires_grad_(), 1).requires_grad


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8])
def test_median_keeps_the_type(dtype, size):
    """Of other floats and of bytes too: a median is one of the values."""
    images = (255 * images_of((2, 3, 8, 8))).to(dtype)
    filtered = median_filter(images, 1, size)
    assert filtered.dtype == dtype
    expected = scipy.ndimage.median_filter(images.double().numpy(), size=(1, 1, size, size))
    assert np.array_equal(filtered.double().numpy(), expected)


def test_median_of_a_part_of_a_tensor():
    """Rows, columns and images left out in memory are none of its business."""
    images = images_of((6, 3, 20, 20))
    for part in (images[::2], images[..., 3:11, ::2], images.transpose(2, 3)):
        assert torch.equal(median_filter(part, 2), median_filter(part.clone(memory_format=torch.contiguous_format), 2))


@pytest.mark.parametrize("size", [3, 5])
def test_median_keeps_what_has_no_detail(size):
    """Constants stay, single specks go, straight edges stay where they are."""
    constant = torch.full((2, 3, 10, 10), 0.3)
    assert torch.equal(median_filter(constant, 3, size), constant)
    speck = constant.clone()
    speck[..., 4, 7] = 1
    assert torch.equal(median_filter(speck, 1, size), constant)
    edge = constant.clone()
    edge[..., 5:] = 0.9
    assert torch.equal(median_filter(edge, 10, size), edge)


def test_reversal_is_an_involution():
    """Twice is not at all: to the bit in 8-bit values, to a float's last in others; channel by channel."""
    images = images_of((4, 3, 8, 8))
    torch.testing.assert_close(reverse_colors(reverse_colors(images)), images, atol=6e-8, rtol=0)
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16).float() / 255
    twice = reverse_colors(reverse_colors(levels))
    assert torch.equal((255 * twice).round(), (255 * levels).round())
    assert torch.equal((255 * reverse_colors(levels)).round(), 255 - (255 * levels).round())


def test_no_strength_returns_the_images():
    """The images themselves: a sweep starts at what it is compared with."""
    images = random_images()
    assert gaussian_blur(images, 0, 5) is images
    assert median_filter(images, 0) is images
    assert median_filter(images, 3, 1) is images
    assert median_filter(images[:0], 3).shape == (0, 3, 4, 4)
    assert gaussian_blur(images[:0], 1.0, 3).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: gaussian_blur(x, -1, 3), "sigma=-1 .* at least 0"),
        (lambda x: gaussian_blur(x, float("nan"), 3), "sigma=nan"),
        (lambda x: gaussian_blur(x, float("inf"), 3), "sigma=inf"),
        (lambda x: gaussian_blur(x, 1, 4), "kernel_size=4 .* odd"),
        (lambda x: median_filter(x, -1), "times=-1 .* at least 0"),
        (lambda x: median_filter(x, 1.5), "times=1.5 .* whole"),
        (lambda x: median_filter(x, 1, 0), "kernel_size=0 .* odd"),
        (lambda x: median_filter(x, 1, 3.0), "kernel_size=3.0 .* odd"),
        (lambda x: reverse_colors(2 * x), r"span \[.*\], not \[0, 1\]"),
        (lambda x: reverse_colors(x[0]), r"images are torch.float32 \(3, 4, 4\)"),
        (lambda x: median_filter(x.permute(0, 2, 3, 1), 1), r"\(8, 4, 4, 3\); give them as float \(N, 3, H, W\)"),
        (lambda x: gaussian_blur((255 * x).byte(), 1, 3), "images are torch.uint8"),
    ],
)
def test_what_makes_no_sense_is_refused(operation, message):
    """In one line that names the thing and the remedy."""
    with pytest.raises(RequestError, match=message) as caught:
        operation(random_images())
    assert "\n" not in str(caught.value)
