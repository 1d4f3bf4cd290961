"""Square attack: the ball, its squares, and models whose gradient tells nothing."""

import pytest
import torch
from helpers import Linear, convolutional, random_images
from torch import nn

from advlook.attacks.margin import margin
from advlook.attacks.pgd import pgd
from advlook.attacks.square import side_of, square
from advlook.attacks.suite import FIRST_QUERIES, QUERIES, attack_suite
from advlook.core.errors import RequestError


class Stairs(nn.Module):
    """A linear model of pixels in 32 steps: its gradient is zero everywhere."""

    def __init__(self):
        super().__init__()
        self.model = Linear(side=8, margin=1.0)

    def forward(self, images):
        stairs = (images * 32).round() / 32
        return self.model(stairs + 0 * images)


def stairs_case():
    model, images = Stairs().eval(), random_images(40, 8)
    return model, images, model(images).argmax(1)


def accuracy(model, images, labels):
    return (model(images).argmax(1) == labels).double().mean().item()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_no_gradient_is_asked_for(norm, eps):
    """Where PGD finds nothing, for every gradient is zero, random search loses most images."""
    model, images, labels = stairs_case()
    assert accuracy(model, pgd(model, images, labels, eps, norm=norm, random_start=False), labels) == 1
    found = square(model, images, labels, eps, norm=norm, queries=400, generator=seeded())
    assert accuracy(model, found, labels) < 0.5


def test_the_margin_never_falls():
    """More queries leave margins that are no smaller, and the point kept is that of the largest margin seen."""
    model, seen = Linear(classes=3, margin=30.0), []
    watched = nn.Sequential(model)
    watched.register_forward_hook(lambda module, inputs, logits: seen.append(margin(logits, labels)))
    images, labels = random_images(12), torch.zeros(12, dtype=torch.int64)
    found = square(watched, images, labels, 0.1, queries=60, generator=seeded())
    kept, asked = margin(model(found), labels), torch.stack(seen[1:])  # after the image as it is
    torch.testing.assert_close(kept, asked.amax(0))
    assert (kept > asked[0]).all()


@pytest.mark.parametrize(("norm", "share"), [("linf", 0.8), ("l2", 0.6)])
def test_against_a_linear_model_it_nears_the_optimum(norm, share):
    """With many queries most of what the best perturbation gains is gained."""
    model, images = Linear(margin=30.0), random_images(low=0.3, high=0.7)
    labels = torch.zeros(8, dtype=torch.int64)
    found = square(model, images, labels, 0.1, norm=norm, queries=3000, generator=seeded())
    towards = model.layer.weight[1] - model.layer.weight[0]
    best = 0.1 * (towards.abs().sum() if norm == "linf" else towards.norm())
    assert (margin(model(found), labels) - margin(model(images), labels) > share * best).all()


def test_squares_shrink():
    """They cover four fifths of the image at first, and single pixels in the end; of fewer queries the same shares."""
    sides = [side_of(query, 10_000, 32, 32) for query in range(0, 10_000, 10)]
    assert sides[0] == round((0.8 * 32 * 32) ** 0.5)
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == 1
    assert [side_of(query, 100, 32, 32) for query in range(100)] == sides[::10]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("side", [1, 2, 5])
def test_images_of_any_size(side, norm):
    """The smallest images too, and such as are no squares; nothing leaves the ball."""
    model, images = convolutional().eval(), random_images(4, max(side, 2), -0.2, 1.2).clamp(0, 1)[..., :side, :]
    model, labels = nn.Sequential(nn.Upsample((8, 8)), model), torch.zeros(4, dtype=torch.int64)
    change = square(model, images, labels, 0.05, norm=norm, queries=20, generator=seeded()) - images
    assert change.flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2).max() <= 0.05 + 1e-6


def test_a_square_in_l2_has_what_another_one_had():
    """The whole perturbation is as long as the radius throughout, away from the borders of [0, 1]."""
    seen = []
    watched = nn.Sequential(Linear(side=16, margin=30.0))
    watched.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    images = random_images(5, 16, 0.4, 0.6)
    square(watched, images, torch.zeros(5, dtype=torch.int64), 0.1, norm="l2", queries=40, generator=seeded())
    lengths = torch.stack([(each - images).flatten(1).norm(dim=1) for each in seen[1:]])
    assert lengths.max() <= 0.1 + 1e-6
    assert lengths.min() > 0.095  # a new square may cancel an old one; what it leaves free goes to the next
    assert lengths.median().item() == pytest.approx(0.1, abs=1e-5)


def test_the_standard_suite_sees_through_masking():
    """Of a masked model the gradients leave all and random search next to nothing; it then takes all its queries."""
    model, images, labels = stairs_case()
    result = attack_suite(model, images, labels, 0.1, version="standard", generator=seeded())
    assert list(result.survived) == ["clean", "margin", "square"]
    assert result.accuracy["margin"] > 70
    assert result.accuracy["square"] < 30
    assert result.passes["square"][1] == 0
    assert result.passes["square"][0] > 32 * FIRST_QUERIES / 2


def test_random_search_ends_early_where_it_finds_nothing():
    """Of a model whose gradients are right a few images are searched, and passes are counted."""
    model, images = Linear(classes=3, margin=30.0), random_images(40)
    labels = torch.zeros(40, dtype=torch.int64)
    result = attack_suite(model, images, labels, 0.1, version="standard", generator=seeded())
    assert result.accuracy["square"] == result.accuracy["margin"] == 100
    assert result.passes["square"] == (33 * 32 * (FIRST_QUERIES + 2) // 33, 0)
    assert FIRST_QUERIES < QUERIES
    forward, backward = result.passes["margin"]
    assert backward == 40 * 10 * 3  # any class, and two targets
    assert forward > backward


def test_a_version_is_one_of_two():
    """In L2 both are defined; another name is refused."""
    model, images = convolutional(classes=4).eval(), random_images(6, 8)
    labels = model(images).argmax(1)
    assert attack_suite(model, images, labels, 0.05, norm="l2", version="standard").left_out == {}
    with pytest.raises(RequestError, match="version 'plus' is unknown; choose from fast, standard"):
        attack_suite(model, images, labels, 0.05, version="plus")
