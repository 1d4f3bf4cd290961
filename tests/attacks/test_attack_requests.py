"""Attacks: what is refused, and what of a request may not matter."""

from functools import partial

import pytest
import torch
from attack_kinds import each_attack, seeded
from helpers import Linear, Recorder, convolutional, random_images

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.core.errors import RequestError

GOOD = {"images": random_images(), "labels": torch.zeros(8, dtype=torch.int64), "eps": 0.01}


@pytest.mark.parametrize("attack", [fgsm, pgd, mi_fgsm, apgd, random_noise])
@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"eps": 8}, ["eps=8", "4/255"]),
        ({"eps": -0.1}, ["eps=-0.1", "[0, 1]"]),
        ({"eps": float("nan")}, ["eps=nan"]),
        ({"images": random_images(low=-2, high=2)}, ["[0, 1]", "normalisation"]),
        ({"images": random_images() * 255}, ["[0, 1]", "unnormalised"]),
        ({"images": random_images() * float("nan")}, ["nan", "[0, 1]"]),
        ({"labels": torch.zeros(8)}, ["labels", "int64", "float32"]),
        ({"labels": torch.zeros(7, dtype=torch.int64)}, ["labels", "(8,)", "(7,)"]),
        ({"labels": torch.zeros(8, 3, dtype=torch.int64)}, ["labels", "(8, 3)"]),
        ({"targets": torch.zeros(8, dtype=torch.int32)}, ["targets", "int64", "int32"]),
        ({"targets": torch.zeros(1, dtype=torch.int64)}, ["targets", "(8,)", "(1,)"]),
    ],
)
def test_request_that_makes_no_sense_is_refused(attack, wrong, names):
    """A wrong unit, range, type or shape ends in one line that names it, before the model is asked."""
    if "targets" in wrong and attack in (apgd, random_noise):
        pytest.skip("takes no targets")
    model = Recorder(Linear())
    with pytest.raises(RequestError) as caught:
        attack(model, **GOOD | wrong)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)
    assert not model.sizes


@pytest.mark.parametrize("attack", [pgd, mi_fgsm, apgd])
@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"norm": "l1"}, ["'l1'", "linf, l2"]),
        ({"steps": 0}, ["steps=0"]),
        ({"restarts": 0}, ["restarts=0"]),
        ({"step_size": 2}, ["step_size=2", "4/255"]),
        ({"norm": "l2", "eps": -1}, ["eps=-1"]),
        ({"precision": "half"}, ["'half'", "float32, bfloat16"]),
        ({"norm": "l2", "step_size": -1}, ["step_size=-1"]),
        ({"loss": "hinge"}, ["'hinge'", "ce, dlr"]),
        ({"loss": "dlr"}, ["3 classes", "has 2", "ce"]),
        ({"loss": "dlr-targeted"}, ["4 classes", "has 2", "ce"]),
    ],
)
def test_iterative_attack_refuses(attack, wrong, names):
    """An unknown norm, and steps, restarts, losses and step sizes that make no sense, are named."""
    if not wrong.keys() <= attack.__kwdefaults__.keys() | {"eps"}:
        pytest.skip("has no such argument")
    with pytest.raises(RequestError) as caught:
        attack(Linear(), **GOOD | wrong)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)


def test_rounding_errors_around_the_range_pass():
    """Images that miss [0, 1] by rounding alone are accepted."""
    images = random_images()
    images[0, 0, 0, 0], images[0, 0, 0, 1] = -3e-8, 1 + 1e-7
    found = fgsm(Linear(), images, torch.zeros(8, dtype=torch.int64), 0.1)
    assert found.min() >= 0
    assert found.max() <= 1


@each_attack
def test_empty_batch(attack, norm):
    """No images in, no images out."""
    found = attack(convolutional().eval(), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64), 0.01)
    assert found.shape == (0, 3, 8, 8)


@each_attack
def test_memory_layout_does_not_matter(attack, norm):
    """Non-contiguous and channels-last images give the result of contiguous ones, in the same shape."""
    # In double precision: in float32 the order of a sum, which the processor chooses, may decide a checkpoint of APGD.
    model, images = convolutional().eval().double(), random_images(6, 8).double()
    labels = model(images).argmax(1)
    run = seeded(partial(attack, model, labels=labels, eps=0.01))
    plain = run(images=images)
    layouts = [
        images.contiguous(memory_format=torch.channels_last),
        images.transpose(2, 3).contiguous().transpose(2, 3),
        torch.cat([images, images], 1)[:, :3],
    ]
    for other in layouts:
        found = run(images=other)
        assert found.shape == images.shape
        # The sign of a gradient that is zero but for rounding may differ.
        assert ((found - plain).abs() > 1e-5).float().mean() < 0.01


@each_attack
def test_dtype_is_kept(attack, norm):
    """Images of double precision are attacked in double precision."""
    model, images = convolutional().eval().double(), random_images(6, 8).double()
    assert attack(model, images, model(images).argmax(1), 0.01).dtype == torch.float64


@each_attack
def test_neighbours_do_not_matter(attack, norm):
    """What becomes of an image does not depend on what else is in the batch, nor on when the others are lost."""
    model, images, others = convolutional().eval().double(), random_images(20, 8).double(), random_images(20, 8, seed=5)
    labels = model(images).argmax(1)
    mixed, wrong = others.double(), (labels + 1) % 3
    mixed[::2], wrong[::2] = images[::2], labels[::2]  # the others are other images, most of them lost at once
    run = seeded(partial(attack, model, eps=0.03))
    alone, among = run(images=images, labels=labels), run(images=mixed, labels=wrong)
    torch.testing.assert_close(among[::2], alone[::2], atol=1e-9, rtol=0)
