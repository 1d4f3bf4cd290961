"""Edges and regions: steps, scales and places that are known."""

import math

import pytest
import torch
from gratings import seeded
from helpers import random_images

from advlook.data import test_bed
from advlook.sensitivity import edges


def test_edges_of_a_step():
    """A step of height h gives h / 2 beside it and nothing elsewhere, whatever its direction; blur spreads it."""
    step = torch.zeros(2, 3, 16, 16)
    step[0, :, :, 8:] = 0.4
    step[1, :, 8:] = 0.4
    strength = edges.edges(step)
    expected = torch.zeros(16, 16)
    expected[:, 7:9] = 0.2
    torch.testing.assert_close(strength, torch.stack([expected, expected.T]))
    profile = edges.edges(step, 1.5)[0, 5]
    assert profile.sum().item() == pytest.approx(0.4, rel=1e-3)
    assert profile.max().item() == pytest.approx(0.4 / math.sqrt(2 * math.pi * (1.5**2 + 0.5 + 0.25)), rel=0.05)
    assert (edges.edges(torch.full((1, 3, 16, 16), 0.3), 2.0) == 0).all()


@pytest.mark.parametrize(("height", "seen"), [(1.9e-5, False), (2.1e-5, True)])
def test_edges_below_rounding_are_none(height, seen):
    """Slopes below 1e-5 grey levels per pixel count as flat."""
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = height
    assert edges.edges(step).any().item() is seen


@pytest.mark.parametrize("kind", ["step", "noise"])
def test_edge_correlation_is_one_at_the_right_scale(kind):
    """The edges of an image at one scale, of any sign and split over channels, correlate less with other scales."""
    images = random_images(3, 24)
    if kind == "step":
        images = torch.zeros(3, 3, 24, 24)
        images[..., 9:] = torch.tensor([0.3, 0.5, 0.9]).view(3, 1, 1, 1)
    sigmas = (0.0, 1.0, 2.0)
    for place, sigma in enumerate(sigmas):
        maps = edges.edges(images, sigma)[:, None] * torch.tensor([0.5, -0.25, -0.25]).view(1, 3, 1, 1)
        found = edges.edge_correlation(maps, images, sigmas)
        # The rows of a step tie, but for rounding.
        torch.testing.assert_close(found[:, place], torch.ones(3).double(), atol=0.01, rtol=0)
        others = [k for k in range(len(sigmas)) if k != place]
        assert (found[:, others] < 0.97).all()
        if sigma in (0.0, 2.0):
            assert (found[:, 1] > found[:, 2 if sigma == 0.0 else 0]).all()  # the further off, the lower


def test_shares_of_energy_follow_the_regions():
    """The shares sum to 1, a map inside one region has it all, and constant maps have the shares of the areas."""
    drawn = test_bed.generate(12, 40, 0)
    maps = torch.randn(12, 3, 40, 40, generator=seeded())
    shares = edges.energy_shares(maps, drawn.masks)
    assert list(shares) == ["outline", "inside", "background"]
    torch.testing.assert_close(sum(shares.values()), torch.ones(12).double())
    areas = edges.energy_shares(torch.ones_like(maps), drawn.masks)
    for name in shares:
        assert (shares[name] - areas[name]).abs().max() < 0.1
    on_silhouette = edges.energy_shares(maps * drawn.masks[:, None], drawn.masks)
    assert (on_silhouette["background"] == 0).all()
    assert (on_silhouette["outline"] > 0).all()
    textures = (drawn.images.float() - test_bed.generate(12, 40, 0, "shape_only").images).abs()
    assert edges.energy_shares(textures, drawn.masks)["inside"].min() > 0.4


def test_the_outline_is_a_band_around_the_border():
    """Around a square of 12 pixels it is one pixel wide on both sides, corners included."""
    masks = torch.zeros(1, 30, 30, dtype=torch.bool)
    masks[0, 8:20, 8:20] = True
    areas = edges.energy_shares(torch.ones(1, 2, 30, 30), masks)
    assert areas["inside"].item() * 900 == pytest.approx(10**2)
    assert areas["background"].item() * 900 == pytest.approx(900 - 14**2)
    centre = torch.zeros(1, 3, 30, 30)
    centre[0, 2, 14, 14] = -5
    assert edges.energy_shares(centre, masks)["inside"].item() == 1
    centre[0, 0, 0, 0], centre[0, 1, 7, 10] = 3, 4
    shares = {name: share.item() for name, share in edges.energy_shares(centre, masks).items()}
    assert shares == pytest.approx({"outline": 0.32, "inside": 0.5, "background": 0.18})
    assert edges.energy_shares(torch.zeros(1, 3, 30, 30), masks)["outline"].isnan().all()
    whole = edges.energy_shares(torch.ones(1, 3, 30, 30), torch.ones(1, 30, 30, dtype=torch.bool))
    assert whole["inside"].item() == 1  # the end of the image is no outline
