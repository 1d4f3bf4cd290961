"""Projected gradient descent (Madry et al. 2018)."""

from torch import Generator, Tensor

from advlook.attacks.active_batch import ActiveBatch, attack_loss
from advlook.attacks.ball import ascend, check_length, prepared, project, random_in_ball
from advlook.core import Model, frozen_buffers


def pgd(
    model: Model,
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
    generator: Generator | None = None,
    precision: str = "float32",
) -> Tensor:
    """Projected gradient descent (Madry et al. 2018; equation 4 of the paper).

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps and step_size: in pixel units of [0, 1], in the
    norm "linf" or "l2"; step_size None is 2.5 eps / steps. An image is lost once it is misclassified or, with
    `targets`, classified as its target; it keeps that perturbation, and further steps and restarts are spent on the
    others. An image that survives gets its perturbation of highest loss. precision: of the gradients, "float32" (the
    model's own), "bfloat16", or "auto" (bfloat16 where it is native); whether an image is lost is decided in the
    model's own. Returns adversarial images of the same shape, detached. Raises RequestError for images, an L-infinity
    eps or step outside [0, 1], negative ones, an unknown norm or precision, what `core.Classifier` refuses of the
    model's answers, and a gradient that is not finite."""
    effort = {"steps": steps, "restarts": restarts}
    model, images, eps = prepared(model, images, labels, eps, norm, targets, **effort)
    step = 2.5 * eps / steps if step_size is None else check_length(step_size, norm, "step_size")
    batch = ActiveBatch(model, images, labels, attack_loss, targets, precision)
    with frozen_buffers(model), batch.arithmetic:
        for _ in range(restarts):
            start = random_in_ball(images, eps, norm, generator) if random_start else images.detach()
            current = start[batch.active]
            for done in range(steps + 1):
                if not len(batch.active):
                    return batch.best
                kept, _, gradient = batch.evaluate(current, gradient=done < steps)
                if done == steps:
                    break
                if not kept.all():
                    current, gradient = current[kept], gradient[kept]
                current = project(ascend(current, gradient, step, norm), images[batch.active], eps, norm)
    return batch.best
