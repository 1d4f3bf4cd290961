"""Minimum-margin attack: gradient ascent on the difference of two logits, towards the likeliest wrong classes in turn.

The margin z_t - z_y, unlike cross-entropy, has a gradient that points at one rival t alone (Carlini and Wagner 2017);
aiming at the likeliest rivals one after another finds nearly all that AutoAttack finds (Gao et al. 2022, Fast and
reliable evaluation of adversarial robustness with minimum-margin attack). A sign gradient does not ask how large the
logits are, so the margin needs no normalisation, and is defined on two classes."""

import math

import torch
from torch import Generator, Tensor

from advlook.attacks.active_batch import ActiveBatch
from advlook.attacks.ball import ascend, prepared, project, random_in_ball
from advlook.core import Model, at_least_float32, frozen_buffers
from advlook.core.gradients import logit_of

MOMENTUM = 0.75  # share of the new step; the rest is the step before, as in APGD
FIRST_STEP = 2.0  # in radii; steps fall to 0 by half a cosine


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{i != y} z_i - z_y `(N,)`: positive where the image is misclassified."""
    logits = at_least_float32(logits)
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logit_of(logits, labels)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """z_t - z_y `(N,)`: positive where the target is likelier than the label."""
    return logit_of(logits, targets) - logit_of(logits, labels)


def margin_attack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 10,
    rivals: int = 3,
    generator: Generator | None = None,
    precision: str = "float32",
) -> Tensor:
    """Ascent on the margin to any wrong class, then to each of the `rivals` likeliest ones, from a random start each.

    Arguments, result and errors as of `pgd`; steps: of each ascent. The likeliest classes are those at the point of
    the largest margin so far. An image is lost as soon as it is misclassified."""
    model, images, eps = prepared(model, images, labels, eps, norm, steps=steps, rivals=rivals)
    batch = ActiveBatch(model, images, labels, margin, None, precision)

    def climb() -> None:
        start = random_in_ball(images, eps, norm, generator)[batch.active]
        falling_steps(batch, images, start, eps, norm, steps)

    with frozen_buffers(model), batch.arithmetic:
        climb()
        tried = torch.zeros(len(images), 0, dtype=torch.int64, device=images.device)
        for _ in range(rivals):
            if not len(batch.active):
                break
            with torch.no_grad():
                logits = at_least_float32(model(batch.best)).scatter(1, labels[:, None], -torch.inf)
            if tried.shape[1] >= logits.shape[1] - 1:
                break
            batch.aims = logits.scatter(1, tried, -torch.inf).argmax(1)
            tried = torch.cat([tried, batch.aims[:, None]], 1)
            batch.loss = targeted_margin
            climb()
    return batch.best


def falling_steps(
    batch: ActiveBatch, images: Tensor, start: Tensor, eps: float, norm: str, steps: int, largest: float = FIRST_STEP
) -> None:
    """Ascent on the loss of the active images, from `start`, by steps that fall from `largest` radii to 0 by half a
    cosine, with momentum; `batch` records what it finds."""
    current = before = start
    for done in range(steps + 1):
        if not len(batch.active):
            return
        kept, _, gradient = batch.evaluate(current, gradient=done < steps)
        if done == steps:
            return
        current, before, gradient = current[kept], before[kept], gradient[kept]
        centres = images[batch.active]
        step = largest * eps * (1 + math.cos(math.pi * done / steps)) / 2
        ahead = project(ascend(current, gradient, step, norm), centres, eps, norm)
        if done:
            moved = current + MOMENTUM * (ahead - current) + (1 - MOMENTUM) * (current - before)
            ahead = project(moved, centres, eps, norm)
        before, current = current, ahead
