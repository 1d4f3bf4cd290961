"""What is learned about a model by running it once, on a blank image."""

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from advlook.core.errors import UNSUITED, NotDefinedError, RequestError

SIZES = (64, 224, 32, 256, 384, 299)  # pixels a side that a model is tried at
T = TypeVar("T")


class Reached(Exception):
    """Ends a forward pass at a layer, and carries the values there."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = values


def blank_image(model: nn.Module, size: int) -> Tensor:
    """A black image `(1, 3, size, size)`, of the type and on the device of the model."""
    state = (value for value in chain(model.parameters(), model.buffers()) if value.is_floating_point())
    return next(state, torch.zeros(0)).new_zeros(1, 3, size, size)


def run_blank(model: nn.Module, size: int) -> Any:
    """The model's output for a black image; RequestError where it cannot take one of that size."""
    with torch.no_grad():
        return run(model, blank_image(model, size))


def run(model: nn.Module, image: Tensor) -> Any:
    """The model's output; RequestError where it cannot take an image `(1, 3, size, size)` of that size."""
    try:
        return model(image)
    except RequestError:
        raise
    except UNSUITED as error:
        reason = str(error).partition("\n")[0]
        raise RequestError(f"size={image.shape[-1]} does not suit this network ({reason}); give another") from None


def at_suited_size(model: nn.Module, size: int | None, asked: str, run: Callable[[int], T]) -> T:
    """`run(size)`, or without a size at the first of SIZES that does not fail; RequestError where all do."""
    for side in (size,) if size else SIZES:
        try:
            return run(side)
        except Exception as error:  # each network says in its own way that an image is too small
            reason = str(error).partition("\n")[0]
    sides = ", ".join(map(str, (size,) if size else SIZES))
    raise RequestError(f"{asked} cannot run {type(model).__name__} on an image of {sides} px ({reason}); give its size")


def check_visible(model: nn.Module, asked: str) -> None:
    """Raise RequestError where a model is none, but a function, and NotDefinedError where it hides its layers, which
    `asked` has to see: TorchScript."""
    if not isinstance(model, nn.Module):
        raise RequestError(f"{asked} needs an nn.Module, whose layers it sees, not a {type(model).__name__}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        works = "attacks and all other maps work on TorchScript"
        message = f"{asked} needs layers, which TorchScript hides; give the nn.Module itself ({works})"
        raise NotDefinedError(message, "TorchScript hides its layers")
