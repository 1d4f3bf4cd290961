"""Auto-PGD (Croce and Hein 2020), which adapts its step size for every image, and its losses."""

import math

import torch
from torch import Generator, Tensor

from advlook.attacks.active_batch import ActiveBatch
from advlook.attacks.ball import ascend, prepared, project, random_in_ball
from advlook.core import Model, RequestError, at_least_float32, check_choice, cross_entropy, frozen_buffers
from advlook.core.gradients import logit_of, per_image

MOMENTUM = 0.75  # alpha: share of the new step; the rest is the step before
RISING = 0.75  # rho: at a checkpoint, the least share of steps that must have raised the loss


def apgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 100,
    loss: str = "ce",
    restarts: int = 1,
    generator: Generator | None = None,
) -> Tensor:
    """Auto-PGD (Croce and Hein 2020, algorithm 1), which adapts the step size of every image by itself.

    Arguments, result and errors as of `pgd`. loss: "ce" (cross-entropy), "dlr", or "dlr-targeted", which in restart 1,
    2, ... aims at the most likely wrong class, the second most likely, ... (with 9 restarts, the APGD-T of AutoAttack);
    an image is lost as soon as it is misclassified. Steps have length 2 eps at first, with momentum 0.75; at
    checkpoints, an image whose loss has stopped rising returns to its best point and halves its step size."""
    losses = {"ce": cross_entropy, "dlr": dlr, "dlr-targeted": targeted_dlr}
    model, images, eps = prepared(model, images, labels, eps, norm, steps=steps, restarts=restarts)
    check_choice("loss", loss, losses)
    batch = ActiveBatch(model, images, labels, losses[loss], targets=None, precision="float32")
    if not len(images):
        return batch.best
    with frozen_buffers(model):
        if loss == "dlr-targeted":
            with torch.no_grad():
                wrong = model(images).scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
        for restart in range(restarts):
            if loss == "dlr-targeted":
                batch.aims = wrong[:, restart % wrong.shape[1]]
            start = random_in_ball(images, eps, norm, generator)[batch.active]
            if not len(batch.active):
                break
            _climb(batch, images, start, eps, norm, steps)
    return batch.best


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio `(N,)` (Croce and Hein 2020, equation 6), of three classes or more (else
    RequestError).

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), with the sorted logits z_(1) >= z_(2) >= ..."""
    ordered, of_label = _sorted_logits(logits, 3), logit_of(logits, labels)
    rival = at_least_float32(logits).scatter(1, labels[:, None], -torch.inf).amax(1)
    return (rival - of_label) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), `(N,)`: targeted DLR (Croce and Hein 2020, equation 7)."""
    ordered = _sorted_logits(logits, 4)
    difference = logit_of(logits, targets) - logit_of(logits, labels)
    return difference / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2).clamp_min(1e-12)


class _Climb:
    """The state of one APGD run: every attribute has one entry for each active image."""

    def __init__(self, start: Tensor, loss: Tensor, gradient: Tensor, step: float) -> None:
        self.current = self.before = self.best = start
        self.loss = self.best_loss = self.best_at_checkpoint = loss
        self.gradient = self.best_gradient = gradient
        self.step = torch.full_like(loss, step)
        self.rises = torch.zeros_like(loss)  # steps since the last checkpoint that raised the loss
        self.halved = torch.ones_like(loss, dtype=torch.bool)  # whether the last checkpoint halved the step

    def keep(self, kept: Tensor) -> None:
        """Drop the images that are lost."""
        if not kept.all():
            for name, value in vars(self).items():
                setattr(self, name, value[kept])

    def move(self, ahead: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """Go on to the points `ahead`, and note where they are the best so far."""
        self.rises, self.before, self.current = self.rises + (loss > self.loss), self.current, ahead
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best = torch.where(per_image(better), ahead, self.best)
        self.best_gradient = torch.where(per_image(better), gradient, self.best_gradient)

    def halve(self, window: int) -> None:
        """At a checkpoint, `window` steps after the last: stuck images (the loss rose in less than 3/4 of the steps, or
        neither it nor the step has changed: conditions 1 and 2) return to their best point and halve the step."""
        stuck = (self.rises < RISING * window) | (~self.halved & (self.best_loss <= self.best_at_checkpoint))
        self.step = torch.where(stuck, self.step / 2, self.step)
        self.current = torch.where(per_image(stuck), self.best, self.current)
        self.gradient = torch.where(per_image(stuck), self.best_gradient, self.gradient)
        self.loss = torch.where(stuck, self.best_loss, self.loss)
        self.rises, self.halved, self.best_at_checkpoint = torch.zeros_like(self.rises), stuck, self.best_loss


def _climb(batch: ActiveBatch, images: Tensor, start: Tensor, eps: float, norm: str, steps: int) -> None:
    """One run of APGD on the active images, from `start`; `batch` records what it finds."""
    kept, *found = batch.evaluate(start)
    run = _Climb(start, *found, step=2 * eps)
    run.keep(kept)
    checkpoints, last = apgd_checkpoints(steps), 0
    for done in range(1, steps + 1):
        if not len(batch.active):
            return
        centres = images[batch.active]
        ahead = project(ascend(run.current, run.gradient, run.step, norm), centres, eps, norm)
        if done > 1:
            momentum = (1 - MOMENTUM) * (run.current - run.before)
            ahead = project(run.current + MOMENTUM * (ahead - run.current) + momentum, centres, eps, norm)
        kept, *found = batch.evaluate(ahead, gradient=done < steps)
        if done == steps:
            return
        run.move(ahead, *found)
        run.keep(kept)
        if done in checkpoints:
            run.halve(done - last)
            last = done


def apgd_checkpoints(steps: int) -> list[int]:
    """Steps after which APGD reconsiders its step size (Croce and Hein 2020, section 3): 22, 41, 57, ... of 100."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 6)) for share in shares if 0 < share <= 1})


def _sorted_logits(logits: Tensor, least: int) -> Tensor:
    if logits.shape[1] < least:
        raise RequestError(f"this loss needs at least {least} classes, the model has {logits.shape[1]}; use loss='ce'")
    return at_least_float32(logits).topk(least, dim=1).values
