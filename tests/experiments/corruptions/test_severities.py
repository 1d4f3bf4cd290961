"""Corruptions of graded severity: how far each moves an image, and that it stays one."""

import pytest
import torch
from helpers import random_images

from advlook.corruptions import severities

MOVED = {  # how far every severity moves the images of `test_strengths_lie_where_they_were_chosen`
    "Gaussian noise": [0.0401, 0.0801, 0.1207, 0.1771, 0.2424],
    "zoom blur": [0.0370, 0.0647, 0.0829, 0.0984, 0.1113],
    "brightness": [0.1616, 0.2936, 0.3857, 0.4452, 0.4944],
    "contrast": [0.0544, 0.0748, 0.0953, 0.1089, 0.1198],
    "pixelate": [0.0884, 0.0905, 0.1016, 0.1057, 0.1222],
    "JPEG": [0.0161, 0.0217, 0.0299, 0.0441, 0.0603],
}


@pytest.mark.parametrize("title", severities.FAMILIES)
def test_families_get_stronger_and_stay_images(title):
    """Severity 0 is the image; each severity moves it further; size and range stay; equal draws give equal images."""
    axis = torch.linspace(0, 6, 32)
    images = 0.5 + 0.2 * torch.sin(axis[:, None] * axis[None]) + 0.3 * (random_images(2, 32) - 0.5)

    def levels():
        return list(severities.FAMILIES[title].sweep(images, torch.Generator().manual_seed(0)))

    found = levels()
    assert [severity for severity, _ in found] == list(range(6))
    assert found[0][1] is images
    moved = [(changed - images).abs().mean().item() for _, changed in found]
    assert moved == sorted(set(moved))
    assert all(changed.shape == images.shape and changed.dtype == images.dtype for _, changed in found)
    assert all(0 <= changed.min() <= changed.max() <= 1 for _, changed in found)
    for (_, first), (_, second) in zip(found, levels(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_strengths_lie_where_they_were_chosen():
    """How far each severity moves an image, as root mean square: another strength would move it differently."""
    axis = torch.linspace(0, 6, 32)
    images = (0.5 + 0.2 * torch.sin(axis[:, None] * axis[None])).expand(1, 3, 32, 32).contiguous()
    for title, corruption in severities.FAMILIES.items():
        levels = list(corruption.sweep(images, torch.Generator().manual_seed(0)))[1:]
        moved = [(changed - images).square().mean().sqrt().item() for _, changed in levels]
        assert moved == pytest.approx(MOVED[title], rel=0.004), title


def test_pixelate_makes_blocks_and_zoom_blur_keeps_the_middle():
    """At half of the pixels a side blocks are of 2x2; what lies in the middle moves least."""
    images, generator = random_images(1, 16), torch.Generator()
    coarse = severities.pixelate(images, 0.5, generator)
    torch.testing.assert_close(coarse[..., ::2, ::2], coarse[..., 1::2, 1::2])
    assert not torch.equal(coarse[..., :-1, :-1], coarse[..., 1:, 1:])
    ramp = torch.linspace(0, 1, 33).expand(1, 3, 33, 33).contiguous()
    change = (severities.zoom_blur(ramp, 1.3, generator) - ramp).abs()[0, 0, 16]
    assert change[16] < 1e-6
    assert change[4] > 0.02
