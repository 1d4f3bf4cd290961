"""Corruptions of the four families: what they do at the ends of their range."""

import pytest
import torch
from helpers import random_images, smooth

from advlook.corruptions.severities import FAMILIES, gaussian_noise, jpeg


def generator():
    return torch.Generator().manual_seed(0)


def test_jpeg_clips_what_lies_outside():
    """What is brighter than white stays white and does not turn black; what is darker than black stays black."""
    images = 3 * smooth(3, 32) - 1
    expected = jpeg(images.clamp(0, 1), 30, generator())
    assert torch.equal(jpeg(images, 30, generator()), expected)
    assert jpeg(torch.full((1, 3, 16, 16), 1.2), 95, generator()).min() > 0.99
    assert jpeg(torch.full((1, 3, 16, 16), -0.2), 95, generator()).max() < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", FAMILIES)
def test_images_keep_their_type(name, dtype):
    """Every corruption returns the type that it was given, and about what it makes of 32 bits."""
    images = random_images(2, 16).to(torch.bfloat16)
    expected = dict(FAMILIES[name].sweep(images.float(), generator()))
    for severity, made in FAMILIES[name].sweep(images.to(dtype), generator()):
        assert made.dtype == dtype
        assert (made.float() - expected[severity]).abs().mean() < 0.01


def test_noise_is_drawn_with_32_bits():
    """Half precision draws the same noise and rounds it."""
    images = random_images(2, 16)
    noise = gaussian_noise(images, 0.1, generator()) - images
    assert (gaussian_noise(images.half(), 0.1, generator()) - images.half() - noise).abs().max() < 0.002
