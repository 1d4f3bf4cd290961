"""Guided backpropagation, as hooks on the graph that autograd has recorded: the model itself is not touched.

A ReLU is whatever clips at zero, be it a module, a function, a method, in place, or a mask."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from advlook.core.errors import NotDefinedError
from advlook.core.gradients import graph, kind, weighs

# Nodes that clip, by the argument that has to be 0: a bound, or a slope below it.
_CLIPS = {
    "Relu": None,
    "Threshold": "threshold",
    "Hardtanh": "min_val",
    "Clamp": "min",
    "ClampMin": "min",
    "LeakyRelu": "negative_slope",
    "RreluWithNoise": "upper",
    "PreluKernel": "weight",
}
_BOUNDS = {"Hardtanh": "max_val", "Clamp": "max"}  # from above, that hard sigmoids have
_LARGER = ("Maximum", "Fmax")
_OTHERS = {
    "Gelu": "GELU",
    "Silu": "SiLU",
    "Hardswish": "Hardswish",
    "Mish": "Mish",
    "Elu": "ELU",
    "Celu": "CELU",
    "LeakyRelu": "LeakyReLU",
    "PreluKernel": "PReLU",
    "RreluWithNoise": "RReLU",
    "Hardtanh": "Hardtanh",
    "Tanh": "Tanh",
    "Sigmoid": "Sigmoid",
    "LogSigmoid": "LogSigmoid",
    "Hardsigmoid": "Hardsigmoid",
    "Softplus": "Softplus",
    "Softshrink": "Softshrink",
    "Hardshrink": "Hardshrink",
    "Glu": "GLU",
    "Erf": "Erf",
    "Abs": "Abs",
    "Sin": "Sin",
    "Exp": "exp",
    "Atan": "atan",
    "Minimum": "minimum",
    "Fmin": "fmin",
}
_IN_PLACE = ("relu", "relu6", "hardtanh", "threshold", "clamp", "clamp_min", "clip", "leaky_relu")
_MASKING = ("where", "masked_fill", "masked_fill_", "mul", "mul_", "__setitem__")
_ADDING = ("add", "add_", "__add__", "__radd__", "__iadd__")


def uncompiled() -> AbstractContextManager[None]:
    """Within the block compiled models run as they were written, with a graph that shows what they do."""
    if "torch._dynamo" not in sys.modules:  # it takes seconds to import, and nothing is compiled without
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


class Guide(TorchFunctionMode):
    """Within the block, forward passes are watched for ReLUs that only values show. Called with the logits of such a
    pass, it makes every ReLU behind them pass back positive gradients alone, where its input was positive. Raises
    NotDefinedError where there is no ReLU, where other nonlinearities outnumber them, or where the graph hides some."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title  # of the model, in messages
        self.masks: set[Any] = set()  # nodes of ReLUs that are written as masks
        self.shifted: set[Any] = set()  # nodes that add a number, as hard sigmoids do before they clip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name.rstrip("_") in _IN_PLACE and args and args[0]._is_view():
            # In place on a view, its node would be hidden inside that of the view's base.
            own = args[0].clone()
            result = func(own, *args[1:], **kwargs)
            return args[0].copy_(result) if result is own else result
        clipped = _clipped(name, [*args, *kwargs.values()])
        result = func(*args, **kwargs)
        if clipped is not None:
            changed = args[0] if result is None else result
            if changed.grad_fn is not None and torch.equal(changed.detach(), clipped):
                self.masks.add(changed.grad_fn)
        if name in _ADDING and any(isinstance(each, int | float) and each for each in args):
            self.shifted.add(result.grad_fn)
        return result

    def __call__(self, logits: Tensor) -> Tensor:
        """The logits, behind which the ReLUs are guided."""
        found, others = [], Counter()
        for node in _on_the_way(logits.grad_fn):
            called = kind(node)
            if _hides(node):
                hidden = node.name().removesuffix("Backward").rpartition("::")[2]
                message = f"guided_backprop cannot see what {hidden} does in {self.title}; run it without"
                raise NotDefinedError(message, f"{hidden} hides what it does")
            if self._is_hard_sigmoid(node):
                others["Hardsigmoid"] += 1
            elif node in self.masks or _clips(node):
                if any(weighs(below) for below in graph(node)):  # else it clips pixels
                    found.append(node)
            elif called in _OTHERS:
                others[_OTHERS[called]] += 1
        self.masks.clear()
        self.shifted.clear()
        if not found or others.total() > len(found):
            counts = [*sorted(others.items(), key=lambda item: (-item[1], item[0])), ("ReLU", len(found))]
            told = ", ".join(f"{count} {kind}" if count else f"no {kind}" for kind, count in counts)
            raise NotDefinedError(
                f"guided_backprop is not defined for {self.title}, which calls {told}; take another map, such as "
                "vanilla_gradient",
                told,
            )
        for node in found:
            node.register_prehook(_positive(_input(node)))
        return logits

    def _is_hard_sigmoid(self, node: Any) -> bool:
        """Whether it clips v + 3, say, from both sides: it is part of a hard sigmoid or hard swish, and no ReLU."""
        bound = _BOUNDS.get(kind(node))
        return (
            bool(bound) and getattr(node, f"_saved_{bound}") is not None and node.next_functions[0][0] in self.shifted
        )


