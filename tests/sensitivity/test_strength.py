"""Filters whose strength means nothing, because what follows undoes it, are told from those that have one."""

import pytest
import torch
from helpers import random_images
from torch import nn

from advlook.core.errors import NotDefinedError
from advlook.models.architectures import build_model
from advlook.models.folding import folded
from advlook.sensitivity.filters import first_filters
from advlook.sensitivity.strength import check_strength


class Standardising(nn.Conv2d):
    """Standardises its weights."""

    def forward(self, values):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(values, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


class Padding(nn.Conv2d):
    """Pads by itself, as timm's Conv2dSame does, and uses its weights as they are."""

    def forward(self, values):
        return super().forward(nn.functional.pad(values, (1, 1, 1, 1)))


class ByHand(nn.Module):
    """A layer norm over channels, written down."""

    def forward(self, values):
        centred = values - values.mean(1, keepdim=True)
        return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


class HandNorm(ByHand):
    """One whose name tells what it is."""


class Functional(nn.Module):
    """Calls the function, which is no module."""

    def forward(self, values):
        return nn.functional.group_norm(values, 2)


class Residual(nn.Module):
    """Normalises on one of two ways, as a transformer's blocks do."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(1, 4), nn.Conv2d(4, 4, 1)

    def forward(self, values):
        return values + self.conv(self.norm(values))


class Positions(nn.Module):
    """Adds what was learned, next to which filters are strong or weak."""

    def __init__(self):
        super().__init__()
        self.position, self.norm = nn.Parameter(torch.randn(4, 1, 1)), nn.GroupNorm(1, 4)

    def forward(self, values):
        return self.norm(values + self.position)


def network(*behind, first=nn.Conv2d):
    """A first layer, what is behind it, and a classifier."""
    return nn.Sequential(first(3, 4, 3), *behind, nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(3)).eval()


UNDEFINED = {
    "GroupNorm normalises what it gives": lambda: network(nn.GroupNorm(1, 4)),
    "HandNorm normalises what it gives": lambda: network(HandNorm()),
    "NativeGroupNorm normalises what it gives": lambda: network(Functional()),
    "BatchNorm2d normalises what it gives": lambda: network(nn.GELU(), nn.BatchNorm2d(4)),
    "InstanceNorm2d normalises what it gives": lambda: network(nn.ReLU(True), nn.InstanceNorm2d(4)),
    "LayerNorm normalises what it gives": lambda: network(nn.BatchNorm2d(4), nn.LayerNorm(6)),
    "the layer standardises its weights": lambda: network(first=Standardising),
}


@pytest.mark.parametrize("why", UNDEFINED)
def test_strength_that_means_nothing_is_not_defined(why):
    """The reason names what undoes it; the filters are there all the same."""
    model = UNDEFINED[why]()
    with pytest.raises(NotDefinedError, match="the strength of the filters of '0' is not defined") as error:
        check_strength(model, size=8)
    assert error.value.why == why
    assert first_filters(model, size=8).shape == (4, 3, 3, 3)


DEFINED = {
    "nothing": lambda: network(nn.ReLU()),
    "batch normalisation, folded": lambda: network(
        nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.GroupNorm(1, 4)
    ),
    "on one of two ways": lambda: network(Residual()),
    "positions": lambda: network(Positions()),
    "padding": lambda: network(nn.BatchNorm2d(4), first=Padding),
    "ours": lambda: build_model("resnet10", 3, stem="tiny", width=8).eval(),
}


@pytest.mark.parametrize("kind", DEFINED)
def test_strength_that_counts_is_defined(kind):
    """Twice as strong, first filters make a difference."""
    model, images = DEFINED[kind](), random_images(2, 8)
    model(images)
    check_strength(model, size=8)
    fold = folded(model, size=8)
    before = fold(images)
    next(fold.parameters()).data.mul_(2)
    assert not torch.allclose(fold(images), before, rtol=1e-3)
