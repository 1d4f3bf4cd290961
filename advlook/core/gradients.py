"""Gradients with respect to images, and the modes of a model while they are taken."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.core.errors import RequestError

_WEIGHTED = re.compile(r"\w*Convolution|Addmm|Mm|Bmm|Baddbmm|Linear")


@contextmanager
def frozen_buffers(model: nn.Module) -> Iterator[None]:
    """Within the block a forward pass in train mode normalises by batch statistics but does not record them; after it
    every other buffer, such as statistics of InstanceNorm and vectors of spectral normalisation, is as it was."""
    modules = [module for module in model.modules() if getattr(module, "training", False)]
    # In eval mode track_running_stats decides whether running statistics are used: those layers stay as they are.
    layers = {m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats}
    others = [(m._buffers, *item) for m in modules if m not in layers for item in m._buffers.items()]
    try:
        for layer in layers:
            layer.track_running_stats = False
        for owner, name, buffer in others:  # copies are changed: a graph of the caller may rest on the buffers
            owner[name] = None if buffer is None else buffer.clone()
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
        for owner, name, buffer in others:
            owner[name] = buffer


def input_gradient(model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient of `loss(logits)`, a scalar, by `images` alone, `(N, 3, H, W)`, and the logits; both detached. Raises
    RequestError where the logits carry no gradient."""
    if torch.is_inference_mode_enabled():
        raise RequestError("no gradient can be taken under torch.inference_mode(); use torch.no_grad() in its place")
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        (gradient,) = torch.autograd.grad(loss(logits), images, allow_unused=True) if logits.requires_grad else (None,)
    if gradient is None:
        raise RequestError("the model's answer has no gradient to the images; it must not detach them, nor leave torch")
    return gradient, logits.detach()


def graph(node: Any, stops: Collection[Any] = (), last: Callable[[Any], bool] = lambda node: False) -> Iterator[Any]:
    """A node of autograd's graph and all that come before it in the forward pass, but for `stops` and what only they
    lead to, and for what only nodes that are `last` lead to."""
    seen, left = set(stops), [node]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            left += [] if last(node) else [before for before, _ in node.next_functions]


def kind(node: Any) -> str:
    """The class of a node without its ending: "LeakyRelu" of LeakyReluBackward0 and of LeakyReluBackward1, in place."""
    return re.sub(r"Backward\d+$", "", type(node).__name__)


def weighs(node: Any) -> bool:
    """Whether a node multiplies by weights: a convolution or a product of matrices."""
    return _WEIGHTED.fullmatch(kind(node)) is not None


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image `(N,)`, whose gradient does not vanish for margins up to about 100. In the usual form
    a softmax probability rounds to 1 at a margin of 17 already, and an overconfident model would pass for robust. This
    is softplus(-margin), with the label's logit minus the log-sum-exp of the others as the margin."""
    logits = at_least_float32(logits)
    rest = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return F.softplus(rest - logit_of(logits, labels))


def logit_of(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of one class of each image, `(N,)`, at least in float32."""
    return at_least_float32(logits).gather(1, classes[:, None])[:, 0]


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32, for half precision is too coarse for losses; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model is in eval mode; afterwards every module is in its former mode."""
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]  # not frozen ones
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def per_image(values: Tensor) -> Tensor:
    """`(N,)` as `(N, 1, 1, 1)`, to be multiplied with images."""
    return values.view(-1, 1, 1, 1)