def _hides(node: Any) -> bool:
    """Whether a node is a function with a gradient of its own, other than those that split batches among devices."""
    custom = getattr(node, "_forward_cls", None)
    return kind(node) == "CppFunction" or (custom is not None and not custom.__module__.startswith("torch.nn.parallel"))


def _on_the_way(end: Any) -> set[Any]:
    """The nodes between the images and the last node: not those that work on parameters alone, as for a position."""
    users: dict[Any, list[Any]] = defaultdict(list)
    left = []
    for node in graph(end):
        for before, _ in node.next_functions:
            users[before].append(node)
        if hasattr(node, "variable") and not isinstance(node.variable, Parameter):
            left.append(node)
    found: set[Any] = set()
    while left:
        for node in users[left.pop()]:
            if node not in found:
                found.add(node)
                left.append(node)
    return found


def _clips(node: Any) -> bool:
    """Whether a node is max(v, 0), perhaps with a bound from above."""
    called = kind(node)
    if called in _LARGER:
        return _zero_side(node) is not None
    if called not in _CLIPS or not (argument := _CLIPS[called]):
        return called in _CLIPS
    bound = getattr(node, f"_saved_{argument}")
    return bound is not None and not torch.as_tensor(bound).any()


def _zero_side(node: Any) -> int | None:
    """Which argument of a maximum is a constant 0."""
    saved = node._saved_self, node._saved_other
    constants = [k for k, (before, _) in enumerate(node.next_functions) if before is None and not saved[k].any()]
    return constants[0] if constants else None


def _clipped(name: str, arguments: list[Any]) -> Tensor | None:
    """Values less their negative part, where a function is given them and the mask of that part or of the rest."""
    tensors = [each for each in arguments if isinstance(each, Tensor)] if name in _MASKING else []
    masks = [each for each in tensors if each.dtype == torch.bool]
    if not masks and name.startswith("mul"):  # v * (v > 0).float()
        floats = [each for each in tensors if not each.requires_grad]
        masks = [each.bool() for each in floats if torch.equal(each, each.bool().to(each.dtype))]
    values = [each.detach() for each in tensors if each.requires_grad]
    if len(masks) != 1 or len(values) != 1 or masks[0].shape != values[0].shape:
        return None
    signs = values[0] > 0, values[0] >= 0, values[0] < 0, values[0] <= 0
    return values[0].clamp(min=0) if any(torch.equal(masks[0], sign) for sign in signs) else None


def _input(node: Any) -> Tensor | None:
    """What a ReLU clipped, where the derivative of its node is not 0 at 0, as that of ReLUs is."""
    if kind(node) in _LARGER:
        return (node._saved_self if _zero_side(node) else node._saved_other).detach()
    return node._saved_self.detach() if kind(node).startswith("Clamp") else None


def _positive(values: Tensor | None) -> Callable[[tuple[Tensor | None, ...]], tuple[Tensor | None, ...]]:
    def hook(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        kept = [gradient if gradient is None else gradient.clamp(min=0) for gradient in gradients]
        if values is not None:
            kept = [gradient if gradient is None else gradient.masked_fill(values <= 0, 0) for gradient in kept]
        return tuple(kept)

    return hook
