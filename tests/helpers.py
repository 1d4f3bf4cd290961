"""Tiny models, image sets and presets for the tests."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from advlook.core.preset_files import load_preset
from advlook.core.presets import ArchConfig, Preset
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import Normalized, build_model


class Linear(nn.Module):
    """Logits linear in the pixels, so that the best perturbation is known in closed form."""

    def __init__(self, classes: int = 2, side: int = 4, margin: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * side * side, classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=generator))
            self.layer.bias.zero_()
            self.layer.bias[0] = margin

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


class Recorder(nn.Module):
    """Passes images on to a model and remembers how many there were in each call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return self.model(images)


class FailingHead(nn.Module):
    """Fails in its `calls`-th call, behind all the layers that have statistics."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, logits: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls <= 0:
            raise ArithmeticError("made to fail")
        return logits


def convolutional(classes: int = 3, width: int = 6, seed: int = 0) -> nn.Sequential:
    """A small nonlinear network with batch normalisation, for images of any size."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )
    # Centred, so that no class is far ahead and small perturbations decide.
    with torch.no_grad():
        model[-1].bias -= model.eval()(random_images(64, 8, seed=9)).mean(0)
    return model.train()


class Function(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def between(*functions: Callable[[Tensor], Tensor]) -> nn.Sequential:
    """Functions, one after the other, between two linear layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = [each if isinstance(each, nn.Module) else Function(each) for each in functions]
        return nn.Sequential(Linear(classes=4), *middle, nn.Linear(4, 3))


def used_model(mode: str) -> nn.Sequential:
    """`convolutional` with gradients, statistics and frozen weights of its own, in mode "train", "eval" or "mixed"."""
    model = convolutional()
    model(random_images(6, 8)).sum().backward()  # fills .grad and the statistics
    model[0].weight.grad = None
    model[3].weight.requires_grad_(False)
    model.train(mode != "eval")
    if mode == "mixed":
        model[1].eval()
    return model


def random_images(count: int = 8, side: int = 4, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    """Uniform noise in [low, high]."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def smooth(count: int = 4, side: int = 24, seed: int = 0) -> Tensor:
    """Images of soft blobs: forms without texture."""
    return F.interpolate(random_images(count, 4, seed=seed), (side, side), mode="bicubic").clamp(0, 1)


def image_set(count: int = 32, side: int = 16, classes: int = 3, seed: int = 0) -> ImageSet:
    """Noise whose brightness tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 100, (count, 3, side, side), generator=generator)
    images = noise + (labels * 150 // max(1, classes - 1)).view(-1, 1, 1, 1)
    return ImageSet(images.to(torch.uint8), labels, tuple(f"class {k}" for k in range(classes)))


def write_folder(
    root: Path, classes: Sequence[str] = ("ant", "bee", "cat"), count: int = 2, *, side: int = 20, suffix: str = "png"
) -> Path:
    """A folder of class folders with files of noise."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.{suffix}")
    return root


def small_preset(**changes: dict[str, object]) -> Preset:
    """The Imagenette preset at 16 px with networks of width 8; `changes` names sections and what differs in them."""
    preset = load_preset("imagenette")
    base = {
        "data": {
            "size": 16,
            "store": 16,
            "test_store": 16,
            "classes": 3,
            "train_images": 0,
            "crop_scale": 1.0,
            "shift": 1,
        },
        "training": {
            "batch_size": 8,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "average": 0.9,
            "schedule": "onecycle",
            "warmup": 0.2,
            "precision": "float32",
            "check_every": 3,
            "check_images": 8,
            "sizes": (16,),
        },
        "adversary": {
            "eps": 4 / 255,
            "step_size": 4 / 255,
            "method": "fgsm",
            "random_start": False,
            "ramp_share": 0.0,
            "updates_batchnorm": False,
        },
        "evaluation": {"top_k": 5},
        "corruptions": {},
        "stylization": {},
    }
    sections = {
        name: dataclasses.replace(getattr(preset, name), **values | changes.get(name, {}))
        for name, values in base.items()
    }
    model = ArchConfig(
        **{"stem": "tiny", "width": 8, "learning_rate": 0.05, "epochs_std": 3, "epochs_adv": 3}
        | changes.get("model", {})
    )
    archs = ("alexnet_bn", "resnet10")
    models = dict.fromkeys(archs, model)
    return dataclasses.replace(preset, name="small", controls={}, archs=archs, seeds=(0, 1), models=models, **sections)


def snapshot(model: nn.Module) -> list[object]:
    """Everything about a model that an attack must leave alone, comparable with ==."""

    def plain(tensor: Tensor | None) -> object:
        return None if tensor is None else tensor.detach().tolist()

    return [
        *((name, plain(value)) for name, value in model.state_dict().items()),
        *((name, p.requires_grad, plain(p.grad)) for name, p in model.named_parameters()),
        *((name, m.training, getattr(m, "track_running_stats", None)) for name, m in model.named_modules()),
    ]


def used_network(arch: str, seed: int = 3) -> Normalized:
    """A model whose parameters and statistics are no longer the initial ones."""
    model = build_model(arch, 5, stem="tiny", width=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.network.state_dict().items():
            if value.is_floating_point():
                moved = 0.1 * torch.rand(value.shape, generator=generator)
                value.add_(moved if "running_var" in name else moved - 0.05)
            else:
                value.add_(7)
    return model.eval()
