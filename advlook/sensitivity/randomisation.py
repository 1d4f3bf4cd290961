"""Networks of which some stages have fresh parameters (Adebayo et al. 2018)."""

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torchvision.models.resnet import ResNet

from advlook.core.errors import RequestError
from advlook.models.architectures import AlexNetBN, Normalized, initialise

FRESH_SEED = 1000  # of the first draw of fresh parameters; no model of a study starts from it


def stages(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The parts of a ResNet or AlexNet (else RequestError) from input to output, with the names of their modules."""
    network, prefix = (model.network, "network.") if isinstance(model, Normalized) else (model, "")
    if isinstance(network, ResNet):
        parts = {"stem": ("conv1", "bn1")} | {name: (name,) for name in ("layer1", "layer2", "layer3", "layer4", "fc")}
    elif isinstance(network, AlexNetBN):
        convolutions, norms, linear = (
            [name for name, module in network.named_modules() if isinstance(module, kind)]
            for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
        )
        parts = {f"conv{k}": names for k, names in enumerate(zip(convolutions, norms, strict=True), 1)}
        parts |= {f"fc{k}": (name,) for k, name in enumerate(linear, 1)}
    else:
        kind = type(network).__name__
        raise RequestError(f"the stages of a {kind} are not known; give a ResNet or AlexNetBN of advlook.models")
    return {stage: tuple(prefix + name for name in names) for stage, names in parts.items()}


def randomised(model: nn.Module, chosen: Iterable[str], seed: int = FRESH_SEED) -> nn.Module:
    """A copy whose `chosen` stages (else RequestError) have fresh parameters and statistics of batch normalisation.

    Initial values are distributed as in `advlook.models`, and drawn for the whole network in running order: a stage
    gets the same ones whichever others are chosen."""
    known, chosen = stages(model), list(chosen)
    for stage in chosen:
        if stage not in known:
            raise RequestError(f"stage {stage!r} does not exist; the network has {', '.join(known)}")
    fresh, changed = copy.deepcopy(model).cpu(), copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's, so that every device gets the same
        network = fresh.network if isinstance(fresh, Normalized) else fresh
        for module in network.modules():  # as the constructors of `advlook.models` and torchvision's ResNet draw them
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if not isinstance(network, ResNet):
                initialise(module)
            elif isinstance(module, nn.Conv2d):
                initialise(module, "fan_out")
    for stage in chosen:
        for name in known[stage]:
            changed.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
    return changed
