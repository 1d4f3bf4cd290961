"""Stylization: what it moves and what it keeps, image by image and bit by bit."""

import pytest
import torch
import torch.nn.functional as F
from helpers import random_images, smooth

from advlook.core.errors import RequestError
from advlook.corruptions import stylization
from advlook.corruptions.stylization import gram_distance, stylize
from advlook.data.styles import generate_textures
from advlook.experiments.stylization.images import STRENGTHS
from advlook.experiments.stylization.validity import edge_agreement, patch_distance, patch_quantiles

SIDE = 24


def textures(count=4, seed=0):
    return generate_textures(count, 2 * SIDE, seed).float().div(255)


def test_strength_0_returns_the_content():
    images = smooth()
    assert stylize(images, textures(), strength=0.0) is images


@pytest.mark.parametrize("strength", STRENGTHS[1:])
def test_every_image_comes_nearer_to_its_style(strength):
    images, styles = smooth(8), textures(8)
    made = stylize(images, styles, strength=strength)
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1
    assert (gram_distance(made, styles) < gram_distance(images, styles)).all()


def test_stronger_is_nearer_to_the_style():
    images, styles = smooth(8), textures(8)
    distances = [gram_distance(stylize(images, styles, strength=s), styles).mean() for s in STRENGTHS]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.2 * distances[0]


def test_optimisation_improves_on_its_start():
    """The start has the style's colours and detail already; the steps have to do more."""
    images, styles = smooth(8), textures(8)
    first = stylization._start(images, styles, [0] * 8)
    assert (gram_distance(stylize(images, styles), styles) < 0.5 * gram_distance(first, styles)).all()


def test_gram_distance_of_the_same_is_0():
    images = smooth()
    assert gram_distance(images, images).abs().max() < 1e-9


def test_colours_become_the_styles_and_the_layout_stays():
    images, styles = smooth(8), textures(8)
    made = stylize(images, styles)
    before, after = ((some.mean((2, 3)) - styles.mean((2, 3))).norm(dim=1) for some in (images, made))
    assert (after < 0.5 * before).all()
    layouts = [stylization._layout(some).flatten(1) for some in (images, made, F.interpolate(styles, SIDE))]
    kept, taken = ((layouts[0] * other).mean(1) for other in layouts[1:])
    assert (kept > taken + 0.1).all()  # at 24 pixels a strong texture covers much of the layout
    assert kept.mean() > 0.6
    assert taken.abs().mean() < 0.2


def test_constants_are_those_that_were_chosen():
    """How near textures come to the style's, and how much of the content's edges stays: 0.0737 and 0.729.

    Another weight of the layout (25), blur (1.1 px), floor (0.1), rate (0.035), number of steps (35), levels (2),
    filters (7) or size of filters (3) moves one of the two by 0.7% at least.
    """
    images, styles = smooth(6), textures(6)
    made = stylize(images, styles)
    assert patch_distance(*map(patch_quantiles, (made, styles))).mean().item() == pytest.approx(0.07367, rel=0.004)
    assert edge_agreement(made, images).mean().item() == pytest.approx(0.72920, rel=0.004)


def test_images_do_not_depend_on_their_batch():
    images, styles, seeds = smooth(5), textures(5), [3, 1, 4, 1, 5]
    together = stylize(images, styles, seeds=seeds)
    alone = [stylize(images[i : i + 1], styles[i : i + 1], seeds=seeds[i : i + 1]) for i in range(5)]
    # Sums of floats may differ in their last bits with the size of the batch.
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=0)


def test_seeds_fix_the_result():
    images, styles = smooth(2), textures(2)
    first, again, other = (stylize(images, styles, seeds=seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert torch.equal(first, again)
    assert (first - other).abs().amax((1, 2, 3)).min() > 0.01


@pytest.mark.parametrize("shape", [(20, 20), (33, 21), (24, 40)])
def test_any_size_of_image_and_style(shape):
    images = random_images(2, 40)[..., : shape[0], : shape[1]]
    assert stylize(images, random_images(2, 50)[..., :23], steps=2).shape == images.shape


def test_works_within_no_grad_and_leaves_the_arguments():
    images, styles = smooth(2), textures(2)
    copies = images.clone(), styles.clone()
    with torch.no_grad():
        made = stylize(images, styles, steps=3)
    assert not made.requires_grad
    assert torch.equal(images, copies[0])
    assert torch.equal(styles, copies[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strength": 1.5}, "strength=1.5"),
        ({"strength": -0.1}, "strength=-0.1"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"styles": textures(3)}, "3 styles do not match 4 images"),
        ({"styles": textures(4)[:, :1]}, "styles are torch.float32"),
        ({"images": (255 * smooth()).to(torch.uint8)}, "images are torch.uint8"),
        ({"images": smooth()[..., :9]}, "too small"),
        ({"seeds": [1]}, "1 seeds"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_refuses_what_makes_no_sense(change, says):
    arguments = {"images": smooth(), "styles": textures()} | change
    with pytest.raises(RequestError, match=says) as refused:
        stylize(arguments.pop("images"), arguments.pop("styles"), **arguments)
    assert "\n" not in str(refused.value)
