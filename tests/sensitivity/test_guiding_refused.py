"""Guided backpropagation is refused where it would be another map, or where its ReLUs cannot be seen."""

import pytest
import torch
import torch.nn.functional as F
from helpers import Linear, between, convolutional, random_images
from torch import nn

from advlook.core.errors import RequestError
from advlook.sensitivity.maps import guided_backprop, loss_gradient, vanilla_gradient

LABELS = torch.arange(6) % 3


def by_hand(values):
    """Hard swish as many write it."""
    return values * F.relu6(values + 3, inplace=True) / 6


OTHERS = {
    "GELU": (F.gelu, "which calls 1 GELU, no ReLU"),
    "most are SiLU": ((F.relu, F.silu, nn.SiLU()), "2 SiLU, 1 ReLU"),
    "a hard swish by hand": (by_hand, "1 Hardsigmoid, no ReLU"),
    "hard swish": (F.hardswish, "1 Hardswish"),
    "LeakyReLU": (nn.LeakyReLU(0.1), "1 LeakyReLU"),
    "PReLU": (nn.PReLU(), "1 PReLU"),
    "several": ((F.relu, torch.sigmoid, torch.tanh), "1 Sigmoid, 1 Tanh, 1 ReLU"),
    "an exponential": (torch.exp, "1 exp, no ReLU"),
    "a minimum of what is turned": (lambda values: -torch.minimum(-values, torch.zeros_like(values)), "1 minimum"),
    "clamps elsewhere": (lambda values: values.clamp(-1, 1), "no ReLU"),
    "nothing": (nn.Identity(), "no ReLU"),
    "masks of something else": (lambda values: torch.where(values > 1, values, 0.0), "no ReLU"),
}


@pytest.mark.parametrize(("functions", "says"), OTHERS.values(), ids=OTHERS.keys())
def test_where_other_nonlinearities_dominate_it_is_refused(functions, says):
    """Where ReLUs are outnumbered the map would be another one: one line counts what is there."""
    model = between(*functions) if isinstance(functions, tuple) else between(functions)
    with pytest.raises(RequestError, match="not defined for Sequential") as caught:
        guided_backprop(model, random_images(6), LABELS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


class Positions(nn.Module):
    """A GELU on the images' values and, as in Swin v2, two ReLUs on parameters alone."""

    def __init__(self):
        super().__init__()
        self.first, self.bias, self.last = Linear(classes=4), nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

    def forward(self, images):
        return self.last(F.gelu(self.first(images)) + F.relu(F.relu(self.bias)))


def test_relus_of_parameters_do_not_count():
    """What is computed from parameters alone is on no way to the images."""
    with pytest.raises(RequestError, match="1 GELU, no ReLU"):
        guided_backprop(Positions(), random_images(6), LABELS)


class Swish(torch.autograd.Function):
    """A nonlinearity with a derivative of its own, of which the graph shows no more than the name."""

    @staticmethod
    def forward(ctx, values):
        return values * values.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@torch.jit.script
def scripted(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(min=0) * 2


HIDDEN = {
    "custom function": (Swish.apply, "what Swish does"),
    "scripted function": (scripted, "what DifferentiableGraph does"),
}


@pytest.mark.parametrize(("function", "says"), HIDDEN.values(), ids=HIDDEN.keys())
def test_what_the_graph_hides_is_refused(function, says):
    """A part whose nonlinearities cannot be seen is named, even where ReLUs are seen elsewhere."""
    model, images = between(function, F.relu), random_images(6)
    for _ in range(3):
        vanilla_gradient(model, images, LABELS)  # TorchScript fuses what has run a few times
    with pytest.raises(RequestError, match=says) as caught:
        guided_backprop(model, images, LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("freeze", [False, True])
def test_torchscript_is_refused_where_layers_are_needed(freeze):
    """TorchScript, frozen or not, has gradients but shows no layers: one line says so, and what works."""
    model, images = convolutional().eval(), random_images(6, 8)
    script = torch.jit.trace(model, images)
    script = torch.jit.freeze(script) if freeze else script
    for hidden in (script, nn.Sequential(nn.Identity(), script)):
        with pytest.raises(RequestError, match="guided_backprop needs layers, which TorchScript hides") as caught:
            guided_backprop(hidden, images, LABELS)
        assert "all other maps work" in str(caught.value)
        for method in (vanilla_gradient, loss_gradient):
            torch.testing.assert_close(method(hidden, images, LABELS), method(model, images, LABELS))


@pytest.mark.parametrize("model", [Linear(classes=3), Positions()], ids=["linear", "GELU"])
def test_model_without_relus_is_refused(model):
    """Where no ReLU is called there is nothing to guide, and the message says so by the model's name."""
    model.unused = nn.ReLU()
    with pytest.raises(RequestError, match=type(model).__name__):
        guided_backprop(model, random_images(6), LABELS)
