"""Hybrid images: which frequencies come from which image."""

import math

import pytest
import torch
from helpers import random_images

from advlook.core.errors import RequestError
from advlook.corruptions import gaussian_blur, hybrid

SIZE = 32


def wave(cycles):
    """A cosine of so many half cycles along the rows, which a reflected axis continues: `(1, 3, SIZE, SIZE)`."""
    places = torch.arange(SIZE, dtype=torch.float64) + 0.5
    return (math.pi * cycles * places / SIZE).cos().expand(1, 3, SIZE, SIZE)


@pytest.mark.parametrize("cycles", [1, 4, 9, 31])
@pytest.mark.parametrize("cutoff", [0.02, 0.1, 0.4])
def test_a_frequency_is_shared_by_a_gaussian(cycles, cutoff):
    """Of the coarse image a wave keeps exp(-f^2 / (2 cutoff^2)) of its height, of the fine image the rest."""
    frequency, nothing = cycles / (2 * SIZE), torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float64)
    share = math.exp(-(frequency**2) / (2 * cutoff**2))
    assert torch.allclose(hybrid(wave(cycles), nothing, cutoff), share * wave(cycles), atol=1e-9)
    assert torch.allclose(hybrid(nothing, wave(cycles), cutoff), (1 - share) * wave(cycles), atol=1e-9)


def test_the_two_parts_make_a_whole():
    """An image mixed with itself is itself; brightness is that of the coarse image; a long image is mixed as well."""
    coarse, fine = random_images(2, 24)[:, :, :16], random_images(2, 24, seed=1)[:, :, :16]
    assert torch.equal(hybrid(coarse, coarse, 0.1), coarse)
    mixed = hybrid(coarse, fine, 0.1)
    assert torch.allclose(mixed.mean((2, 3)), coarse.mean((2, 3)), atol=1e-6)
    assert (hybrid(coarse, fine, 1e-6) - fine).std((2, 3)).max() < 1e-6
    assert torch.allclose(hybrid(coarse, fine, 1e3), coarse, atol=1e-5)


def test_the_coarse_part_is_a_gaussian_blur():
    """Away from the borders, where the two continue the image differently, of sigma 1 / (2 pi cutoff) pixels."""
    images = random_images(2, 64)
    mixed = hybrid(images, torch.zeros_like(images), 0.08)
    blurred = gaussian_blur(images, 1 / (2 * math.pi * 0.08), kernel_size=21)
    assert (mixed - blurred)[..., 12:-12, 12:-12].abs().max() < 1e-3
    assert mixed.std() < images.std() / 3


@pytest.mark.parametrize(
    ("other", "cutoff", "words"), [(2, 0.1, "one shape"), (1, 0.0, "above 0"), (1, math.nan, "above 0")]
)
def test_what_cannot_be_mixed_is_refused(other, cutoff, words):
    """In one line, with what was given."""
    with pytest.raises(RequestError, match=words):
        hybrid(torch.zeros(1, 3, 8, 8), torch.zeros(other, 3, 8, 8), cutoff)
