"""Copies of models that keep results of earlier passes, new values for tensors, and their layout."""

import pytest
import torch
from helpers import convolutional, random_images, snapshot
from torch import nn
from torchvision.models import mnasnet0_5

from advlook.core.copies import channels_last, copied, set_weights
from advlook.models.folding import folded


class Keeping(nn.Module):
    """As timm's LeViT it computes something of its parameters once in eval mode, and drops it in train mode."""

    def __init__(self):
        super().__init__()
        self.layer, self.kept = nn.Linear(3, 2), {}

    def train(self, mode=True):
        """Without returning itself, as there."""
        super().train(mode)
        if mode:
            self.kept = {}

    def forward(self, images):
        if self.training:
            return images.mean((2, 3)) @ self.layer.weight.T
        if "weight" not in self.kept:
            self.kept["weight"] = self.layer.weight * 1
        return images.mean((2, 3)) @ self.kept["weight"].T


@pytest.fixture
def keeping():
    """A model that keeps a result with its graph."""
    model = nn.Sequential(Keeping(), nn.Dropout()).eval()
    model(random_images())
    return model


def test_copy_keeps_no_results(keeping):
    """It answers as the model, then as its own weights have it; the model keeps what it kept."""
    made, images = copied(keeping), random_images()
    assert torch.equal(made(images), keeping(images))
    assert keeping[0].kept
    made = copied(keeping)
    made[0].layer.weight.data.mul_(2)
    torch.testing.assert_close(made(images), 2 * keeping(images))


def test_new_weights_leave_no_results(keeping):
    """A filled model answers by its new weights, not by what it kept of the old ones."""
    images, before = random_images(), keeping(random_images()).detach()
    set_weights(keeping, {name: 2 * value for name, value in keeping.state_dict().items()})
    torch.testing.assert_close(keeping(images), 2 * before)


@pytest.mark.parametrize("mode", [True, False])
def test_modes_stay(mode):
    """A copy, and a model that is filled, have every module in its mode, and no tensor is shared."""
    model = convolutional().train(mode)
    model[1].train(not mode)
    before, made = snapshot(model), copied(model)
    assert snapshot(made) == before
    assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in model.parameters()}
    set_weights(made, model.state_dict())
    assert snapshot(made) == before


def test_plain_dicts_fill_networks_that_ask_for_versions():
    """torchvision's MNASNet does, and a dict that was read from a file has none."""
    model = mnasnet0_5(num_classes=3)
    state = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
    set_weights(model, state)
    assert all((value == 1).all() for value in model.state_dict().values())


class Volumes(nn.Module):
    """Weights of four and of five dimensions, as those of timm's LambdaNetworks."""

    def __init__(self):
        super().__init__()
        self.flat, self.deep = nn.Conv2d(3, 8, 3), nn.Conv3d(1, 4, (1, 3, 3))
        self.register_buffer("scale", torch.rand(1, 8, 1, 1))

    def forward(self, images):
        return self.deep((self.scale * self.flat(images))[:, None]).flatten(1)[:, :5]


def test_weights_of_images_are_laid_out_as_images():
    """Those of four dimensions, in place; others stay, and so do all values and the answers."""
    model = Volumes().eval()
    images, before = torch.rand(2, 3, 12, 12), {name: value.clone() for name, value in model.state_dict().items()}
    parameters, answers = list(model.parameters()), model(images)
    assert channels_last(model) is model
    assert all(now is was for now, was in zip(model.parameters(), parameters, strict=True))
    assert all(torch.equal(now, before[name]) for name, now in model.state_dict().items())
    assert model.flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.deep.weight.is_contiguous()
    torch.testing.assert_close(model(images), answers)


def test_networks_with_weights_of_five_dimensions_are_folded():
    """As evaluation, attacks and maps need them."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), Volumes()).eval()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(folded(model, size=16)(images), model(images))
