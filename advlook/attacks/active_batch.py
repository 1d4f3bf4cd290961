"""The active batch of an attack: the images that are not lost yet, and the best perturbation of each so far."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from advlook.core.errors import RequestError
from advlook.core.gradients import cross_entropy, input_gradient
from advlook.core.precision import PRECISIONS, autocast


class Search:
    """A batch under attack: which images are not lost yet, and the best perturbation of each so far.

    `loss(logits, labels)`, or with aims `loss(logits, labels, aims)`, `(N,)`, is raised. An image is lost when it is
    misclassified, or, with `targets`, when it is given its target. `precision` is the arithmetic that gradients are
    taken in; whether an image is lost is always for the model's own arithmetic to say.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        loss: Callable[..., Tensor],
        targets: Tensor | None = None,
        precision: str = "float32",
    ) -> None:
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


def _raised_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """What an attack raises: the loss of the label, or less loss towards the target."""
    return cross_entropy(logits, labels) if targets is None else -cross_entropy(logits, targets)
