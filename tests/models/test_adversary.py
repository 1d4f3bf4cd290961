"""The attack inside adversarial training, and the alarm for catastrophic overfitting."""

import dataclasses

import pytest
import torch
from helpers import Recorder, convolutional, random_images, small_preset, snapshot

from advlook import attacks
from advlook.attacks.ball import project, random_in_ball
from advlook.core.gradients import frozen_buffers, input_gradient
from advlook.core.preset_files import load_preset
from advlook.models.adversary import overfits_catastrophically, ramped_eps, training_attack


def test_eps_ramps_up():
    """The radius rises in equal steps over the ramp's epochs and then stays."""
    adversary = dataclasses.replace(load_preset("imagenette").adversary, eps=0.04, ramp_share=0.5)
    assert [ramped_eps(adversary, epoch, 6) for epoch in range(6)] == pytest.approx(
        [0.01, 0.02, 0.03, 0.04, 0.04, 0.04]
    )
    assert ramped_eps(dataclasses.replace(adversary, ramp_share=0.0), 0, 6) == 0.04


def adversary(**changes):
    return small_preset(adversary=changes).adversary


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_training_attack_is_fgsm(mode):
    """The attack inside training is FGSM, in the mode that the model is in."""
    model, images, labels = convolutional().train(mode == "train"), random_images(6, 8), torch.arange(6) % 3
    eps = 4 / 255
    found = training_attack(model, images, labels, adversary(), eps, torch.Generator())
    torch.testing.assert_close(found, attacks.fgsm(model, images, labels, eps), atol=1e-6, rtol=0)


def test_training_attack_with_random_start():
    """With a random start the step is `step_size`, shrunk with the ramp, and the result stays in ball and range."""
    model, images, labels = convolutional(), random_images(6, 8), torch.arange(6) % 3
    config = adversary(random_start=True, step_size=5 / 255)
    found = training_attack(model, images, labels, config, 2 / 255, torch.Generator().manual_seed(0))
    start = random_in_ball(images, 2 / 255, "linf", torch.Generator().manual_seed(0))
    with frozen_buffers(model):
        gradient, _ = input_gradient(model, start, lambda z: torch.nn.functional.cross_entropy(z, labels))
    expected = project(start + 2.5 / 255 * gradient.sign(), images, 2 / 255, "linf")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found - images).abs().max() <= 2 / 255 + 1e-6


def test_training_attack_in_the_l2_ball():
    """One step in the L2 ball goes along the gradient and has the length of the radius."""
    model, images, labels = convolutional(), 0.4 + 0.2 * random_images(6, 8), torch.arange(6) % 3
    found = training_attack(model, images, labels, adversary(norm="l2", eps=0.3), 0.3, torch.Generator()) - images
    with frozen_buffers(model):
        gradient, _ = input_gradient(model, images, lambda z: torch.nn.functional.cross_entropy(z, labels))
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((6,), 0.3), atol=1e-5, rtol=0)
    similar = torch.cosine_similarity(found.flatten(1), gradient.flatten(1))
    torch.testing.assert_close(similar, torch.ones(6), atol=1e-4, rtol=0)


def test_training_attack_by_pgd():
    """PGD inside training takes its steps, never drops an image, and ends in the ball."""
    model, images, labels = Recorder(convolutional()), random_images(6, 8), torch.arange(6) % 3
    config = adversary(method="pgd", steps=4, step_size=1 / 255)
    found = training_attack(model, images, labels, config, 4 / 255, torch.Generator())
    assert model.sizes == [6] * 4
    assert (found - images).abs().max() == pytest.approx(4 / 255, abs=1e-6)


@pytest.mark.parametrize("updates", [False, True])
def test_training_attack_and_batch_statistics(updates):
    """The attack leaves the model as it was; its forward pass counts in the statistics only where a preset says so."""
    model = convolutional().train()
    before = snapshot(model)
    images, labels = random_images(6, 8), torch.arange(6) % 3
    training_attack(model, images, labels, adversary(updates_batchnorm=updates), 0.01, torch.Generator())
    assert (snapshot(model) == before) != updates
    assert model[1].num_batches_tracked == int(updates)
    assert all(p.grad is None for p in model.parameters())


def entries(*pairs):
    return [{"epoch": k} if pair is None else {"fgsm": pair[0], "pgd": pair[1]} for k, pair in enumerate(pairs)]


@pytest.mark.parametrize(
    ("history", "fires"),
    [
        ([], False),
        (entries(None, None), False),
        (entries((30, 28), (40, 38), (50, 45)), False),  # healthy
        (entries((30, 28), (40, 38), (90, 0)), True),  # the textbook case
        (entries((30, 28), (40, 38), (90, 18), None), True),  # an epoch without a measurement follows
        (entries((60, 2), (70, 1), (80, 0)), False),  # standard training: never was robust
        (entries((40, 38), (20, 17)), False),  # both fell: diverged, but not overfitted
        (entries((40, 38), (90, 0), (42, 39)), False),  # recovered
    ],
)
def test_catastrophic_overfitting_is_told_apart(history, fires):
    """The alarm sounds when PGD accuracy collapses beneath FGSM accuracy, and at no other time."""
    assert overfits_catastrophically(history) == fires
