"""Momentum iterative FGSM (Dong et al. 2018)."""

import torch
from torch import Tensor

from advlook.attacks.active_batch import attack_loss
from advlook.attacks.ball import ascend, check_length, prepared, project
from advlook.core import Model, finite_gradient, frozen_buffers, per_image


def mi_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    targets: Tensor | None = None,
) -> Tensor:
    """Momentum iterative FGSM (Dong et al. 2018), whose examples transfer well to other models.

    Arguments, result and errors as of `pgd`; step_size None is eps / steps; decay: the factor on the momentum in each
    step. Lost images are driven on, because an example at this model's decision boundary rarely fools another model."""
    model, images, eps = prepared(model, images, labels, eps, norm, targets, steps=steps)
    step = eps / steps if step_size is None else check_length(step_size, norm, "step_size")
    current, momentum = images.detach().clone(), torch.zeros_like(images)
    if not len(images):
        return current
    with frozen_buffers(model):
        for _ in range(steps):
            gradient, _ = finite_gradient(model, current, lambda logits: attack_loss(logits, labels, targets).sum())
            momentum = decay * momentum + gradient / per_image(gradient.abs().flatten(1).sum(1).clamp_min(1e-30))
            current = project(ascend(current, momentum, step, norm), images, eps, norm)
    return current
