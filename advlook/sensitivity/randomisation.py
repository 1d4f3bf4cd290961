"""Networks of which some stages have fresh parameters (Adebayo et al. 2018)."""

from collections.abc import Iterable, Mapping
from itertools import chain, pairwise

import torch
from torch import nn
from torchvision.models.resnet import ResNet

from advlook.core.copies import copied, set_weights
from advlook.core.errors import RequestError
from advlook.models.architectures import AlexNetBN, Normalized, initialise

FRESH_SEED = 1000  # of the first draw of fresh parameters; no model of a study starts from it
FEWEST, MOST = 5, 8  # stages of a network that is neither a ResNet nor our AlexNet
Stages = dict[str, tuple[str, ...]]  # by name, from input to output: the names of modules, and of parameters of none


def stages(model: nn.Module) -> Stages:
    """The parts of a network from input to output, with the names of their modules: of torchvision's ResNet its stem
    and groups of blocks, of our AlexNet its layers. Of any other its modules in the order in which they are defined:
    its children, with a child that has more than half of all parameters replaced by its own, joined to at most MOST.
    Raises RequestError for a network without parameters."""
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
        parts = _of_any(network)
    return {stage: tuple(prefix + name for name in names) for stage, names in parts.items()}


def _of_any(network: nn.Module) -> Stages:
    modules = dict(network.named_modules())
    size = {name: sum(each.numel() for each in module.parameters()) for name, module in modules.items()}
    vectors = {name for name, module in modules.items() if all(each.ndim < 2 for each in module.parameters())}
    parts, leaves = _children(modules, ""), set()
    if not parts:
        raise RequestError(f"a {type(network).__name__} has no layers with parameters, so it has no stages")
    while open_ended := [name for name in parts if name not in leaves]:
        largest = max(open_ended, key=size.get)
        if 2 * size[largest] <= size[""] and sum(name not in vectors for name in parts) >= FEWEST:
            break
        below = _children(modules, f"{largest}.")
        leaves.add(largest)
        place = parts.index(largest)
        parts[place : place + 1] = below or [largest]
    groups: list[list[str]] = []
    for name in parts:  # a layer whose parameters are all vectors, a normalisation, goes with the one before
        if groups and name in vectors:
            groups[-1].append(name)
        else:
            groups.append([name])
    titles = [group[0] for group in groups]
    if len(groups) > MOST:  # the first and the last keep a stage of their own
        cuts = [1 + (len(groups) - 2) * k // (MOST - 2) for k in range(MOST - 1)]
        spans = list(pairwise([0, *cuts, len(groups)]))
        titles = [titles[a] if b - a == 1 else f"{titles[a]}..{titles[b - 1]}" for a, b in spans]
        groups = [list(chain.from_iterable(groups[a:b])) for a, b in spans]
    held = tuple(f"{name}." for name in chain.from_iterable(groups))
    groups[0] += [name for name in network.state_dict() if not name.startswith(held)]
    return {title: tuple(group) for title, group in zip(titles, groups, strict=True)}


def _children(modules: Mapping[str, nn.Module], prefix: str) -> list[str]:
    """The names below a prefix of the modules that have parameters, in the order in which they are defined."""
    return [
        name
        for name, module in modules.items()
        if name.startswith(prefix)
        and name
        and "." not in name[len(prefix) :]
        and any(True for _ in module.parameters())
    ]


def randomised(model: nn.Module, chosen: Iterable[str], seed: int = FRESH_SEED) -> nn.Module:
    """A copy whose `chosen` stages (else RequestError) have fresh parameters and statistics of batch normalisation.

    Initial values of a ResNet or AlexNet are distributed as in `advlook.models`; layers of any other network draw their
    own, and parameters that no layer draws, such as embeddings of positions, are shuffled. They are drawn for the whole
    network in running order: a stage gets the same ones whichever others are chosen."""
    known, chosen = stages(model), list(chosen)
    for stage in chosen:
        if stage not in known:
            raise RequestError(f"stage {stage!r} does not exist; the network has {', '.join(known)}")
    fresh, changed = copied(model).cpu(), copied(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's, so that every device gets the same
        network = fresh.network if isinstance(fresh, Normalized) else fresh
        ours = isinstance(network, ResNet | AlexNetBN)
        for module in network.modules():  # as the constructors of `advlook.models` and torchvision's ResNet draw them
            drawn = _drew(module)
            if isinstance(network, AlexNetBN):
                initialise(module)
            elif isinstance(network, ResNet) and isinstance(module, nn.Conv2d):
                initialise(module, "fan_out")
            elif not ours and not drawn:
                _shuffle(module)
    values = fresh.state_dict()
    names = tuple(name for stage in chosen for name in known[stage])
    own = changed.state_dict()
    found = {key: values[key] for key in own if key in names or key.startswith(tuple(f"{name}." for name in names))}
    set_weights(changed, own | found)
    return changed


def _drew(module: nn.Module) -> bool:
    """Whether a layer has drawn initial parameters of its own."""
    for name in ("reset_parameters", "_reset_parameters"):
        if (draw := getattr(module, name, None)) is not None:
            try:
                draw()
            except TypeError:  # it asks for arguments that only its network knows
                return False
            return True
    return False


@torch.no_grad()
def _shuffle(module: nn.Module) -> None:
    """Shuffle the parameters that are a module's own, not a child's."""
    for parameter in module.parameters(recurse=False):
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))
