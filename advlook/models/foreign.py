"""Networks that a builder makes, filled from a file, with as many classes as the file has."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from advlook.core import RequestError
from advlook.models.builders import ROLES, Builder, classes_in
from advlook.models.checkpoints import fill_model
from advlook.models.weight_sets import weights_in

_AUXILIARY = re.compile(r"^(aux\d|AuxLogits)\.")  # GoogLeNet's and Inception's, which answer in training alone


def filled(
    make: Builder, content: object, path: Path, size: int | None, weights: str | None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network of a builder, of as many classes as the weights in a file's `content` are of, filled with them; and
    the tensors that lie beside the network. size: pixels a side, for networks that are built for one. weights: as of
    `load_model`. Raises RequestError for weights of another network, image size, or several sets of them."""
    network = make(size=size)
    layers = [name.removesuffix(".weight") for name in network.state_dict() if name.endswith(".weight")]
    if not layers:
        raise RequestError(f"arch {make.name!r} gives a {type(network).__name__} without weights; name another")
    state, beside = weights_in(content, layers[0], layers[-1:], path, weights)
    own = network.state_dict()
    state = {name: value for name, value in state.items() if name in own or not _AUXILIARY.match(name)}
    try:
        classes = classes_in(network, state)
    except RequestError as error:
        raise RequestError(f"checkpoint {path} is of no {make.name}: {error}") from None
    if classes is not None:
        network = make(classes, size)
    roles = {name: value for name, value in state.items() if name not in own and _role(name)}
    network_state = {name: value for name, value in state.items() if name not in roles}
    return fill_model(network, network_state, path), beside | roles


def _role(name: str) -> str | None:
    """Whether a tensor that is none of the network's is a "mean" or a "std", by the end of its name."""
    return ROLES.get(name.rpartition(".")[2])


def stored_normalisation(beside: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """ "mean" and "std" of three values each among tensors that lie beside a network, as far as they are there."""
    found = {_role(name): value.flatten().tolist() for name, value in beside.items() if value.numel() == 3}
    return {role: values for role, values in found.items() if role}
