"""Sensitivity maps: how a model's answer for one class changes with every pixel of an image.

All five are sums of gradients with respect to the images. They take float images `(N, 3, H, W)` in [0, 1] and int64
labels `(N,)`, the class explained for each, and return maps `(N, 3, H, W)`: raw, signed, in colour, of the images'
dtype and device, detached. The model is evaluated in eval mode and left as it was: mode, parameters, gradients,
buffers, hooks. No forward pass holds more than `batch_size` images, points or noisy copies; its value changes results
by rounding alone. `of`: the gradient of what, "logit" or "loss". All raise RequestError for images outside [0, 1],
labels of another type or shape or that are no class of the model, counts below 1, an unknown `of`, a gradient that is
not finite, and what `core.Classifier` refuses. Images of half precision are explained in float32."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import Module

from advlook.attacks.ball import check_counts
from advlook.core import Model, RequestError, check_batch, check_choice, evaluating, finite_gradient
from advlook.core.gradients import at_least_float32, cross_entropy, logit_of, per_image
from advlook.core.probing import check_visible
from advlook.models.evaluation import as_classifier
from advlook.sensitivity.guiding import Guide, uncompiled

BATCH_SIZE = 64
# The weights `(S,)` of an image's points; and from slices of images and weights those `(images, weights, 3, H, W)`.
Points = tuple[Tensor, Callable[[slice, slice], Tensor]]


def vanilla_gradient(model: Model, images: Tensor, labels: Tensor, *, batch_size: int = BATCH_SIZE) -> Tensor:
    """Gradient of the label's logit (Simonyan et al. 2014; paper, equations 7 and 11), in logits per unit of [0, 1]."""
    return _maps(model, images, labels, "logit", batch_size)


def loss_gradient(model: Model, images: Tensor, labels: Tensor, *, batch_size: int = BATCH_SIZE) -> Tensor:
    """Gradient of the label's cross-entropy (paper, equations 8, 9 and 12), in nats per unit of [0, 1]."""
    return _maps(model, images, labels, "loss", batch_size)


def guided_backprop(model: Model, images: Tensor, labels: Tensor, *, batch_size: int = BATCH_SIZE) -> Tensor:
    """Guided backpropagation (Springenberg et al. 2015; equations 13 to 15 of the paper).

    The gradient of the label's logit, but every ReLU passes on positive gradients alone, and those only where its input
    was positive. A ReLU is whatever clips activations at zero: modules, functions and methods, in place or not, ReLU6
    among them. Raises RequestError also where the model calls none, or more nonlinearities of other kinds (the message
    counts them), and where TorchScript or a custom autograd function hides some."""
    if isinstance(model, Module):
        check_visible(model, "guided_backprop")
    with uncompiled():
        return _maps(model, images, labels, "logit", batch_size, guided=True)


def smooth_grad(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    samples: int = 50,
    sigma: float = 0.15,
    of: str = "logit",
    batch_size: int = BATCH_SIZE,
    generator: Generator | None = None,
) -> Tensor:
    """SmoothGrad (Smilkov et al. 2017; equation 16 of the paper): the mean gradient over noisy copies of the image.

    samples: number of copies; sigma: standard deviation of their Gaussian noise as a fraction (else RequestError) of
    each image's range. Copies are not clamped to [0, 1]; draws do not depend on the batch size."""
    check_batch(images, labels)
    check_counts(samples=samples)
    if not 0 <= sigma <= 1:
        raise RequestError(f"sigma={sigma:g} is not a fraction of an image's range; give it in [0, 1], such as 0.15")
    clean = at_least_float32(images.detach())

    def noisy(rows: slice, columns: slice) -> Tensor:
        batch = clean[rows]
        noise = batch.new_empty(len(batch), columns.stop - columns.start, *batch.shape[1:])
        # One by one, because a generator's draws for a large tensor need not be those for its parts.
        for draw in noise.flatten(0, 1):
            draw.normal_(generator=generator)
        pixels = batch.flatten(1)
        return batch[:, None] + per_image(sigma * (pixels.amax(1) - pixels.amin(1)))[:, None] * noise

    weights = torch.full((samples,), 1 / samples, dtype=torch.float64)
    return _maps(model, images, labels, of, batch_size, (weights, noisy))


