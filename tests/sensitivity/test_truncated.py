"""Where the units of a layer are: on whichever axis the channels lie, found by running the model."""

import pytest
import torch
from helpers import convolutional, random_images
from torch import nn
from torchvision.models import ConvNeXt, MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig

from advlook.core.errors import RequestError
from advlook.sensitivity.truncated import Truncated
from advlook.sensitivity.units import maximise


def drawn(build):
    """The model, in eval mode, with one draw of weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def swin():
    return SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=3)


def convnext():
    return ConvNeXt([CNBlockConfig(12, 16, 1), CNBlockConfig(16, None, 1)], num_classes=3, layer_scale=1.0)


def vit():
    return VisionTransformer(32, 8, 1, 2, 20, 28, num_classes=3)


def maxvit(width=12):
    return MaxVit((32, 32), width, 2, [width], [1], 4, 0.0, num_classes=3)


def tokens_first():
    return nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.Flatten(2), nn.ReLU(), nn.AdaptiveAvgPool1d(7), nn.Flatten())


LAYERS = [
    (swin, "features.0", 3, 12),  # a Sequential that permutes
    (swin, "features.0.2", 3, 12),  # LayerNorm
    (swin, "features.1", 3, 12),
    (swin, "features.1.0.mlp.0", 3, 48),  # Linear
    (swin, "features.1.0.mlp.1", 3, 48),  # GELU
    (swin, "features.2", 3, 24),  # half as wide as long, which is no reason
    (swin, "permute", 1, 24),
    (swin, "avgpool", 1, 24),
    (swin, "head", 1, 3),
    (convnext, "features.0", 1, 12),
    (convnext, "features.0.1", 1, 12),  # LayerNorm2d, a LayerNorm
    (convnext, "features.1.0", 1, 12),  # its block permutes twice
    (convnext, "features.1.0.block.3", 3, 48),  # Linear
    (convnext, "avgpool", 1, 16),
    (vit, "conv_proj", 1, 20),
    (vit, "encoder.dropout", 2, 20),
    (vit, "encoder.layers.encoder_layer_0", 2, 20),
    (vit, "encoder.layers.encoder_layer_0.mlp.1", 2, 28),
    (maxvit, "blocks.0", 1, 12),  # made for one size alone
    (maxvit, "blocks.0.layers.0.layers.window_attention.mlp_layer.1", 3, 48),
    (tokens_first, "1", 1, 5),
    (tokens_first, "2", 1, 5),
]


@pytest.mark.parametrize(
    ("build", "layer", "axis", "count"), LAYERS, ids=lambda value: getattr(value, "__name__", value)
)
def test_channels_are_found(build, layer, axis, count):
    """The axis of the channels, and how many there are, of (N, C, H, W), (N, H, W, C), (N, L, C), (N, C, L), (N, C)."""
    model = drawn(build)
    target = Truncated(model, layer)
    assert (target.channels(32), target.axis) == (count, axis)
    assert target(random_images(2, 32)).shape[:2] == (2, count)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("build", "layer", "axis"),
    [(swin, "features.1", -1), (vit, "encoder.layers.encoder_layer_0", -1), (convnext, "features.1.0.block.3", -1)],
)
def test_units_are_channels_not_rows(build, layer, axis):
    """What is excited is the mean of a channel over the image: not that of a row, where channels come last."""
    model, seen = drawn(build), []
    generator = torch.Generator().manual_seed(0)
    found = maximise(model, layer, [2, 9], size=32, steps=5, generator=generator)
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(found.images)
    fresh = torch.stack([seen[0][place].select(axis, unit).mean() for place, unit in enumerate((2, 9))])
    torch.testing.assert_close(found.activations, fresh)
    assert (found.activations > found.start_activations).all()
    assert seen[0].shape[1] != seen[0].shape[-1]


def test_rows_for_channels_are_out_of_range():
    """A unit is one of the channels, which are named where there is no such one."""
    with pytest.raises(RequestError, match=r"unit 12 .* 'features.1' has units 0 to 11"):
        maximise(drawn(swin), "features.1", [12], size=64)


class Windows(nn.Module):
    """Cuts images into four windows, as attention does in Swin, each a row of the batch for its layer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, images):
        windows = (
            images.unflatten(3, (2, -1)).unflatten(2, (2, -1)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)
        )
        return self.linear(windows).unflatten(0, (len(images), 4)).mean((1, 2))


def test_layer_that_sees_windows_is_refused():
    """Rows that are windows, not images, are not taken for images."""
    with pytest.raises(RequestError, match=r"'linear' gives 4 windows of shape \(16, 5\) for one image"):
        maximise(Windows(), "linear", [0], size=8)


def test_channels_that_cannot_be_told_are_refused():
    """Where no size nor layer tells which axis is that of channels, none is guessed."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d((6, 7)), nn.Flatten(2), nn.Flatten())
    with pytest.raises(RequestError, match=r"'1' gives shape \(1, 3, 42\), in which the axis of channels"):
        maximise(model, "1", [0], size=8)
    with pytest.raises(RequestError, match=r"'blocks.0' gives shape \(1, 8, 8, 8\)"):
        maximise(drawn(lambda: maxvit(8)), "blocks.0", [0], size=32)


def test_torchscript_is_refused():
    """TorchScript shows no layers: one line says so, and what works."""
    script = torch.jit.trace(convolutional().eval(), random_images(6, 8))
    for hidden in (script, torch.jit.freeze(script), nn.Sequential(script)):
        with pytest.raises(RequestError, match="maximise needs layers, which TorchScript hides"):
            maximise(hidden, "3", [0], size=8)


class Unused(nn.Module):
    """One of its layers never runs."""

    def __init__(self):
        super().__init__()
        self.never, self.first = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 5)

    def forward(self, images):
        return self.first(images)


def test_layer_without_units_is_refused():
    """A layer that gives no maps, never runs, or cannot be reached by an image of that size is named."""
    with pytest.raises(RequestError, match=r"'1' gives shape \(1, 3, 8, 8, 1\)"):
        maximise(nn.Sequential(nn.Identity(), nn.Unflatten(3, (8, 1))), "1", [0], size=8)
    with pytest.raises(RequestError, match="'never' does not run"):
        maximise(Unused(), "never", [0], size=8)
    with pytest.raises(RequestError, match="size=4 does not suit this network"):
        maximise(Unused(), "first", [0], size=4)
