"""The fast gradient sign method (Goodfellow et al. 2015)."""

from torch import Generator, Tensor

from advlook.attacks.active_batch import attack_loss
from advlook.attacks.ball import ascend, prepared, project, random_in_ball
from advlook.core import Model, finite_gradient, frozen_buffers


def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    random_start: bool = False,
    targets: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Fast gradient sign method (Goodfellow et al. 2015; equation 3 of the paper): one step of size eps.

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps: L-infinity radius in pixel units of [0, 1]. With
    `random_start` the step starts from a uniform draw in the ball; with `targets` it lowers their loss instead. Returns
    adversarial images of the same shape, detached. Raises RequestError for eps or images outside [0, 1], and for what
    `core.Classifier` refuses of the model's answers, or a gradient that is not finite."""
    model, images, eps = prepared(model, images, labels, eps, "linf", targets)
    if not len(images):
        return images.detach().clone()
    start = random_in_ball(images, eps, "linf", generator) if random_start else images.detach()
    with frozen_buffers(model):
        gradient, _ = finite_gradient(model, start, lambda logits: attack_loss(logits, labels, targets).sum())
    return project(ascend(start, gradient, eps, "linf"), images, eps, "linf")
