"""Whether the strength of the first filters means anything: behind some of them a normalisation undoes it."""

import re
from contextlib import ExitStack
from functools import partial
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from advlook.core import Classifier, evaluating
from advlook.core.errors import NotDefinedError
from advlook.core.gradients import graph, kind, weighs
from advlook.core.probing import blank_image, run
from advlook.models.folding import NORMS, rescales
from advlook.sensitivity.filters import first_layer

_FUNCTIONAL = re.compile(r"\w*(Batch|Layer|Group|Rms)Norm\w*")
Norm = tuple[Any, Any, object]  # nodes of autograd's graph before and behind a normalisation, and the module or a name


def check_strength(model: nn.Module, *, size: int = 64) -> None:
    """Raise NotDefinedError where the strength of the first filters makes no difference, although they have a shape:
    where the layer standardises its weights, or where all that it gives is normalised, but for the batch normalisation
    right behind it, which `folded` folds into it. Images have `size` pixels a side; other errors as of `first_layer`.
    """
    name = first_layer(model, size=size)
    layer = model.get_submodule(name)
    why = "the layer standardises its weights" if rescales(layer) else _normaliser(model, layer, size)
    if why:
        raise NotDefinedError(f"the strength of the filters of {name!r} is not defined: {why}", why)


def _normaliser(model: nn.Module, layer: nn.Module, size: int) -> str | None:
    """What normalises the output of a layer, alone and on every way to the logits."""
    made, norms, end = _passed(model, layer, size)
    for before, behind, norm in norms:
        between = set(graph(before, last=partial(is_, made)))
        alone = made in between and not any(weighs(node) or hasattr(node, "variable") for node in between - {made})
        if not alone or made in graph(end, stops=[behind]):
            continue
        if before is made and isinstance(norm, NORMS) and norm.running_mean is not None:
            made = behind  # folded
        else:
            return f"{norm if isinstance(norm, str) else type(norm).__name__} normalises what it gives"
    return None


def _passed(model: nn.Module, layer: nn.Module, size: int) -> tuple[Any, list[Norm], Any]:
    """Of a pass of a blank image the node of a layer's output, the normalisations, and the node of the logits."""
    made: list[Any] = []
    norms: list[Norm] = []

    def note(module: nn.Module, given: tuple[Any, ...], output: object) -> None:
        if module is layer:
            made.append(output.grad_fn)
        elif given and isinstance(given[0], Tensor) and isinstance(output, Tensor):
            norms.append((given[0].grad_fn, output.grad_fn, module))

    with ExitStack() as stack, torch.enable_grad():
        for module in model.modules():
            plain = not any(isinstance(each, nn.Conv2d | nn.Linear) for each in module.modules())
            if module is layer or (plain and "Norm" in type(module).__name__):
                stack.enter_context(module.register_forward_hook(note))
        fast = stack.enter_context(evaluating(Classifier(model)))
        end = run(fast, blank_image(model, size).requires_grad_().clone()).grad_fn
    named = [(node, kind(node)) for node in graph(end) if _FUNCTIONAL.fullmatch(kind(node))]
    return made[0], norms + [(node.next_functions[0][0], node, name) for node, name in named], end
