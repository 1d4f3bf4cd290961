"""Guided backpropagation: by hand, whatever a ReLU is called by, and against captum."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from captum.attr import GuidedBackprop
from helpers import Function, Linear, between, convolutional, random_images, snapshot
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import FrozenBatchNorm2d

from advlook.sensitivity.maps import guided_backprop, vanilla_gradient

LABELS = torch.arange(6) % 3


class ByHand(nn.Module):
    """Two layers of three hidden values each on one pixel of three channels, with weights small enough for paper."""

    def __init__(self, shared, inplace):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 2)
        self.relu = nn.ReLU(inplace)
        self.other = self.relu if shared else nn.ReLU(inplace)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -2.0], [-1.0, 0.0, 2.0]]))
            self.second.weight.copy_(torch.tensor([[1.0, 1.0, -1.0], [2.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
            self.last.weight.copy_(torch.tensor([[1.0, -1.0, 2.0], [0.0, 1.0, -3.0]]))

    def forward(self, images):
        hidden = self.relu(self.first(images.flatten(1)))
        return self.last(self.other(self.second(hidden)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_guided_backprop_by_hand(shared, inplace):
    """On a network small enough for paper the map is the one computed there, unlike the plain gradient."""
    # Pixel (1, 0.5, 1): the first layer gives (2, -1.5, 1) -> (2, 0, 1); the second (1, 5, 1), all positive.
    # Class 0 hands back (1, -1, 2), of which guiding keeps (1, 0, 2). Through the second layer that is (1, 3, 1), of
    # which the first ReLU keeps (1, 0, 1), and through the first layer (0, 2, 2).
    # Class 1 hands back (0, 1, -3) -> (0, 1, 0) -> (2, 0, 1) -> (2, 0, 1) -> (1, 4, 2).
    image = torch.tensor([1.0, 0.5, 1.0]).view(1, 3, 1, 1)
    model = ByHand(shared, inplace)
    guided = guided_backprop(model, image.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    torch.testing.assert_close(guided.flatten(1), torch.tensor([[0.0, 2.0, 2.0], [1.0, 4.0, 2.0]]))
    # Without guiding: (1, -1, 2) -> (-1, 3, 0) -> (-1, 0, 0) -> (-1, -2, 0).
    plain = vanilla_gradient(model, image, torch.tensor([0]))
    torch.testing.assert_close(plain.flatten(), torch.tensor([-1.0, -2.0, 0.0]))


def test_inplace_relu_changes_what_others_see():
    """A model that counts on an in-place ReLU computes the same while it is guided."""

    class Statement(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last = Linear(classes=4), nn.ReLU(inplace=True), nn.Linear(4, 3)

        def forward(self, images):
            hidden = self.first(images)
            self.relu(hidden)
            return self.last(hidden)

    model, images = Statement(), random_images(6)
    usual = nn.Sequential(model.first, nn.ReLU(), model.last)
    torch.testing.assert_close(guided_backprop(model, images, LABELS), guided_backprop(usual, images, LABELS))
    assert not torch.equal(guided_backprop(model, images, LABELS), vanilla_gradient(model, images, LABELS))


def test_module_under_two_parents():
    """A ReLU registered in two places is guided in both, and afterwards an ordinary ReLU again."""
    relu = nn.ReLU(inplace=True)
    first, middle, last = Linear(classes=4), nn.Linear(4, 4), nn.Linear(4, 3)
    shared = nn.Sequential(nn.Sequential(first, relu), nn.Sequential(middle, relu), last)
    apart = nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)
    images = random_images(6)
    torch.testing.assert_close(guided_backprop(shared, images, LABELS), guided_backprop(apart, images, LABELS))
    assert shared[0][1] is shared[1][1] is relu
    values = torch.tensor([-1.0, 2.0], requires_grad=True)
    (-relu(values * 1)).sum().backward()
    assert values.grad.tolist() == [0, -1]


class Counting(nn.ReLU):
    """A ReLU module with a forward of its own."""

    def forward(self, values):
        return F.relu(values)


def assigned(values):
    """Negative values set to 0 by assignment."""
    values = values * 1
    values[values < 0] = 0
    return values


def fill_in_place(values):
    return (values * 1).masked_fill_(values <= 0, 0.0)


def in_slice(values):
    """A slice, which is a view, is clipped in place, and the whole goes on."""
    values = values * 1
    F.relu_(values[:, :])
    return values


ZERO = torch.tensor(0.0)
RELUS = {
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "a subclass": Counting(),
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "nn.Hardtanh": nn.Hardtanh(0.0, 50.0),
    "nn.LeakyReLU": nn.LeakyReLU(0.0),
    "nn.LeakyReLU in place": nn.LeakyReLU(0.0, inplace=True),
    "nn.PReLU": nn.PReLU(init=0.0),
    "nn.Threshold": nn.Threshold(0.0, 0.0),
    "F.relu": F.relu,
    "F.relu by keyword": lambda values: F.relu(input=values),
    "F.relu in place": partial(F.relu, inplace=True),
    "torch.relu": torch.relu,
    "Tensor.relu": torch.Tensor.relu,
    "Tensor.relu_": torch.Tensor.relu_,
    "F.relu6": F.relu6,
    "F.hardtanh": partial(F.hardtanh, min_val=0.0, max_val=50.0),
    "F.threshold": partial(F.threshold, threshold=0, value=0),
    "Tensor.clamp": lambda values: values.clamp(min=0),
    "clamp to 50": lambda values: values.clamp(0, 50),
    "clamp to a tensor": lambda values: values.clamp(min=ZERO),
    "clamp_": lambda values: (values * 1).clamp_(0),
    "clip": lambda values: values.clip(0),
    "clamp_min": lambda values: torch.clamp_min(values, 0.0),
    "torch.maximum": lambda values: torch.maximum(values, ZERO),
    "torch.max": lambda values: torch.max(torch.zeros_like(values), values),
    "torch.fmax": lambda values: torch.fmax(values, ZERO),
    "torch.where": lambda values: torch.where(values > 0, values, 0.0),
    "torch.where, turned": lambda values: torch.where(values <= 0, torch.zeros_like(values), values),
    "Tensor.where": lambda values: values.where(values > 0, ZERO),
    "masked_fill": lambda values: values.masked_fill(values <= 0, 0),
    "masked_fill_": fill_in_place,
    "mask times values": lambda values: (values > 0) * values,
    "mask in floats": lambda values: values * (values > 0).float(),
    "mask in floats first": lambda values: (values > 0).to(values.dtype) * values,
    "assignment": assigned,
    "in place on a view": lambda values: F.relu((values * 1).view(6, 2, 2), inplace=True).flatten(1),
    "in place on a slice": in_slice,
}


@pytest.mark.parametrize("function", RELUS.values(), ids=RELUS.keys())
def test_whatever_clips_at_zero_is_guided(function):
    """The map is that of an nn.ReLU, whatever takes its place, in place or not; the model is left as it was."""
    images = random_images(6, high=0.5)
    images[0] = 0  # where every value is 0, which a ReLU does not pass on either
    usual, other = between(nn.ReLU()), between(function).train()
    assert usual[:2](images).max() < 6
    before, own = snapshot(other), [set(vars(m)) for m in other.modules()]
    found = guided_backprop(other, images, LABELS)
    torch.testing.assert_close(found[1:], guided_backprop(usual, images, LABELS)[1:])
    assert not torch.allclose(found, vanilla_gradient(other, images, LABELS))
    assert snapshot(other) == before
    assert [set(vars(m)) for m in other.modules()] == own


@pytest.mark.parametrize("name", [name for name in RELUS if name != "assignment"])
def test_nothing_is_passed_at_zero(name):
    """Where the input is exactly 0 nothing is passed on, though the derivative of a clamp is 1 there."""
    black = torch.zeros(6, 3, 4, 4)
    assert not guided_backprop(between(RELUS[name]), black, LABELS).any()


def test_bound_from_above_is_kept():
    """A ReLU6 passes on nothing where it is cut off at 6, as the ordinary gradient does not."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.ReLU6(), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [0.1]]).expand(2, 48))  # sums of 24 and 2.4
        model[1].bias.zero_()
        model[3].weight.fill_(1)
    found = guided_backprop(model, torch.full((1, 3, 4, 4), 0.5), LABELS[:1])
    torch.testing.assert_close(found, torch.full_like(found, 0.1))


