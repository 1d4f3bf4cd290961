"""The active batch of an attack: the images that are not lost yet, and the best perturbation of every image so far."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from advlook.core import Classifier, autocast, cross_entropy, finite_gradient, in_train_mode

Loss = Callable[..., Tensor]  # of (logits, labels) or (logits, labels, aims) -> (N,)


class ActiveBatch:
    """A batch under attack, which maximises `loss(logits, labels)` or `loss(logits, labels, aims)`, `(N,)`. An image is
    lost when it is misclassified or, with `targets`, classified as its target. Gradients are taken in `precision`;
    whether an image is lost is decided in the model's own arithmetic. Raises RequestError for an unknown precision."""

    def __init__(
        self, model: Classifier, images: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None, precision: str
    ) -> None:
        self.arithmetic = autocast(precision, images.device)  # entered once for a whole attack: weights are cast once
        self._coarse = isinstance(self.arithmetic, torch.autocast)
        self.model, self.labels, self.loss, self.targets = model, labels, loss, targets
        self.aims = targets  # classes that a targeted loss aims at; an attack may change them between restarts
        self.best = images.detach().clone()
        self.best_loss = torch.full((len(images),), -torch.inf, device=images.device, dtype=images.dtype)
        self.active = torch.arange(len(images), device=images.device)  # the images that are not lost
        self._by_batch = in_train_mode(model)
        self._portion = max(1, -(-len(images) // 8))

    def evaluate(self, points: Tensor, gradient: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the active images at `points`, record the best, and remove those that are lost there. Returns which
        stay active, bool `(N,)`, and of all the loss `(N,)` and its gradient (empty with `gradient=False`)."""
        count, labels = len(points), self.labels[self.active]
        goals = labels if self.targets is None else self.targets[self.active]
        aims = () if self.aims is None else (self.aims[self.active],)

        def total(logits: Tensor) -> Tensor:
            return self.loss(logits[:count], labels, *aims).sum()

        if gradient:
            slope, logits = (part[:count] for part in finite_gradient(self.model, self._padded(points), total))
        else:
            slope, logits = points[:0], self._logits(points)
        with torch.no_grad():
            loss = self.loss(logits, labels, *aims).to(self.best_loss.dtype)
        lost = self._is_lost(logits, goals)
        if gradient and self._coarse and lost.any():
            suspects = lost.nonzero()[:, 0]
            lost[suspects] = self._is_lost(self._logits(points[suspects]), goals[suspects])
        better = lost | (loss > self.best_loss[self.active])
        self.best[self.active[better]], self.best_loss[self.active[better]] = points[better], loss[better]
        self.active = self.active[~lost]
        return ~lost, loss, slope

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        """Logits in the model's own arithmetic."""
        with torch.autocast(images.device.type, enabled=False) if self._coarse else nullcontext():
            return self.model(self._padded(images))[: len(images)]

    def _is_lost(self, logits: Tensor, goals: Tensor) -> Tensor:
        """Whether images are lost `(N,)`, given their targets or, without targets, their labels."""
        return (logits.argmax(1) == goals) == (self.targets is not None)

    def _padded(self, images: Tensor) -> Tensor:
        """The images, repeated until the batch has one of the few sizes that backends keep kernels for."""
        count = len(images)
        if self._by_batch:  # it would change batch statistics
            return images
        halving, eighths = min(1 << (count - 1).bit_length(), self._portion), count + -count % self._portion
        size = halving if count < self._portion else min(eighths, len(self.labels))
        return images if size == count else images[torch.arange(size, device=images.device) % count]


def attack_loss(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The loss `(N,)` that an attack maximises: cross-entropy of the label, or minus that of the target."""
    return cross_entropy(logits, labels) if targets is None else -cross_entropy(logits, targets)
