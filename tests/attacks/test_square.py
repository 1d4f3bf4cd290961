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


def test_no_gradient_is_asked_for():
    """Where PGD finds nothing, for every gradient is zero, random search loses most images."""
    model, images, labels = stairs_case()
    assert accuracy(model, pgd(model, images, labels, 0.1, random_start=False), labels) == 1
    assert accuracy(model, square(model, images, labels, 0.1, queries=200, generator=seeded()), labels) < 0.5


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


def test_against_a_linear_model_it_nears_the_optimum():
    """With many queries nearly the whole of what the best perturbation gains is gained."""
    model, images = Linear(margin=30.0), random_images(low=0.3, high=0.7)
    labels = torch.zeros(8, dtype=torch.int64)
    found = square(model, images, labels, 0.1, queries=3000, generator=seeded())
    weight = model.layer.weight
    gained = margin(model(found), labels) - margin(model(images), labels)
    assert (gained > 0.8 * 0.1 * (weight[1] - weight[0]).abs().sum()).all()


def test_squares_shrink():
    """They cover four fifths of the image at first, and single pixels in the end; of fewer queries the same shares."""
    sides = [side_of(query, 10_000, 32, 32) for query in range(0, 10_000, 10)]
    assert sides[0] == round((0.8 * 32 * 32) ** 0.5)
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == 1
    assert [side_of(query, 100, 32, 32) for query in range(100)] == sides[::10]


@pytest.mark.parametrize("side", [1, 2, 5])
def test_images_of_any_size(side):
    """The smallest images too; nothing leaves the ball."""
    model, images = convolutional().eval(), random_images(4, max(side, 2), -0.2, 1.2).clamp(0, 1)[..., :side, :]
    labels = torch.zeros(4, dtype=torch.int64)
    found = square(nn.Sequential(nn.Upsample((8, 8)), model), images, labels, 0.05, queries=20, generator=seeded())
    assert (found - images).abs().max() <= 0.05 + 1e-6


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


def test_other_norms_are_searched_by_gradients_alone():
    """Random search is defined in L-infinity; in L2 it is left out, and named."""
    model, images = convolutional(classes=4).eval(), random_images(6, 8)
    result = attack_suite(model, images, model(images).argmax(1), 0.05, norm="l2", version="standard")
    assert result.left_out == {"square": "needs the L-infinity norm"}
    with pytest.raises(RequestError, match="version 'plus' is unknown; choose from fast, standard"):
        attack_suite(model, images, model(images).argmax(1), 0.05, version="plus")
