"""One batch under attack: gradients with respect to the images, and a record of what is lost and what was best.

An attack asks autograd for the gradient of its loss with respect to the images alone, and leaves the model's mode,
parameters, gradients and BatchNorm statistics as they were.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.errors import RequestError
from advlook.precision import PRECISIONS, autocast


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


class Search:
    """A batch under attack: which images are not lost yet, and the best perturbation of each so far.

    `loss(logits, labels)`, or with aims `loss(logits, labels, aims)`, `(N,)`, is raised. An image is lost when it is
    misclassified, or, with `targets`, when it is given its target. `precision` is the arithmetic that gradients are
    taken in; whether an image is lost is always for the model's own arithmetic to say.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, loss: Callable[..., Tensor],
        targets: Tensor | None = None, precision: str = "float32",
    ) -> None:  # fmt: skip
        if precision not in PRECISIONS:
            raise RequestError(f"precision {precision!r} is unknown; choose from {', '.join(PRECISIONS)}")
        self.arithmetic = autocast(precision, images.device)  # once around a whole attack: weights are cast once
        self._coarse = isinstance(self.arithmetic, torch.autocast)
        self.model, self.labels, self.loss, self.targets = model, labels, loss, targets
        self.aims = targets  # of a targeted loss; an attack may change them between restarts
        self.best = images.detach().clone()
        self.best_loss = torch.full((len(images),), -torch.inf, device=images.device, dtype=images.dtype)
        self.alive = torch.arange(len(images), device=images.device)
        self._portion = max(1, -(-len(images) // 8))

    def start(self, images: Tensor) -> Tensor:
        """The living ones of a whole batch of starting points."""
        return images[self.alive]

    def look(self, current: Tensor, gradient: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the living images at `current`, and put aside those that are lost there.

        Returns which of them are still alive, bool `(N,)`, and of all of them the loss `(N,)` and its gradient (empty
        where it was not asked for).
        """
        if not len(current):
            return current.new_zeros(0, dtype=torch.bool), current.new_zeros(0), current
        count, labels = len(current), self.labels[self.alive]
        aims = () if self.aims is None else (self.aims[self.alive],)
        found = current[:0]
        if gradient:
            raised = lambda z: self.loss(z[:count], labels, *aims).sum()  # noqa: E731
            found, logits = input_gradient(self.model, self._filled(current), raised)
            found, logits = found[:count], logits[:count]
        else:
            logits = self._answers(current)
        with torch.no_grad():
            loss = self.loss(logits, labels, *aims).to(self.best_loss.dtype)
        goals = labels if self.targets is None else self.targets[self.alive]
        lost = self._is_lost(logits, goals)
        if gradient and self._coarse and lost.any():
            suspects = lost.nonzero()[:, 0]
            lost[suspects] = self._is_lost(self._answers(current[suspects]), goals[suspects])
        better = lost | (loss > self.best_loss[self.alive])
        self.best[self.alive[better]], self.best_loss[self.alive[better]] = current[better], loss[better]
        self.alive = self.alive[~lost]
        return ~lost, loss, found

    @torch.no_grad()
    def _answers(self, images: Tensor) -> Tensor:
        """Logits in the model's own arithmetic."""
        with torch.autocast(images.device.type, enabled=False) if self._coarse else nullcontext():
            return self.model(self._filled(images))[: len(images)]

    def _is_lost(self, logits: Tensor, goals: Tensor) -> Tensor:
        """Whether images are lost; goals: their labels, or the targets where there are some."""
        return (logits.argmax(1) == goals) == (self.targets is not None)

    def _filled(self, images: Tensor) -> Tensor:
        """The images, and copies of them that fill the batch up to one of a few sizes.

        Kernels are prepared and kept for every batch size they meet: a batch that shrinks one by one fills gigabytes
        with them. So it shrinks by eighths of the whole batch, and below one by halves. In train mode the copies would
        count in the batch statistics.
        """
        count = len(images)
        if self.model.training:
            return images
        if count < self._portion:
            size = min(1 << (count - 1).bit_length(), self._portion)
        else:
            size = min(count + -count % self._portion, len(self.labels))
        return images if size == count else images[torch.arange(size, device=images.device) % count]


def check_counts(steps: int, restarts: int) -> None:
    """Raise RequestError for numbers of steps or restarts that make no attack."""
    if steps < 1 or restarts < 1:
        raise RequestError(f"steps={steps} and restarts={restarts} must be at least 1")
