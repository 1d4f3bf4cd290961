"""Projected gradient descent (Madry et al. 2018)."""

import torch
from torch import Tensor, nn

from advlook.attacks.active_batch import Search, _raised_cross_entropy, check_counts
from advlook.attacks.ball import ascend, check_length, check_request, project, random_in_ball
from advlook.core.gradients import frozen_batchnorm


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
    precision: str = "float32",
) -> Tensor:
    """Projected gradient descent (Madry et al. 2018; equation 4 of the paper).

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps and step_size: in pixel units of [0, 1], of the
    given norm ("linf" or "l2"); step_size None is 2.5 eps / steps. Without `targets` an image is lost once it is
    misclassified, with them once it is given its target. A lost image keeps the perturbation that lost it, and further
    steps and restarts are spent on the others. Of an image that survives every restart the perturbation of highest loss
    is kept. precision: the arithmetic of the gradients, "float32" (the model's own), "bfloat16", or "auto": the latter
    where it is native; that an image is lost is always established in the model's own. Returns adversarial images of
    the same shape, detached.
    Raises RequestError for an L-infinity eps or step outside [0, 1], a negative one, images outside [0, 1], or an
    unknown norm or precision.
    """
    eps = check_request(images, labels, eps, norm, targets)
    check_counts(steps, restarts)
    step = 2.5 * eps / steps if step_size is None else check_length(step_size, norm, "step_size")
    search = Search(model, images, labels, _raised_cross_entropy, targets, precision)
    with frozen_batchnorm(model), search.arithmetic:
        for _ in range(restarts):
            current = search.start(random_in_ball(images, eps, norm, generator) if random_start else images.detach())
            for _ in range(steps):
                if not len(search.alive):
                    return search.best
                kept, _, gradient = search.look(current)
                if not kept.all():
                    current, gradient = current[kept], gradient[kept]
                current = project(ascend(current, gradient, step, norm), images[search.alive], eps, norm)
            search.look(current, gradient=False)
    return search.best
