"""Momentum iterative FGSM (Dong et al. 2018)."""

import torch
from torch import Tensor, nn

from advlook.attacks.active_batch import _raised_cross_entropy, check_counts
from advlook.attacks.ball import ascend, check_length, check_request, project
from advlook.core.gradients import frozen_batchnorm, input_gradient, per_image


def mi_fgsm(
    model: nn.Module,
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
    """Momentum iterative FGSM (Dong et al. 2018): made to carry over to other models.

    Arguments as in `pgd`; step_size None is eps / steps; `decay` is the share of the momentum that a step keeps. Lost
    images are driven on: an example that stopped at this model's border would rarely fool another model. Returns the
    last step's images, same shape, detached. Raises RequestError as `pgd` does.
    """
    eps = check_request(images, labels, eps, norm, targets)
    check_counts(steps, 1)
    step = eps / steps if step_size is None else check_length(step_size, norm, "step_size")
    current, momentum = images.detach().clone(), torch.zeros_like(images)
    if not len(images):
        return current
    with frozen_batchnorm(model):
        for _ in range(steps):
            gradient, _ = input_gradient(model, current, lambda z: _raised_cross_entropy(z, labels, targets).sum())
            momentum = decay * momentum + gradient / per_image(gradient.abs().flatten(1).sum(1).clamp_min(1e-30))
            current = project(ascend(current, momentum, step, norm), images, eps, norm)
    return current
