"""The minimum-margin attack: what it aims at, in which order, and that it leaves no image that longer attacks lose."""

import pytest
import torch
from helpers import Linear, Recorder, convolutional, random_images
from torch import nn

from advlook.attacks.apgd import apgd
from advlook.attacks.margin import margin, margin_attack, targeted_margin
from advlook.core.errors import RequestError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_margins_are_differences_of_logits():
    """To the best wrong class, and to a given one; positive where the label has lost."""
    logits, labels = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]]), torch.tensor([0, 1])
    assert margin(logits, labels).tolist() == [-1, 4]
    assert targeted_margin(logits, labels, torch.tensor([1, 0])).tolist() == [-2, -1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_nearest_border_of_a_linear_model_is_found(norm, classes):
    """Against a linear model the largest margin in the ball is that of the best target, known in closed form."""
    model, images = Linear(classes=classes, margin=30.0), random_images(low=0.3, high=0.7)
    labels = torch.zeros(8, dtype=torch.int64)
    found = margin_attack(model, images, labels, 0.1, norm=norm, steps=20, rivals=9, generator=seeded())
    weight = model.layer.weight
    towards = weight[1:] - weight[0]
    reach = 0.1 * (towards.abs().sum(1) if norm == "linf" else towards.norm(dim=1))
    logits = model(images)
    best = (logits[:, 1:] - logits[:, :1] + reach).amax(1)
    torch.testing.assert_close(margin(model(found), labels), best, atol=0.02 * reach.max().item(), rtol=0)


def test_each_target_is_tried_once():
    """Every ascent aims at another class than those before, and no more often than there are wrong classes."""
    model, aims = convolutional(classes=4).eval(), []
    images = random_images(6, 8)
    labels = model(images).argmax(1)
    original = targeted_margin

    def watched(logits, labels, targets):
        aims.append(targets.clone())
        return original(logits, labels, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("advlook.attacks.margin.targeted_margin", watched)
        margin_attack(model, images, labels, 1e-6, steps=1, rivals=9, generator=seeded())
    distinct = list(dict.fromkeys(tuple(each.tolist()) for each in aims))
    assert len(distinct) == 3
    for image, label in enumerate(labels.tolist()):
        assert {each[image] for each in distinct} == set(range(4)) - {label}


def test_lost_images_are_shown_no_more():
    """A radius at which all is lost costs a few passes; one at which nothing is, those of all ascents."""
    model, images = convolutional().eval(), random_images(6, 8)
    labels = model(images).argmax(1)
    sizes = {}
    for eps in (1e-6, 0.5):
        recorder = Recorder(model)
        margin_attack(recorder, images, labels, eps, steps=5, rivals=2, generator=seeded())
        sizes[eps] = sum(recorder.sizes)
    assert sizes[1e-6] >= 6 * 6 * 3
    assert sizes[0.5] < sizes[1e-6] / 2


def test_it_is_as_strong_as_a_long_targeted_attack():
    """On a network of five classes it leaves no more than APGD does with 100 steps at each of four targets."""
    model, images = convolutional(classes=5).eval(), random_images(200, 8)
    labels = model(images).argmax(1)
    long = apgd(model, images, labels, 0.004, steps=100, loss="dlr-targeted", restarts=4, generator=seeded())
    short = margin_attack(model, images, labels, 0.004, generator=seeded())
    left = {name: (model(found).argmax(1) == labels).sum().item() for name, found in (("long", long), ("short", short))}
    assert 20 < left["long"] < 180
    assert left["short"] <= left["long"] + 1


def test_what_it_cannot_do_is_told():
    """No targets are no attack."""
    with pytest.raises(RequestError, match="rivals=0 must be a whole number"):
        margin_attack(Linear(), random_images(), torch.zeros(8, dtype=torch.int64), 0.1, rivals=0)


def test_large_logits_hide_nothing():
    """Logits a million times as large, of which a softmax leaves no gradient, are attacked alike."""

    class Scaled(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, images):
            return 1e6 * self.model(images)

    model, images = convolutional(classes=4).eval(), random_images(20, 8)
    labels = model(images).argmax(1)
    found = [margin_attack(each, images, labels, 0.01, generator=seeded()) for each in (model, Scaled(model))]
    assert torch.equal(*found)
