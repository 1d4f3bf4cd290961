"""Weights of a small network in the layouts of other libraries."""

from collections import OrderedDict

import torch
from helpers import random_images

from advlook.models.architectures import build_model

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGES = random_images(3, 32)


def known(arch="resnet10", stem="imagenet", classes=3, seed=1, mean=MEAN, std=STD):
    """A model with running statistics of its own, so that forgetting them would show in the logits."""
    model = build_model(arch, classes, stem=stem, width=8, mean=mean, std=std, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_buffers():
        if "running" in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


def network(model, prefix="", **renamed):
    """The state dict of the bare network, under a prefix and with parts of its names replaced."""
    state = {}
    for name, value in model.network.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(f"{old}.", f"{new}.")
        state[prefix + name] = value
    return state


def normalisation(prefix, mean, std, shape=(1, 3, 1, 1)):
    """Buffers of a normalisation, named `prefix` + `mean` and `prefix` + `std`."""
    return {prefix + mean: torch.tensor(MEAN).view(shape), prefix + std: torch.tensor(STD).view(shape)}


def robustness(model):
    """What the `robustness` library saves: the network twice, its normalisation twice, and the state of training."""
    state = {
        **normalisation("module.normalizer.", "new_mean", "new_std", (3, 1, 1)),
        **network(model, "module.model."),
        **normalisation("module.attacker.normalize.", "new_mean", "new_std", (3, 1, 1)),
        **network(model, "module.attacker.model."),
    }
    return {"model": OrderedDict(state), "optimizer": {"state": {}, "param_groups": []}, "epoch": 7}


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (exec, (f"open({str(self.target)!r}, 'w')",))
