"""Convolutions in the order in which they run, and the filters of the first layer."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from advlook.core import evaluating
from advlook.core.errors import NotDefinedError
from advlook.core.gradients import graph
from advlook.core.probing import blank_image, check_visible, run, run_blank


def conv_layers(model: nn.Module, *, size: int = 64) -> list[str]:
    """Names of the convolutions in the order in which they first run on an image of `size` pixels a side; RequestError
    where the model cannot take such an image, or is TorchScript, which hides them."""
    return list(conv_sides(model, size=size))


def conv_sides(model: nn.Module, *, size: int = 64) -> dict[str, tuple[int, int]]:
    """Height and width of what each of `conv_layers` gives, by name, in their order; errors are the same."""
    check_visible(model, "conv_layers")
    sides: dict[str, tuple[int, int]] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            sides.setdefault(name, (output.shape[-2], output.shape[-1]))

        return note

    with _hooked(model, nn.Conv2d, watch, after=True):
        run_blank(model, size)
    return sides


def first_layer(model: nn.Module, *, size: int = 64) -> str:
    """Name of the convolution whose filters are those of the first layer: of all that see the image, without another
    layer between, the one with the largest kernel. Images have `size` pixels a side. Raises NotDefinedError where there
    is none."""
    check_visible(model, "first_layer")
    see: dict[str, nn.Conv2d] = {}
    outputs: set[Any] = set()  # nodes of autograd's graph, behind which the image is not seen any more

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d) and _leads_to(image, inputs[0], outputs):
                see.setdefault(name, module)
            outputs.add(output.grad_fn)

        return note

    with _hooked(model, (nn.Conv2d, nn.Linear), watch, after=True), torch.enable_grad():
        image = blank_image(model, size).requires_grad_()
        run(model, image.clone())  # which may be normalised in place
    if not see:
        kind = type(model).__name__
        message = f"model {kind} runs no nn.Conv2d on the image, so it has no first filters; give another"
        raise NotDefinedError(message, "no convolution sees the image")
    colour = {name: module for name, module in see.items() if module.in_channels == 3} or see
    return max(colour, key=lambda name: prod(colour[name].kernel_size))  # of equal ones the first


def first_filters(model: nn.Module, *, size: int = 64) -> Tensor:
    """Weights `(units, 3, k, k)`, a copy, of the `first_layer` of a model.

    To compare the strength of filters, give a `folded` model, and ask `strength.check_strength` whether they have one.
    Raises NotDefinedError where no convolution sees the image, or it sees something else than its three channels."""
    name = first_layer(model, size=size)
    weights = model.get_submodule(name).weight.detach().clone()
    if weights.shape[1] != 3:
        message = f"the filters of {name!r} have shape {tuple(weights.shape)}, not (units, 3, k, k)"
        raise NotDefinedError(message, f"the first layer sees {weights.shape[1]} channels a filter")
    return weights


def on_one_scale(filters: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    """Filters of several models as images in [0, 1] on one scale about 0.5, and the weight at its end."""
    limit = max(float(weights.abs().max()) for weights in filters)
    return [0.5 + weights / (2 * limit or 1.0) for weights in filters], limit


@contextmanager
def _hooked(
    model: nn.Module, kinds: type | tuple[type, ...], hook: Callable[[str], Callable[..., object]], after: bool = False
) -> Iterator[None]:
    """Within the block the model is in eval mode and every module of these kinds has `hook(name)`, before it runs or
    after."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, kinds):
                register = module.register_forward_hook if after else module.register_forward_pre_hook
                stack.enter_context(register(hook(name)))
        stack.enter_context(evaluating(model))
        yield


def _leads_to(image: Tensor, values: Tensor, stops: Collection[Any]) -> bool:
    """Whether values are made of the image on a way through autograd's graph that has none of these nodes."""
    return any(getattr(node, "variable", None) is image for node in graph(values.grad_fn, stops))
