"""Auto-PGD: the published schedule, its losses, and what it does where it is stuck."""

import pytest
import torch
from torch import nn

from advlook.attacks.active_batch import ActiveBatch
from advlook.attacks.apgd import _Climb, _climb, apgd, apgd_checkpoints, dlr, targeted_dlr


def test_dlr_is_invariant():
    """DLR is the same for shifted and for scaled logits, and positive exactly where an image is misclassified."""
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()
    labels, targets = torch.arange(50) % 6, torch.arange(1, 51) % 6
    for loss in (lambda z: dlr(z, labels), lambda z: targeted_dlr(z, labels, targets)):
        for other in (logits + 7, 1000 * logits, 0.001 * logits - 3):
            torch.testing.assert_close(loss(other), loss(logits))
    assert torch.equal(dlr(logits, labels) > 0, logits.argmax(1) != labels)
    assert torch.equal(
        targeted_dlr(logits, labels, targets) > 0, (logits[range(50), targets] > logits[range(50), labels])
    )


def test_dlr_by_hand():
    """DLR and its targeted form on one row of logits, worked out by hand."""
    logits = torch.tensor([[4.0, 3.0, 1.0, 0.0]])
    assert dlr(logits, torch.tensor([0])).item() == pytest.approx(-(4 - 3) / (4 - 1))
    assert dlr(logits, torch.tensor([2])).item() == pytest.approx(-(1 - 4) / (4 - 1))
    assert targeted_dlr(logits, torch.tensor([0]), torch.tensor([3])).item() == pytest.approx(-4 / (4 - 0.5))


def test_apgd_checkpoints_are_the_published_ones():
    """In 100 steps APGD reconsiders its step size after 22, 41, 57, ... (Croce and Hein 2020, section 3)."""
    assert apgd_checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert all(0 < place <= 7 for place in apgd_checkpoints(7))


def test_apgd_halves_where_stuck():
    """At a checkpoint images return to their best point with half the step by the two published conditions alone."""
    points = torch.arange(4.0).view(4, 1, 1, 1)
    run = _Climb(points, torch.zeros(4), -points, step=1.0)
    run.best, run.best_gradient = points + 10, points + 20
    run.best_loss, run.best_at_checkpoint = torch.tensor([1.0, 1.0, 0.5, 0.5]), torch.full((4,), 0.5)
    run.rises, run.halved = torch.tensor([8.0, 7.0, 8.0, 8.0]), torch.tensor([False, False, False, True])
    run.halve(10)
    # Rising; too seldom rising; nothing better found; nothing better found, but halved the last time already.
    assert run.step.tolist() == [1, 0.5, 0.5, 1]
    assert run.current.flatten().tolist() == [0, 11, 12, 3]
    assert run.gradient.flatten().tolist() == [0, 21, 22, -3]
    assert run.halved.tolist() == [False, True, True, False]
    assert run.rises.sum() == 0


def test_targeted_apgd_tries_other_classes():
    """Each restart of targeted APGD aims at the next most likely class: here only the second can be reached."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[2] = 1 / 48  # the mean of the pixels, which moves by eps at most
        model[1].bias.copy_(torch.tensor([1.0, 0.95, 0.4, 0.0, -1.0]))
    images, labels = torch.full((6, 3, 4, 4), 0.5), torch.zeros(6, dtype=torch.int64)
    one, two = (apgd(model, images, labels, 0.2, steps=10, loss="dlr-targeted", restarts=n) for n in (1, 2))
    assert model(one).argmax(1).tolist() == [0] * 6
    assert model(two).argmax(1).tolist() == [2] * 6


def test_apgd_steps_have_the_published_length_and_momentum():
    """Steps have length 2 eps, and from the second on 0.75 of the new step is joined by 0.25 of the one before."""

    class Peak(nn.Module):
        """The loss is highest at 0.55, and no image is ever lost."""

        def forward(self, images):
            seen.append(images[0, 0, 0, 0].item())
            return torch.stack([torch.zeros(len(images)), -100 - (images - 0.55).abs().flatten(1).sum(1)], 1)

    seen, start = [], torch.full((1, 3, 1, 1), 0.5)
    batch = ActiveBatch(Peak(), start, torch.tensor([0]), lambda logits, labels: logits[:, 1], None, "float32")
    _climb(batch, start, start, 0.1, "linf", 10)
    # To the corner of the ball; from there a step back, to the corner at 0.4, is shortened and joined by the first.
    assert seen[:3] == pytest.approx([0.5, 0.6, 0.6 - 0.75 * 0.2 + 0.25 * 0.1])


def test_apgd_asks_for_three_rises_in_four():
    """At a checkpoint 75 rises in 100 steps are enough, and 74 are not."""
    run = _Climb(torch.zeros(2, 1, 1, 1), torch.ones(2), torch.zeros(2, 1, 1, 1), step=1.0)
    run.rises, run.best_at_checkpoint = torch.tensor([75.0, 74.0]), torch.zeros(2)
    run.halve(100)
    assert run.step.tolist() == [1, 0.5]