def test_networks_of_relu6_agree_with_captum():
    """The map of a MobileNet v2, which has ReLU6, is captum's of the same network with ReLUs: no value gets near 6."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.mobilenet_v2(weights=None, num_classes=3, width_mult=0.25).double().eval()
    twin = torchvision.models.mobilenet_v2(weights=None, num_classes=3, width_mult=0.25).double().eval()
    twin.load_state_dict(model.state_dict())
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, nn.ReLU())
    images = random_images(2, 32).double()
    theirs = GuidedBackprop(twin).attribute(images.clone().requires_grad_(), LABELS[:2]).detach()
    ours = guided_backprop(model, images, LABELS[:2])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9 * theirs.abs().max().item())
    plain = vanilla_gradient(model, images, LABELS[:2])
    assert torch.corrcoef(torch.stack([ours.flatten(), plain.flatten()]))[0, 1] < 0.9


def test_clipping_pixels_is_no_relu():
    """A clamp of the images themselves, before any layer, lets negative gradients through."""
    model, images = between(F.relu), random_images(6)
    clipping = nn.Sequential(Function(lambda values: values.clamp(0, 1)), model)
    found = guided_backprop(clipping, images, LABELS)
    torch.testing.assert_close(found, guided_backprop(model, images, LABELS))
    assert found.min() < 0


def test_relu6_behind_frozen_normalisation_is_guided():
    """Frozen statistics end in a sum with constants, which makes no hard sigmoid of the ReLU6 behind them."""
    layers = nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.Linear(16, 3)
    model = nn.Sequential(*layers).requires_grad_(False)
    usual = nn.Sequential(layers[0], nn.ReLU6(), *layers[3:])
    images = random_images(6)
    torch.testing.assert_close(guided_backprop(model, images, LABELS), guided_backprop(usual, images, LABELS))


def test_checkpoints_that_show_their_graph_are_guided():
    """Activations that are computed twice, to save memory, are guided like others."""
    model, images = between(partial(checkpoint, F.relu, use_reentrant=False)), random_images(6)
    torch.testing.assert_close(guided_backprop(model, images, LABELS), guided_backprop(between(F.relu), images, LABELS))


def test_compiled_models_are_guided_as_they_were_written():
    """A compiled model has the same map: it runs uncompiled, because a compiled graph hides its ReLUs."""
    model, images, compiled = convolutional().eval(), random_images(6, 8), []
    fast = torch.compile(model, backend=lambda graph, inputs: compiled.append(graph) or graph.forward)
    torch.testing.assert_close(guided_backprop(fast, images, LABELS), guided_backprop(model, images, LABELS))
    assert not compiled
    vanilla_gradient(fast, images, LABELS)
    assert compiled


@pytest.mark.parametrize(
    "function", [torch.tanh, F.relu6, lambda values: values.clamp(0, 1), lambda values: values.clamp(min=-1)]
)
def test_other_activations_pass(function):
    """What is no ReLU keeps its ordinary gradient and is not refused."""
    guided_backprop(between(function, nn.ReLU()), random_images(6), LABELS)
