"""The five architectures, with normalisation inside: images in [0, 1] go in, logits come out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from advlook.core import ARCHITECTURES, STEMS, Preset, check_choice
from advlook.core.copies import channels_last, copied
from advlook.models.builders import IMAGENET_MEAN, IMAGENET_STD, builder, normalises_itself
from advlook.models.last_layer import without_last_layer

Block = type[BasicBlock | Bottleneck]
_RESNETS: dict[str, tuple[Block, list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


def initialise(layer: nn.Module, mode: str = "fan_in") -> None:
    """Draw the weights of a convolution or linear layer (He et al. 2015) and set its biases to 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Normalized(nn.Module):
    """A network behind its channel-wise normalisation: images `(N, 3, H, W)` in [0, 1] to logits `(N, classes)`."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)` in [0, 1]."""
        return self.network((images - self.mean) / self.std)


class ScaledResNet(ResNet):
    """torchvision's ResNet, with its parameter names, a chosen first width and, for small images, another stem. The
    "imagenet" stem (7x7 of stride 2, pooling) divides resolution by 4; "small" (3x3 of stride 1, pooling) by 2, and
    learns faster than a 3x3 of stride 2 at the same cost; "tiny" (3x3) keeps it."""

    def __init__(self, block: Block, layers: list[int], classes: int, stem: str, width: int) -> None:
        self._width, self._first_stage = width, True
        super().__init__(block, layers, classes)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
            if stem == "tiny":
                self.maxpool = nn.Identity()
        initialise(self.conv1, "fan_out")
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width * 8 * block.expansion, classes)

    def _make_layer(self, block: Block, planes: int, *rest: Any, **options: Any) -> nn.Sequential:
        if self._first_stage:
            self.inplanes, self._first_stage = self._width, False
        return super()._make_layer(block, planes * self._width // 64, *rest, **options)


class AlexNetBN(nn.Module):
    """AlexNet (Krizhevsky 2014, torchvision's channel counts) with batch normalisation after every convolution. The
    "imagenet" stem is the published 11x11 stride-4 one for 224 px; "small" (5x5, stride 2) and "tiny" (5x5, stride 1)
    suit 64 and 32 px, with a last map of 2x2, hidden layers of 16 widths, and a tenth of their inputs dropped."""

    def __init__(self, classes: int, stem: str, width: int) -> None:
        super().__init__()
        kernel, stride, side, hidden, drop = {
            "imagenet": (11, 4, 6, 64 * width, 0.5),
            "small": (5, 2, 2, 16 * width, 0.1),
            "tiny": (5, 1, 2, 16 * width, 0.1),
        }[stem]
        c1, c2, c3, c4 = width, 3 * width, 6 * width, 4 * width

        def block(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            padding = 2 if kernel == 11 else kernel // 2
            convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
            return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]

        def dense(features: int) -> list[nn.Module]:
            return [nn.Dropout(drop), nn.Linear(features, hidden), nn.ReLU(inplace=True)]

        pool = [nn.MaxPool2d(3, 2, padding=0 if stem == "imagenet" else 1)]
        first = [*block(3, c1, kernel, stride), *pool, *block(c1, c2, 5), *pool]
        self.features = nn.Sequential(*first, *block(c2, c3, 3), *block(c3, c4, 3), *block(c4, c4, 3), *pool)
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(*dense(c4 * side * side), *dense(hidden), nn.Linear(hidden, classes))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of normalised images `(N, 3, H, W)`."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def is_ours(model: nn.Module) -> bool:
    """Whether a model is one of this module's."""
    return isinstance(model, Normalized) and isinstance(model.network, ScaledResNet | AlexNetBN)


def split_last_layer(model: nn.Module, size: int | None = None) -> tuple[nn.Module, nn.Linear]:
    """A copy of a model that returns what its last layer sees, features `(N, width)`; and that layer. Known of the
    models of this module, and of torchvision's ResNet in `Normalized`; of any other found as by `without_last_layer`,
    with its errors, on an image of `size` pixels a side."""
    backbone = copied(model)
    network = backbone.network if isinstance(backbone, Normalized) else None
    last = network.classifier[-1] if isinstance(network, AlexNetBN) else getattr(network, "fc", None)
    if not isinstance(network, ResNet | AlexNetBN) or not isinstance(last, nn.Linear):
        return without_last_layer(model, size)
    if isinstance(network, AlexNetBN):
        network.classifier[-1] = nn.Identity()
    else:
        network.fc = nn.Identity()
    return backbone, last


def build_model(
    arch: str,
    classes: int,
    *,
    stem: str = "imagenet",
    width: int = 64,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    seed: int | None = None,
) -> Normalized:
    """Build an untrained model by name; RequestError for a name that is not one of the five, or an unknown stem. By
    default it is the published network; `stem` and `width` (channels of the first layer) fit it to small images. With
    `seed` the initial weights are those of that seed, and the global random state is left as it was."""
    check_choice("arch", arch, ARCHITECTURES)
    check_choice("stem", stem, STEMS)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # the CPU's alone: weights are drawn there
        if arch == "alexnet_bn":
            network: nn.Module = AlexNetBN(classes, stem, width)
        else:
            block, layers = _RESNETS[arch]
            network = ScaledResNet(block, layers, classes, stem, width)
    return channels_last(Normalized(network, mean, std))


def preset_model(preset: Preset, arch: str, seed: int) -> nn.Module:
    """The untrained model that a preset describes, with the initial weights of a seed: its builder, or stem and width;
    its classes; and its normalisation, where the network of a builder has none of its own."""
    data, model = preset.data, preset.models[arch]
    if not model.builder:
        how = {"stem": model.stem, "width": model.width, "seed": seed}
        return build_model(arch, data.classes, mean=data.mean, std=data.std, **how)
    network = builder(model.builder).drawn(seed, data.classes, data.size)
    return network if normalises_itself(network) else Normalized(network, data.mean, data.std)
