"""Checkpoints of networks that a builder makes: which tensors are whose, how many classes, which normalisation."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from advlook.core import RequestError
from advlook.models.builders import Builder, classes_in

WRAPPERS = ("module", "model", "network", "net", "attacker", "_orig_mod")  # what others prefix names with
_AUXILIARY = re.compile(r"^(aux\d|AuxLogits)\.")  # GoogLeNet's and Inception's, which answer in training alone
_COUNTERS = "num_batches_tracked"


def fitted(make: Builder, raw: Mapping[str, Tensor], size: int | None) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network of a builder with as many classes as the tensors have, and its tensors under its own names. Raises
    RequestError that names the first tensor that is missing, unknown or of another shape."""
    network = make(size=size)
    own = network.state_dict()
    state = _renamed(raw, own)
    state = {name: value for name, value in state.items() if name in own or not _AUXILIARY.match(name)}
    classes = classes_in(network, state)
    if classes is not None:
        network = make(classes, size)
        own = network.state_dict()
    state = {name: value for name, value in own.items() if name.endswith(_COUNTERS)} | state
    for name in sorted(own.keys() ^ state.keys()):
        kind = "lacks" if name in own else "has an unknown tensor"
        raise RequestError(f"it {kind} {name!r}: it is no {make.name}")
    for name in sorted(own):
        if own[name].shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, but the network has {tuple(own[name].shape)}"
            raise RequestError(f"{name!r} has shape {shapes}: another number of classes or pixels?")
    network.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})
    return network.eval(), state


def _renamed(raw: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes that wrappers gave their names, as far as the network's own names go."""
    state = dict(raw)
    for _ in range(len(WRAPPERS)):
        missing = [name for name in own if name not in state and not name.endswith(_COUNTERS)]
        heads = {name.partition(".")[0] for name in state if "." in name}
        prefix = next((head for head in WRAPPERS if head in heads), None)
        if not missing or prefix is None:
            break
        state = {name.removeprefix(f"{prefix}."): value for name, value in state.items()}
    return state


def normalises_itself(network: nn.Module) -> bool:
    """Whether a network has buffers or parameters of three values, named as a normalisation is."""
    named = [*network.named_buffers(), *network.named_parameters()]
    roles = {name.rpartition(".")[2] for name, value in named if value.numel() == 3}
    return any({mean, std} <= roles for mean, std in (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std")))


def chosen_normalisation(
    make: Builder, network: nn.Module, given: tuple[Sequence[float], Sequence[float]] | None, stored: dict
) -> tuple[tuple[Sequence[float], Sequence[float]] | None, str]:
    """Mean and standard deviation to put before the network, None where it has its own, and where they come from."""
    if given is not None:
        return given, "given"
    if stored:
        return (stored["mean"], stored["std"]), "file"
    if normalises_itself(network):
        return None, "network"
    if make.mean is not None:
        return (make.mean, make.std), "builder"
    return None, "assumed"
