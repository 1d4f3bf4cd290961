"""Filters: layers in the order they run, the convolution that is the first layer, and filters on one scale."""

import pytest
import torch
import torchvision.models
from helpers import FailingHead, Linear, convolutional, random_images, snapshot
from torch import nn

from advlook.core.errors import RequestError
from advlook.models.architectures import build_model
from advlook.models.folding import folded
from advlook.sensitivity.filters import conv_layers, first_filters, first_layer, on_one_scale


def build_small(arch):
    return build_model(arch, 3, stem="tiny", width=8, seed=0).eval()


class Backwards(nn.Module):
    """Registers its convolutions in another order than it runs them in; one runs twice, one never."""

    def __init__(self):
        super().__init__()
        self.never = nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(4, 2, 1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 5)

    def forward(self, images):
        return self.last(self.twice(self.twice(self.first(images)))).mean((2, 3))


def test_convolutions_are_named_in_forward_order():
    """Names come in the order in which convolutions run, whatever the order of registration; unused ones do not."""
    assert conv_layers(Backwards()) == ["first", "twice", "last"]
    assert conv_layers(build_small("alexnet_bn")) == [f"network.features.{i}" for i in (0, 4, 8, 11, 14)]
    blocks = [f"network.layer{stage}.0." for stage in (1, 2, 3, 4)]
    convolutions = [f"{block}{name}" for block in blocks for name in ("conv1", "conv2", "downsample.0")]
    convolutions.remove("network.layer1.0.downsample.0")
    assert conv_layers(build_small("resnet10")) == ["network.conv1", *convolutions]


def test_published_networks_run_at_the_default_size():
    """The default size suits the published stems, of which AlexNet's is the most demanding."""
    assert first_filters(build_model("alexnet_bn", 3, width=8)).shape == (8, 3, 11, 11)


def test_first_filters_are_those_that_run_first():
    """The first filters are the weights, copied, of the convolution that sees the image."""
    model = Backwards()
    found = first_filters(model)
    assert torch.equal(found, model.first.weight)
    assert found.data_ptr() != model.first.weight.data_ptr()
    assert not found.requires_grad


def test_folded_filters_have_the_strength_that_counts():
    """Four times the weights in front of batch normalisation change nothing, and nothing in the folded filters."""
    weak, strong = build_small("resnet10"), build_small("resnet10")
    with torch.no_grad():
        strong.network.conv1.weight *= 4
        strong.network.bn1.running_var *= 16
    torch.testing.assert_close(first_filters(strong), 4 * first_filters(weak))
    torch.testing.assert_close(*(first_filters(folded(m)) for m in (strong, weak)), rtol=1e-4, atol=0)


def test_model_without_first_filters_is_refused():
    """A model without a convolution, or with one that sees something else than three channels, is refused."""
    with pytest.raises(RequestError, match="Linear runs no"):
        first_filters(Linear(), size=4)
    with pytest.raises(RequestError, match="size=4 does not suit this network"):
        conv_layers(Backwards(), size=4)
    with pytest.raises(RequestError, match=r"shape \(2, 1, 3, 3\)"):
        first_filters(nn.Sequential(nn.AvgPool3d((3, 1, 1)), nn.Conv2d(1, 2, 3)))


class Branches(nn.Module):
    """As in RepVGG and FastViT, a 1x1 side branch runs first, and behind both there is a larger kernel."""

    def __init__(self, resized=False):
        super().__init__()
        self.point, self.main = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.colour, self.deep, self.resized = nn.Conv2d(4, 3, 1), nn.Conv2d(3, 4, 9, padding=4), resized

    def forward(self, images):
        point = self.point(images)
        if self.resized:  # as in CrossViT
            images = nn.functional.interpolate(images, scale_factor=0.5).repeat(1, 1, 2, 2)
        return self.deep(self.colour(point + self.main(images))).mean((2, 3))


@pytest.mark.parametrize("resized", [False, True])
def test_the_first_layer_has_the_largest_kernel_that_sees_the_image(resized):
    """Neither a side branch that happens to run first nor a larger kernel further on, and its name is known."""
    model = Branches(resized)
    assert conv_layers(model) == ["point", "main", "colour", "deep"]
    assert first_layer(model) == "main"
    assert torch.equal(first_filters(model), model.main.weight)


def test_frozen_networks_have_a_first_layer():
    """What sees the image does not depend on which parameters are trained, nor on the caller's mode."""
    model = Branches().requires_grad_(False)
    with torch.no_grad():
        assert first_layer(model) == "main"


class InPlace(nn.Module):
    """Normalises the images that it is given where they lie."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm(self.conv(images.sub_(0.5))).mean((2, 3))


def test_images_may_be_normalised_in_place():
    """A model that changes its images has a first layer, and is folded."""
    model = InPlace().eval()
    model.norm.running_var.fill_(4.0)
    assert first_layer(model) == "conv"
    torch.testing.assert_close(first_filters(folded(model)), first_filters(model) / 2, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [("mobilenet_v3_small", "features.0.0", 32), ("swin_t", "features.0.0", 32), ("squeezenet1_1", "features.0", 32)],
)
def test_first_layers_of_torchvision(name, layer, size):
    """Convolutions of all kinds of networks are found, a patch embedding among them."""
    model = getattr(torchvision.models, name)(weights=None, num_classes=3)
    assert first_layer(model, size=size) == layer


def test_looking_for_layers_leaves_the_model_as_it_was():
    """Mode, gradients and hooks survive, also where the model fails on the way."""
    for find in (conv_layers, first_layer, first_filters):
        model = convolutional()
        model(random_images(6, 8)).sum().backward()  # fills .grad and the statistics
        before = snapshot(model)
        find(model)
        assert snapshot(model) == before
        model = nn.Sequential(model, FailingHead(1)).train()
        with pytest.raises(ArithmeticError):
            find(model)
        assert snapshot(model[0]) == before
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_functions_are_refused():
    """A plain function has no layers, and one line says what is needed."""
    for find in (conv_layers, first_layer, first_filters, folded):
        with pytest.raises(RequestError, match=r"needs an nn.Module, .* not a function"):
            find(lambda images: images)


def test_torchscript_is_refused():
    """TorchScript shows no layers: one line, where an empty list was the answer."""
    model, images = convolutional().eval(), random_images(6, 8)
    script = torch.jit.trace(model, images)
    for hidden in (script, torch.jit.freeze(script), nn.Sequential(script)):
        for find in (conv_layers, first_layer, first_filters):
            with pytest.raises(RequestError, match="needs layers, which TorchScript hides"):
                find(hidden, size=8)


def test_one_scale_keeps_ratios():
    """On the common scale zero is grey, the largest weight of all models is its end, and ratios are the weights'."""
    weights = [random_images(4, 3, -0.2, 0.1, seed=1), random_images(6, 5, -3, 4, seed=2)]
    images, limit = on_one_scale(weights)
    assert limit == float(weights[1].max())
    for drawn, real in zip(images, weights, strict=True):
        assert drawn.shape == real.shape
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        torch.testing.assert_close((drawn - 0.5) * 2 * limit, real, atol=1e-6, rtol=0)
    assert images[1].max() == 1
    assert (on_one_scale([torch.zeros(2, 3, 3, 3)])[0][0] == 0.5).all()
