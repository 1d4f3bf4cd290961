"""Attacks on image classifiers: FGSM and PGD in the L-infinity and L2 ball.

All of them ask autograd for the gradient of the loss with respect to the images alone, and leave the model's mode,
parameters, gradients and BatchNorm statistics as they were. FGSM is PGD with one step of size eps.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.config import check_eps
from advlook.errors import RequestError

NORMS = ("linf", "l2")


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
    """Cross-entropy of each image `(N,)`, with a gradient that keeps its direction however sure the model is.

    The usual form subtracts 1 from a probability that rounds to 1 as soon as it is within 6e-8 of it. The attack would
    then go astray, and an overconfident model would pass for robust. This one works on the lead of the label over the
    rest.
    """
    logits, labels = logits.float(), labels[:, None]
    rest = logits.scatter(1, labels, -torch.inf).logsumexp(1)
    return F.softplus(rest - logits.gather(1, labels)[:, 0])


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    random_start: bool = False,
    targets: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fast gradient sign method (Goodfellow et al. 2015; equation 3 of the paper).

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps: L-infinity radius in pixel units of [0, 1].
    With `random_start` the step of size eps starts from a uniform draw in the ball and is projected back into it;
    with `targets` the loss towards them is lowered instead. Returns adversarial images of the same shape, detached.
    Raises RequestError for eps outside [0, 1] or images outside [0, 1].
    """
    eps = _check(images, labels, eps, "linf", targets)
    if not len(images):
        return images.detach().clone()
    start = random_in_ball(images, eps, "linf", generator) if random_start else images.detach()
    aim, sign = (labels, 1.0) if targets is None else (targets, -1.0)
    with frozen_batchnorm(model):
        gradient, _ = input_gradient(model, start, lambda logits: cross_entropy(logits, aim).sum())
    return project(ascend(start, sign * gradient, eps, "linf"), images, eps, "linf")


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 10,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    targets: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient descent (Madry et al. 2018; equation 4 of the paper).

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps and step_size: in pixel units of [0, 1], of the
    given norm ("linf" or "l2"); step_size None is 2.5 eps / steps. Without `targets` an image is lost once it is
    misclassified, with them once it is given its target. A lost image leaves the batch: it keeps the perturbation that
    lost it, and further steps and restarts are spent on the others. Of an image that survives every restart the
    perturbation of highest loss is kept. Returns adversarial images of the same shape, detached.
    Raises RequestError for an L-infinity eps or step outside [0, 1], a negative one, images outside [0, 1], or an
    unknown norm.
    """
    eps = _check(images, labels, eps, norm, targets)
    if steps < 1 or restarts < 1:
        raise RequestError(f"steps={steps} and restarts={restarts} must be at least 1")
    step = 2.5 * eps / steps if step_size is None else _check_length(step_size, norm, "step_size")
    aim, sign = (labels, 1.0) if targets is None else (targets, -1.0)
    best = images.detach().clone()
    best_loss = torch.full((len(images),), -torch.inf, device=images.device, dtype=images.dtype)
    alive = torch.arange(len(images), device=images.device)

    # Kernels are prepared and kept for every batch size they meet: a batch that shrinks one by one fills gigabytes with
    # them. So it shrinks by eighths, filled up with copies (in train mode those would count in the batch statistics).
    eighth = 1 if model.training else max(1, len(images) // 8)

    def gradient_at(current: Tensor) -> tuple[Tensor, Tensor]:
        count = len(current)
        filled = torch.cat([current, current[:1].expand(-count % eighth, -1, -1, -1)])
        gradient, logits = input_gradient(model, filled, lambda z: cross_entropy(z[:count], aim[alive]).sum())
        return gradient[:count], logits[:count]

    def record(current: Tensor, logits: Tensor) -> Tensor:
        """Keep what improves on the best so far; return which of the living images are still alive."""
        nonlocal alive
        loss = sign * cross_entropy(logits, aim[alive]).to(best_loss.dtype)
        lost = (logits.argmax(1) != aim[alive]) if targets is None else (logits.argmax(1) == aim[alive])
        better = lost | (loss > best_loss[alive])
        best[alive[better]], best_loss[alive[better]] = current[better], loss[better]
        alive = alive[~lost]
        return ~lost

    with frozen_batchnorm(model):
        for _ in range(restarts):
            current = random_in_ball(images[alive], eps, norm, generator) if random_start else images[alive].detach()
            for _ in range(steps):
                if not len(alive):
                    return best
                gradient, logits = gradient_at(current)
                kept = record(current, logits)
                if not kept.all():
                    current, gradient = current[kept], gradient[kept]
                current = project(ascend(current, sign * gradient, step, norm), images[alive], eps, norm)
            if len(alive):
                with torch.no_grad():
                    record(current, model(current))
    return best


def random_in_ball(images: Tensor, eps: float, norm: str, generator: torch.Generator | None = None) -> Tensor:
    """Uniform draws from the epsilon ball around each image, cut to [0, 1]."""
    noise = torch.empty_like(images, memory_format=torch.contiguous_format)
    if norm == "linf":
        noise.uniform_(-1, 1, generator=generator)
    else:
        noise.normal_(generator=generator)
        radius = torch.rand(len(images), generator=generator, device=images.device, dtype=images.dtype)
        noise *= (radius ** (1 / noise.flatten(1).shape[1]) / _l2(noise).clamp_min(1e-12)).view(-1, 1, 1, 1)
    return (images.detach() + eps * noise).clamp_(0, 1)


def ascend(images: Tensor, gradient: Tensor, step: float, norm: str) -> Tensor:
    """One step of length `step` along the steepest ascent of the given norm."""
    if norm == "linf":
        return images + step * gradient.sign()
    return images + step * gradient / _l2(gradient).clamp_min(1e-12).view(-1, 1, 1, 1)


def project(images: Tensor, centres: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest point of the epsilon ball around `centres`, then of [0, 1] (which cannot leave the ball again)."""
    if norm == "linf":
        images = torch.minimum(torch.maximum(images, centres - eps), centres + eps)
    else:
        delta = images - centres
        images = centres + delta * (eps / _l2(delta).clamp_min(1e-12)).clamp(max=1).view(-1, 1, 1, 1)
    return images.clamp_(0, 1).detach()


def _l2(batch: Tensor) -> Tensor:
    return batch.flatten(1).norm(dim=1)


def _check(images: Tensor, labels: Tensor, eps: float, norm: str, targets: Tensor | None) -> float:
    if norm not in NORMS:
        raise RequestError(f"norm {norm!r} is unknown; choose from {', '.join(NORMS)}")
    eps = _check_length(eps, norm, "eps")
    if len(images) and not (images.amin() >= -1e-4 and images.amax() <= 1 + 1e-4):
        raise RequestError(
            f"images span [{images.amin():.3g}, {images.amax():.3g}], not [0, 1]: give them unnormalised, "
            "and put the normalisation inside the model"
        )
    for name, tensor in (("labels", labels), ("targets", targets)):
        if tensor is not None and (tensor.shape != images.shape[:1] or tensor.dtype != torch.int64):
            raise RequestError(
                f"{name} must be int64 of shape ({len(images)},), not {tensor.dtype} {tuple(tensor.shape)}"
            )
    return eps


def _check_length(value: float, norm: str, name: str) -> float:
    """A radius or step of the given norm; in L2 it may well be longer than the side of a pixel."""
    if norm == "linf":
        return check_eps(value, name)
    if not value >= 0:
        raise RequestError(f"{name}={value:g} is not a length; give it in pixel units of [0, 1], at least 0")
    return float(value)
