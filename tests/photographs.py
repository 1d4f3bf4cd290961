"""Photographs of three classes in colours of their own, and a judge that goes by colour."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDE, SIZE, PER_CLASS = 80, 24, 14  # two tiles of 40 px a side
COUNTS = {"tuning": 5, "claim": 18}


class ColourJudge(nn.Module):
    """Names the class by the strongest colour, whatever stands where; of what is nearly grey it names none rightly."""

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        return torch.where(means.amax(1, keepdim=True) - means.amin(1, keepdim=True) > 0.1, means, -means)


def fade(images: Tensor, styles: Tensor) -> Tensor:
    """In place of a style-transfer network: the first half of a batch turns grey, the others stay."""
    half = len(images) // 2
    return torch.cat([images[:half].mean(1, keepdim=True).expand(-1, 3, -1, -1), images[half:]])


def write_photographs(root: Path) -> None:
    """Noise of 80 px in the class's colour; the last of each class is pale: no texture tells its class."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cat")):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        for index in range(PER_CLASS):
            pixels = rng.integers(0, 120, (SIDE, SIDE, 3))
            pixels[..., label] += 20 if index == PER_CLASS - 1 else 130
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02}.png")
