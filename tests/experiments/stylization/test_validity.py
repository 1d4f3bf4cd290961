"""Whether images count as stylized: distances and classifiers on cases that are known."""

import pytest
import torch
import torch.nn.functional as F
from helpers import random_images, smooth

from advlook.core.errors import RequestError
from advlook.data.styles import generate_textures
from advlook.experiments.stylization import validity


def patch_distance(images, others):
    """Of images in place of their quantiles."""
    return validity.patch_distance(*map(validity.patch_quantiles, (images, others)))


def test_patch_distance_of_known_cases():
    """Of a grey by d: every projection moves by d times the direction's sum. Of a shift in space: nothing."""
    grey = torch.full((2, 3, 16, 16), 0.4)
    directions = torch.randn(64, 75, generator=torch.Generator().manual_seed(0))
    sums = F.normalize(directions, dim=1).sum(1)
    found = patch_distance(grey, grey + 0.2)
    torch.testing.assert_close(found, torch.full((2,), 0.2 * sums.square().mean().sqrt().item()), rtol=1e-4, atol=0)
    noise = random_images(1, 64)
    another = patch_distance(noise, random_images(1, 64, seed=1))
    assert patch_distance(noise, noise).item() == 0
    assert another.item() < 0.02  # two draws of one texture
    assert patch_distance(noise, noise.mean((2, 3), keepdim=True).expand_as(noise)).item() > 0.2


def test_patch_distance_looks_as_closely_as_was_chosen():
    """5x5 pixels, in 64 directions and at 256 quantiles; edges at 1.5 pixels. Others give other numbers."""
    one, other = smooth(4, 32), generate_textures(4, 32).float().div(255)
    assert validity.patch_quantiles(one).shape == (4, 64, 256)
    assert patch_distance(one, other).mean().item() == pytest.approx(0.17388, rel=0.002)
    assert validity.edge_agreement(one, other).mean().item() == pytest.approx(-0.0111, abs=0.001)


def test_patch_distance_sees_more_than_second_moments():
    """Noise with the mean and variance of dots on a ground is further from them than other such dots are."""
    generator = torch.Generator().manual_seed(0)
    share = 0.01
    dots, others = (torch.rand(2, 8, 3, 64, 64, generator=generator) < share).float()
    noise = share + (share * (1 - share)) ** 0.5 * torch.randn(8, 3, 64, 64, generator=generator)
    assert (patch_distance(dots, noise) > 1.5 * patch_distance(dots, others)).all()


def test_patch_distance_of_a_sample_is_near_that_of_all(monkeypatch):
    """Of large images some patches stand for all: the distance of other pictures hardly changes."""
    one, other = generate_textures(4, 128).float().div(255), generate_textures(4, 96, seed=1).float().div(255)
    whole = patch_distance(one, other)
    monkeypatch.setattr(validity, "_PATCHES", 2**12)
    torch.testing.assert_close(patch_distance(one, other), whole, rtol=0.05, atol=0)
    assert not torch.equal(patch_distance(one, other), whole)


def test_edge_agreement_of_known_cases():
    images = smooth(6)
    same, paler, other = (validity.edge_agreement(images, some) for some in (images, 0.5 * images, smooth(6, seed=9)))
    torch.testing.assert_close(same, torch.ones(6, dtype=torch.float64))
    assert (paler > 0.99).all()
    assert (other < 0.7).all()
    with pytest.raises(RequestError, match="same shape"):
        validity.edge_agreement(images, images[..., 1:])


def test_patch_classifier_sees_what_it_says():
    """A place changes with each of its 9x9 pixels and with no other.

    Without negative weights no path to a pixel ends in a dead unit, nor do two cancel.
    """
    model = validity.PatchClassifier(3, width=8).eval()
    for weight in model.parameters():
        weight.detach().abs_()
    image = random_images(1, 33, low=0.6).requires_grad_(True)
    place = model.places(2 * image - 1)[0, :, 3, 2].sum()
    (gradient,) = torch.autograd.grad(place, image)
    seen = gradient[0].abs().sum(0) > 0
    expected = torch.zeros_like(seen)
    expected[12 : 12 + validity.RECEPTIVE_FIELD, 8 : 8 + validity.RECEPTIVE_FIELD] = True
    assert torch.equal(seen, expected)


def test_patch_classifier_answers_by_the_mean_of_its_places():
    """Logits are the mean of the logits of all places, though these are never all there."""
    model, images = validity.PatchClassifier(5, width=8).eval(), random_images(3, 40)
    torch.testing.assert_close(model(images), model.places(2 * images - 1).mean((2, 3)))
