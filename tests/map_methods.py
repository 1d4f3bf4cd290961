"""What tests of sensitivity maps share: every method, a smooth network, and one that keeps its points."""

import pytest
import torch
from helpers import Linear
from torch import nn

from advlook.sensitivity.maps import METHODS, smooth_grad

each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
LABELS = torch.arange(6) % 3


def seeded(method, seed=0):
    """The same method, whose draws, where it makes any, are those of one seed."""
    if method is not smooth_grad:
        return method
    return lambda *args, **kwargs: smooth_grad(*args, generator=torch.Generator().manual_seed(seed), **kwargs)


class Smooth(nn.Module):
    """A small network without kinks, so that quadrature converges fast."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Linear(classes=5, seed=1), nn.Linear(5, 3)
        with torch.no_grad():
            self.first.layer.weight *= 0.3
            self.last.weight.copy_(torch.linspace(-2, 2, 15).view(3, 5))
        self.double()

    def forward(self, images):
        return self.last(torch.tanh(self.first(images)))


class Points(nn.Module):
    """Linear in the pixels, and keeps every point that it is asked at."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = Linear(classes=3), []

    def forward(self, images):
        self.seen.append(images.detach())
        return self.linear(images)
