"""The last layer of any network, found by running it, and the features that it sees, which ensembles join."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from advlook.core import Classifier, evaluating
from advlook.core.copies import copied, set_weights
from advlook.core.errors import NotDefinedError
from advlook.core.gradients import graph, weighs
from advlook.core.probing import Reached, at_suited_size, blank_image, check_visible


class _Stop(nn.Module):
    """Stands in the place of the last layer, and ends the forward pass with what this would see."""

    def forward(self, values: Tensor) -> Tensor:
        raise Reached(values)


class Features(nn.Module):
    """A network whose last layer is a `_Stop`: images `(N, 3, H, W)` to features `(N, width)`. Of a last layer that
    sees pixels or tokens they are the mean over these. axis: of the channels in what it sees."""

    def __init__(self, network: nn.Module, axis: int) -> None:
        super().__init__()
        self.network, self.axis = network, axis

    def forward(self, images: Tensor) -> Tensor:
        """What the last layer sees."""
        try:
            self.network(images)
        except Reached as reached:
            values = reached.values.movedim(self.axis, 1)
            return values.flatten(2).mean(2) if values.dim() > 2 else values
        raise RuntimeError("the last layer did not run")


def without_last_layer(model: nn.Module, size: int | None = None) -> tuple[Features, nn.Linear]:
    """A copy of a model up to its last layer, and that layer: the linear layer, or convolution of one pixel, that runs
    last on an image of `size` pixels a side (by default the first of `probing.SIZES` that suits). Raises RequestError
    where the model cannot be run, and NotDefinedError where it has no such layer, where that runs several times, or
    where other weights lie between it and the logits."""
    check_visible(model, "the last layer")
    ran, logits = at_suited_size(model, size, "the last layer", lambda side: _ran(model, side))
    name = _last(type(model).__name__, ran, logits)
    network = copied(model)
    layer = network.get_submodule(name)
    for place, module in list(network.named_modules(remove_duplicate=False)):
        if module is layer:
            parent, _, child = place.rpartition(".")
            setattr(network.get_submodule(parent), child, _Stop())
    if isinstance(layer, nn.Linear):
        return Features(network, -1), layer
    linear = nn.utils.skip_init(nn.Linear, layer.in_channels, layer.out_channels, layer.bias is not None)
    set_weights(linear, {key: value.view(linear.state_dict()[key].shape) for key, value in layer.state_dict().items()})
    return Features(network, 1), linear.to(layer.weight)


def _ran(model: nn.Module, size: int) -> tuple[list[tuple[str, Any]], Tensor]:
    """The layers that may be the last, in the order in which they run, each with the node of its output; the logits."""
    ran: list[tuple[str, Any]] = []
    with ExitStack() as stack, torch.enable_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)):
                note = partial(lambda name, _module, _given, output: ran.append((name, output.grad_fn)), name)
                stack.enter_context(module.register_forward_hook(note))
        fast = stack.enter_context(evaluating(Classifier(model)))
        return ran, fast(blank_image(model, size).requires_grad_())


def _last(title: str, ran: list[tuple[str, Any]], logits: Tensor) -> str:
    """Name of the last layer; NotDefinedError where it is none."""
    names = [name for name, _ in ran]
    if not ran:
        why = "no linear layer runs"
    elif names.count(names[-1]) > 1:
        why = f"{names[-1]!r} runs {names.count(names[-1])} times"
    elif ran[-1][1] not in graph(logits.grad_fn, last=weighs):
        why = f"other weights lie behind {names[-1]!r}"
    else:
        return names[-1]
    raise NotDefinedError(f"the last layer of {title} is not defined: {why}", why)
