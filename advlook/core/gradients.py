"""Gradients with respect to images, and the modes in which a model is asked for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def frozen_batchnorm(model: nn.Module) -> Iterator[None]:
    """Within the block a forward pass in train mode normalises by batch statistics but records none of them."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    # In eval mode track_running_stats decides whether the running statistics are used, so only train mode is touched.
    layers = [layer for layer in layers if layer.training]
    try:
        for layer in layers:
            layer.track_running_stats = False
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def input_gradient(model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient of `loss(logits)`, a scalar, with respect to `images` alone, and the logits it was taken at.

    Returns `(gradient (N, 3, H, W), logits (N, classes))`, both detached. No parameter receives a gradient.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        (gradient,) = torch.autograd.grad(loss(logits), images)
    return gradient, logits.detach()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image `(N,)`, with a gradient that keeps its direction while the lead is below about 100.

    The usual form subtracts 1 from a probability that rounds to 1 as soon as it is within 6e-8 of it: at a lead of 17
    already. The attack would then go astray, and an overconfident model would pass for robust. This one works on the
    lead of the label over the rest, up to where its gradient is smaller than any float32.
    """
    logits, labels = at_least_float32(logits), labels[:, None]
    rest = logits.scatter(1, labels, -torch.inf).logsumexp(1)
    return F.softplus(rest - logits.gather(1, labels)[:, 0])


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision is too coarse for losses; double precision is left as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model is in eval mode; afterwards every module has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def per_image(values: Tensor) -> Tensor:
    """`(N,)` as `(N, 1, 1, 1)`, to be multiplied with images."""
    return values.view(-1, 1, 1, 1)
