"""Attacks: closed-form optima, the ball, what becomes of lost images, and a model left as it was."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from attack_kinds import each_attack, function
from helpers import FailingHead, Linear, Recorder, convolutional, random_images, snapshot, used_model
from torch import nn

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import ascend, project, random_in_ball, random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.margin import margin_attack
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.attacks.square import square
from advlook.core.gradients import cross_entropy


def direction(model):
    """How the difference of the two logits of a linear model grows with the pixels, `(3, 4, 4)`."""
    return (model.layer.weight[1] - model.layer.weight[0]).detach().view(3, 4, 4)


def optimum(model, images, eps, norm):
    """The point of the ball at which a linear model is most sure of class 1, away from the borders of [0, 1]."""
    towards = direction(model)
    return images + eps * (towards.sign() if norm == "linf" else towards / towards.norm())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_linear_optimum_is_attained(norm, targeted):
    """Against a linear model the attacks find the best perturbation there is, known in closed form."""
    # A margin that no perturbation overcomes, else PGD would stop once the image is lost.
    model, images, labels = Linear(margin=12.0), random_images(low=0.3, high=0.7), torch.zeros(8, dtype=torch.int64)
    targets = torch.ones(8, dtype=torch.int64) if targeted else None
    best = optimum(model, images, 0.1, norm)
    found = pgd(model, images, labels, 0.1, norm=norm, steps=5, random_start=False, targets=targets)
    torch.testing.assert_close(found, best, atol=1e-6, rtol=0)
    if norm == "linf":
        torch.testing.assert_close(fgsm(model, images, labels, 0.1, targets=targets), best, atol=1e-6, rtol=0)
    for found in (
        pgd(model, images, labels, 0.1, norm=norm, steps=40, targets=targets),
        mi_fgsm(model, images, labels, 0.1, norm=norm, steps=40, targets=targets),
        apgd(model, images, labels, 0.1, norm=norm, steps=40),
    ):
        gap, full = ((direction(model) * (x - images)).flatten(1).sum(1) for x in (found, best))
        assert (gap > 0.95 * full).all()


@pytest.mark.parametrize("margin", [12.0, 30.0, 70.0])
def test_sure_model_is_attacked(margin):
    """A model so sure of its answer that float32 rounds its probability to 1 is attacked in the right direction."""
    model, images, labels = Linear(margin=margin), random_images(low=0.3, high=0.7), torch.zeros(8, dtype=torch.int64)
    best = optimum(model, images, 0.1, "linf")
    for found in (
        fgsm(model, images, labels, 0.1),
        pgd(model, images, labels, 0.1, random_start=False),
        mi_fgsm(model, images, labels, 0.1),
        apgd(model, images, labels, 0.1, steps=10),
    ):
        torch.testing.assert_close(found, best, atol=1e-6, rtol=0)


@pytest.mark.parametrize("margin", [20.0, 40.0, 60.0, 80.0])
def test_sure_model_is_attacked_in_l2(margin):
    """However small the gradient of a sure model is, a step along it has its full length: eps past the border."""
    model, images, labels = Linear(margin=margin), random_images(low=0.3, high=0.7), torch.zeros(8, dtype=torch.int64)
    best = optimum(model, images, 0.3, "l2")
    for attack in (pgd, apgd):
        found = attack(model, images, labels, 0.3, norm="l2")
        gap, full = ((direction(model) * (x - images)).flatten(1).sum(1) for x in (found, best))
        assert (gap > 0.95 * full).all(), attack


def test_border_optimum_is_attained():
    """Where the ball sticks out of [0, 1] the L-infinity optimum is its corner, cut to the borders."""
    model, images, labels = Linear(margin=30.0), random_images(), torch.zeros(8, dtype=torch.int64)
    best = optimum(model, images, 0.1, "linf").clamp(0, 1)
    assert ((best == 0) | (best == 1)).any()
    for found in (fgsm(model, images, labels, 0.1), pgd(model, images, labels, 0.1, steps=10)):
        torch.testing.assert_close(found, best, atol=1e-6, rtol=0)


@each_attack
@pytest.mark.parametrize("eps", [0.0, 4 / 255, 0.5])
@pytest.mark.parametrize("targeted", [False, True])
def test_result_is_inside_ball_and_range(attack, norm, eps, targeted):
    """Adversarial images stay in the ball and in [0, 1], even from images at the borders, and carry no graph."""
    if targeted and function(attack) in (apgd, margin_attack, square, random_noise):
        pytest.skip("takes no targets")
    model = convolutional().eval()
    images = random_images(6, 8, -0.5, 1.5).clamp(0, 1)
    labels = model(images).argmax(1)
    found = attack(model, images, labels, eps, **({"targets": (labels + 1) % 3} if targeted else {}))
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert not found.requires_grad
    assert found.data_ptr() != images.data_ptr()
    delta = (found.double() - images.double()).flatten(1)
    length = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert length.max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_start_fills_the_ball(norm):
    """Random starts are uniform in the ball: radii follow the law of its dimension, and no direction is preferred."""
    images = torch.full((4000, 3, 1, 1), 0.5)
    delta = (random_in_ball(images, 0.2, norm, torch.Generator().manual_seed(0)) - images).flatten(1) / 0.2
    radius = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert radius.max() <= 1 + 1e-5
    # In three dimensions the cube of the radius is uniform, in either norm.
    quantiles = (radius**3).quantile(torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9]), atol=0.04, rtol=0)
    assert delta.mean(0).abs().max() < 0.04


@pytest.mark.parametrize("attack", [fgsm, pgd, partial(pgd, norm="l2")])
def test_targeted_attack_loses_to_the_target(attack):
    """A targeted attack raises the target's probability on every image, and with room enough wins it."""
    model, images = Linear(classes=5), random_images(16, low=0.2, high=0.8)
    labels = model(images).argmax(1)
    targets = (labels + 2) % 5
    found = attack(model, images, labels, 0.01, targets=targets)
    before, after = (F.log_softmax(model(x), 1).gather(1, targets[:, None]) for x in (images, found))
    assert (after > before).all()
    if attack is not fgsm:
        assert (model(attack(model, images, labels, 1.0, targets=targets)).argmax(1) == targets).float().mean() > 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_keep_the_best_of_each_image(norm):
    """With restarts every image keeps the best that single runs from the same starts would have found."""
    model, images, labels = (
        Linear(margin=12.0),
        random_images(12, low=0.3, high=0.7),
        torch.zeros(12, dtype=torch.int64),
    )
    run = partial(pgd, model, images, labels, 0.1, norm=norm, steps=2, step_size=0.01)
    generator = torch.Generator().manual_seed(0)
    singles = torch.stack([run(generator=generator) for _ in range(3)])
    losses = torch.stack([model(x)[:, 1] - model(x)[:, 0] for x in singles])
    assert len(losses.argmax(0).unique()) > 1
    together = run(restarts=3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(together, singles[losses.argmax(0), torch.arange(12)], atol=0, rtol=0)


def test_restarts_are_never_weaker_than_one():
    """More restarts lose every image that one run loses, and leave no survivor with a lower loss."""
    model, images = convolutional().eval(), random_images(40, 8)
    labels = model(images).argmax(1)
    one, five = (
        pgd(model, images, labels, 0.03, steps=2, restarts=n, generator=torch.Generator().manual_seed(3))
        for n in (1, 5)
    )
    lost_one, lost_five = (model(x).argmax(1) != labels for x in (one, five))
    assert 0 < lost_one.sum() < 40
    assert (lost_five | ~lost_one).all()
    loss_one, loss_five = (F.cross_entropy(model(x), labels, reduction="none") for x in (one, five))
    assert (loss_five >= loss_one - 1e-6)[~lost_five].all()


def test_lost_images_leave_the_batch():
    """No further work goes into images that are lost: the model sees only the others, in later restarts as well."""
    images, labels = random_images(8, low=0.3, high=0.7), torch.tensor([0, 1, 0, 0, 1, 0, 1, 0])
    model = Recorder(Linear(margin=12.0))  # class 0 for every image, within the ball
    found = pgd(model, images, labels, 0.02, steps=3, restarts=2, random_start=False)
    assert model.sizes == [8, 5, 5, 5, 5, 5, 5, 5]
    torch.testing.assert_close(found[labels == 1], images[labels == 1], atol=0, rtol=0)
    model.sizes.clear()
    pgd(model, images, torch.ones(8, dtype=torch.int64), 0.02, steps=3, restarts=2)
    assert model.sizes == [8]


def test_lost_image_keeps_what_lost_it():
    """Every image that left the batch is misclassified in the result."""
    model = Recorder(convolutional().eval())
    images = random_images(40, 8)
    labels = model(images).argmax(1)
    found = pgd(model, images, labels, 0.03, steps=5, restarts=2)
    assert 0 < model.sizes[-1] < 40
    assert (model(found).argmax(1) != labels).sum() >= 40 - model.sizes[-2]


class RoundedIsWrong(nn.Module):
    """In bfloat16 it answers another class than it does in float32, whatever the image."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 16, 2)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.bias.zero_()

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return logits + torch.tensor([1.0, 0.0] if logits.dtype == torch.float32 else [0.0, 1.0])


def test_losses_are_established_in_the_models_own_arithmetic():
    """What bfloat16 takes for lost is searched on, since float32 has it right; and it is taken in bfloat16."""
    model = Recorder(RoundedIsWrong())
    images, labels = random_images(8), torch.zeros(8, dtype=torch.int64)
    pgd(model, images, labels, 0.1, steps=3, precision="bfloat16")
    assert model.sizes == [8] * 7  # each step by both arithmetics, and the last point
    model.sizes.clear()
    pgd(model, images, labels, 0.1, steps=3, precision="float32")
    assert model.sizes == [8] * 4


def test_fgsm_is_one_step_of_pgd():
    """FGSM equals PGD with one step of size eps and no random start."""
    model, images = Linear(classes=4), random_images()
    labels = model(images).argmax(1)
    one_step = pgd(model, images, labels, 0.03, steps=1, step_size=0.03, random_start=False)
    torch.testing.assert_close(fgsm(model, images, labels, 0.03), one_step, atol=0, rtol=0)


def test_default_step_size():
    """Without a step size PGD goes 2.5 eps / steps at a time."""
    model, images = Linear(classes=4), random_images()
    labels = model(images).argmax(1)
    run = partial(pgd, model, images, labels, 0.02, steps=4, random_start=False)
    torch.testing.assert_close(run(), run(step_size=2.5 * 0.02 / 4), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("attack", "random"),
    [
        (fgsm, False),
        (partial(fgsm, random_start=True), True),
        (partial(pgd, steps=2), True),
        (partial(pgd, steps=2, norm="l2"), True),
        (partial(pgd, steps=2, restarts=2, random_start=False), False),
        (partial(apgd, steps=2), True),
        (random_noise, True),
    ],
)
def test_equal_under_a_fixed_generator(attack, random):
    """The draws come from the generator alone: the same seed gives the same bits, another seed others."""
    model, images = convolutional().eval(), random_images(6, 8)
    labels = model(images).argmax(1)
    runs = []
    for seed in (0, 0, 1):
        torch.rand(3)  # the global state must not matter
        state = torch.get_rng_state()
        runs.append(attack(model, images, labels, 0.01, generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2]) != random


@each_attack
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_model_is_left_as_it_was(attack, norm, mode):
    """Mode, parameters, gradients, requires_grad and running statistics survive an attack, as do the images."""
    model, images, labels = used_model(mode), random_images(6, 8), torch.arange(6) % 3
    before, pixels = snapshot(model), images.clone()
    with torch.no_grad():  # the caller's mode must not matter either
        attack(model, images, labels, 0.01)
        assert not torch.is_grad_enabled()
    assert snapshot(model) == before
    assert torch.equal(images, pixels)
    assert not images.requires_grad


@each_attack
@pytest.mark.parametrize("call", [1, 2])
def test_model_is_left_as_it_was_after_an_exception(attack, norm, call):
    """A model that fails in the middle of an attack is left as it was."""
    if function(attack) is random_noise or (call == 2 and function(attack) is fgsm):
        pytest.skip("does not call the model so often")
    model = nn.Sequential(convolutional(), FailingHead(call)).train()
    before = snapshot(model)
    with pytest.raises(ArithmeticError):
        # Six images of one class: some survive the first step.
        attack(model, random_images(6, 8), torch.zeros(6, dtype=torch.int64), 0.001)
    assert snapshot(model) == before


def test_steps_have_the_given_length():
    """A step is as long as asked for in its norm, and a zero gradient moves nothing."""
    images, gradient = torch.full((2, 3, 4, 4), 0.5), random_images(2, low=-1)
    assert torch.allclose((ascend(images, gradient, 0.1, "linf") - images).abs(), torch.tensor(0.1))
    assert torch.allclose((ascend(images, gradient, 0.1, "l2") - images).flatten(1).norm(dim=1), torch.tensor(0.1))
    for norm in ("linf", "l2"):
        assert torch.equal(ascend(images, torch.zeros_like(images), 0.1, norm), images)
        inside = images + 0.01
        torch.testing.assert_close(project(inside, images, 0.5, norm), inside)


@pytest.mark.parametrize("attack", [partial(pgd, steps=6, restarts=2), partial(apgd, steps=12, restarts=2)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_survivor_keeps_its_best_point(attack, norm):
    """Of all points that an attack looked at, a surviving image keeps the one of highest loss."""
    model, seen = Linear(classes=3, margin=30.0), []  # class 0 throughout the ball
    watched = nn.Sequential(model)
    watched.register_forward_hook(lambda module, inputs, logits: seen.append(logits.detach()))
    images, labels = random_images(12), torch.zeros(12, dtype=torch.int64)
    found = attack(watched, images, labels, 0.1, norm=norm)
    losses = torch.stack([cross_entropy(logits, labels) for logits in seen])
    torch.testing.assert_close(cross_entropy(model(found), labels), losses.amax(0))
    assert losses.std(0).min() > 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_is_as_large_as_an_attack(norm):
    """The baseline moves every image by exactly eps, without a look at the model."""
    images = random_images(low=0.3, high=0.7)
    delta = (random_noise(None, images, torch.zeros(8, dtype=torch.int64), 0.1, norm=norm) - images).flatten(1)
    length = delta.abs() if norm == "linf" else delta.norm(dim=1)
    torch.testing.assert_close(length, torch.full_like(length, 0.1))
    assert delta.sign().mean().abs() < 0.2
