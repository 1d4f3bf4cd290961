"""Training of a few steps on a few images, and what of two checkpoints must be the same."""

import torch
from helpers import image_set
from safetensors.torch import load_file

from advlook.models.checkpoints import read_metadata
from advlook.models.training import train

IMAGES, TEST = image_set(34), image_set(12, seed=1)
CPU = torch.device("cpu")


def run(preset, target, arch="resnet10", setting="std", images=IMAGES):
    return train(preset, arch, setting, 0, images, TEST, target, progress=False)


def same_weights(one, other):
    """Whether two checkpoints hold the same bits."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_times(path):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in read_metadata(path)["history"]]
