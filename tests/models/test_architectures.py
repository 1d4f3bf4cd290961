"""The five architectures: shapes, torchvision's names, normalisation inside, seeds."""

import pytest
import torch
import torchvision.models
from helpers import random_images
from torch import fx, nn

from advlook.core.errors import RequestError
from advlook.core.presets import ARCHITECTURES
from advlook.models.architectures import build_model


def small(arch, stem="tiny", classes=5, **options):
    return build_model(arch, classes, stem=stem, width=8, **options)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_published_network_at_224(arch):
    """Without a configuration each name is the published network, for images of 224 px."""
    model = build_model(arch, 7).eval()
    with torch.no_grad():
        assert model(random_images(1, 224)).shape == (1, 7)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("stem", "side", "last"), [("small", 64, 4), ("tiny", 32, 4)])
def test_small_stems(arch, stem, side, last):
    """At their stems small images give logits, from a last map that still has 4 x 4 places."""
    model = small(arch, stem).eval()
    maps = []
    features = model.network.features if arch == "alexnet_bn" else model.network.layer4
    features.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.no_grad():
        assert model(random_images(2, side)).shape == (2, 5)
    assert maps[0].shape[2:] == (last, last)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet101"])
def test_published_resnet_is_torchvisions(arch):
    """Names and shapes are torchvision's, so its weights fit, and with them the outputs are equal."""
    theirs, ours = getattr(torchvision.models, arch)(num_classes=3).eval(), build_model(arch, 3).eval()
    assert {n: v.shape for n, v in theirs.state_dict().items()} == {
        n: v.shape for n, v in ours.network.state_dict().items()
    }
    ours.network.load_state_dict(theirs.state_dict())
    images = random_images(2, 64)
    with torch.no_grad():
        expected = theirs((images - ours.mean) / ours.std)
        torch.testing.assert_close(ours(images), expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)


def test_published_alexnet_has_torchvisions_channels():
    """The published AlexNet has torchvision's convolutions and hidden layers, and five batch norms."""
    theirs, ours = torchvision.models.alexnet(num_classes=3), build_model("alexnet_bn", 3).network

    def shapes(model, kind):
        return [m.weight.shape for m in model.modules() if isinstance(m, kind)]

    assert shapes(ours, nn.Conv2d) == shapes(theirs, nn.Conv2d)
    assert shapes(ours, nn.Linear) == shapes(theirs, nn.Linear)
    assert [m.num_features for m in ours.modules() if isinstance(m, nn.BatchNorm2d)] == [64, 192, 384, 256, 256]


def test_resnet10_is_the_smallest_resnet():
    """ResNet-10 is ResNet-18 with one block a stage."""
    kept = {n for n in build_model("resnet18", 3).state_dict() if not n.startswith(("layer", "network.layer"))}
    names = set(build_model("resnet10", 3).state_dict())
    assert kept <= names
    assert not [n for n in names if ".1." in n and ".downsample." not in n]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_normalisation_sits_inside(arch):
    """The model is its network behind the stated mean and deviation."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    model, images = small(arch, mean=mean, std=std).eval(), random_images(2, 32)
    channels = [(images[:, [c]] - mean[c]) / std[c] for c in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.network(torch.cat(channels, 1)), atol=1e-5, rtol=1e-4)


def test_normalisation_is_not_trained():
    """Mean and deviation are stored with the weights, and no optimizer sees them."""
    model = small("resnet10")
    assert {"mean", "std"} <= set(model.state_dict())
    assert not {"mean", "std"} & {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("arch", ["alexnet_bn", "resnet10"])
def test_seed_determines_the_weights(arch):
    """One seed gives one network, whatever was drawn before, and the global random state is left alone."""
    torch.manual_seed(0)
    first = small(arch, seed=3).state_dict()
    torch.rand(5)
    state = torch.get_rng_state()
    second, other = small(arch, seed=3).state_dict(), small(arch, seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_without_seed_the_global_state_is_used():
    """Without a seed two networks differ."""
    first, second = (small("resnet10").state_dict()["network.conv1.weight"] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_rectifier_is_a_module(arch):
    """No rectifier is a function call: methods that exchange ReLU modules would miss it."""
    graph = fx.symbolic_trace(small(arch)).graph
    calls = [node for node in graph.nodes if node.op in ("call_function", "call_method")]
    assert not [node for node in calls if "relu" in str(node.target)]
    rectifiers = [node for node in graph.nodes if node.op == "call_module" and "relu" in str(node.target)]
    assert rectifiers or arch == "alexnet_bn"


@pytest.mark.parametrize("arch", ["alexnet_bn", "resnet10"])
def test_weights_lie_channels_last(arch):
    """Convolutions run in the layout that is fastest on CPU and GPU alike."""
    weights = [m.weight for m in small(arch).modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_unknown_names_are_refused():
    """An unknown architecture or stem ends in one line with the choices."""
    with pytest.raises(RequestError, match=r"'vgg16' is unknown; choose from .*resnet50"):
        build_model("vgg16", 10)
    with pytest.raises(RequestError, match=r"'Imagenet' is unknown; choose from imagenet, small, tiny"):
        small("resnet10", stem="Imagenet")