def integrated_gradients(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 50,
    baseline: Tensor | float = 0.0,
    of: str = "logit",
    product: bool = True,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017; equation 17 of the paper).

    The mean gradient on the straight line from the baseline to the image (Gauss-Legendre with `steps` points), times
    the image minus the baseline (left out with `product=False`, as in the paper's figures). With the product a map sums
    to what the label's logit gains along the line. baseline: broadcasts to the images (else RequestError); black by
    default."""
    check_batch(images, labels)
    check_counts(steps=steps)
    end = at_least_float32(images.detach())
    given = torch.as_tensor(baseline, dtype=end.dtype, device=images.device).detach()
    try:
        start = given.expand(images.shape)
    except RuntimeError:
        shape = tuple(given.shape)
        raise RequestError(f"baseline of shape {shape} does not broadcast to images {tuple(images.shape)}") from None
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(steps))
    shares = ((1 + nodes) / 2).to(end)

    def between(rows: slice, columns: slice) -> Tensor:
        return torch.lerp(start[rows, None], end[rows, None], shares[columns].view(1, -1, 1, 1, 1))

    mean = _maps(model, images, labels, of, batch_size, (weights / 2, between))
    return (mean * (end - start)).to(images.dtype) if product else mean


_METHODS = (vanilla_gradient, loss_gradient, guided_backprop, smooth_grad, integrated_gradients)
_TITLES = ("Vanilla Grad", "Loss Grad", "Guided Backprop", "SmoothGrad", "Integrated Gradients")
METHODS = {method.__name__: method for method in _METHODS}
TITLES = dict(zip(METHODS, _TITLES, strict=True))


def by_name(
    method: str, model: Model, images: Tensor, labels: Tensor, *, samples: int = 50, generator: Generator | None = None
) -> Tensor:
    """The map of one of METHODS; `samples`: SmoothGrad's copies (without generator by seed 0), or steps."""
    check_choice("method", method, METHODS)
    options: dict[str, Any] = {"steps": samples} if method == "integrated_gradients" else {}
    if method == "smooth_grad":
        options = {"samples": samples, "generator": generator or Generator(images.device).manual_seed(0)}
    return METHODS[method](model, images, labels, **options)


def _maps(
    model: Model, images: Tensor, labels: Tensor, of: str, size: int, points: Points | None = None, guided: bool = False
) -> Tensor:
    """Sums of gradients at points, each with its weight; without `points` at the images alone."""
    check_batch(images, labels)
    check_counts(batch_size=size)
    check_choice("of", of, ("logit", "loss"))
    sums = torch.zeros(images.shape, dtype=torch.promote_types(images.dtype, torch.float32), device=images.device)
    weights, drawn = points or (torch.ones(1), lambda rows, columns: at_least_float32(images.detach())[rows, None])
    weights = weights.to(sums)
    # Whole images side by side where they fit, else the points of one in equal parts.
    height = max(1, size // len(weights))
    width = math.ceil(len(weights) / math.ceil(len(weights) / size))
    guiding = Guide(type(model).__name__) if guided else nullcontext(lambda logits: logits)
    with evaluating(as_classifier(model, labels)) as fast, guiding as guide:
        for top in range(0, len(images), height):
            for left in range(0, len(weights), width):
                rows, columns = slice(top, top + height), slice(left, min(left + width, len(weights)))
                at = drawn(rows, columns)
                repeated = labels[rows].repeat_interleave(at.shape[1])
                gradient, _ = finite_gradient(fast, at.flatten(0, 1), lambda z, y=repeated: _score(guide(z), y, of))
                parts = gradient.unflatten(0, at.shape[:2]).to(sums.dtype)
                sums[rows] += (parts * weights[columns].view(1, -1, 1, 1, 1)).sum(1)
    return sums.to(images.dtype)


def _score(logits: Tensor, labels: Tensor, of: str) -> Tensor:
    """What the gradient is taken of, summed over the images, which do not depend on each other."""
    if of == "loss":
        return cross_entropy(logits, labels).sum()
    return logit_of(logits, labels).sum()
