"""What is learned about a model by running it once, on a blank image."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from advlook.core.errors import UNSUITED, RequestError


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


def check_visible(model: nn.Module, asked: str) -> None:
    """Raise RequestError where a model shows no layers, which `asked` has to see: a function, or TorchScript."""
    if not isinstance(model, nn.Module):
        raise RequestError(f"{asked} needs an nn.Module, whose layers it sees, not a {type(model).__name__}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        works = "attacks and all other maps work on TorchScript"
        raise RequestError(f"{asked} needs layers, which TorchScript hides; give the nn.Module itself ({works})")
