"""Attacks on image classifiers in the L-infinity and L2 ball: FGSM, PGD, MI-FGSM, APGD, and several in turn.

All of them ask autograd for the gradient of the loss with respect to the images alone, and leave the model's mode,
parameters, gradients and BatchNorm statistics as they were. FGSM is PGD with one step of size eps. An image that is
lost leaves the batch: no more work goes into it. A random start is drawn for the whole batch, so that what happens to
an image does not depend on which others are lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlook.apgd import apgd
from advlook.balls import ascend, check_length, check_request, per_image, project, random_in_ball
from advlook.errors import RequestError
from advlook.search import Search, check_counts, cross_entropy, frozen_batchnorm, input_gradient

SUITE = ("pgd", "apgd-ce", "apgd-dlr")
SUITE_PGD_STEPS = 10  # the cheap first attack of a suite, for the images that any attack loses


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    random_start: bool = False,
    targets: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fast gradient sign method (Goodfellow et al. 2015; equation 3 of the paper).

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps: L-infinity radius in pixel units of [0, 1].
    With `random_start` the step of size eps starts from a uniform draw in the ball and is projected back into it;
    with `targets` the loss towards them is lowered instead. Returns adversarial images of the same shape, detached.
    Raises RequestError for eps outside [0, 1] or images outside [0, 1].
    """
    eps = check_request(images, labels, eps, "linf", targets)
    if not len(images):
        return images.detach().clone()
    start = random_in_ball(images, eps, "linf", generator) if random_start else images.detach()
    with frozen_batchnorm(model):
        gradient, _ = input_gradient(model, start, lambda logits: _raised_cross_entropy(logits, labels, targets).sum())
    return project(ascend(start, gradient, eps, "linf"), images, eps, "linf")


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


def random_noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise of the size of an attack, which knows neither model nor label: the baseline of every table.

    "linf": every channel of every pixel moves by eps, up or down at random; "l2": a random direction of length eps; cut
    to [0, 1]. Arguments (the model is not asked), result and errors as in `fgsm`.
    """
    eps = check_request(images, labels, eps, norm)
    noise = torch.empty_like(images, memory_format=torch.contiguous_format).normal_(generator=generator)
    return ascend(images.detach(), noise, eps, norm).clamp_(0, 1)


@dataclass(frozen=True)
class SuiteResult:
    """What a suite of attacks left: the images, and which of them are still right after each attack."""

    attacked: Tensor  # (N, 3, H, W); a lost image as the attack that lost it left it
    survived: dict[str, Tensor]  # "clean", then each attack in turn: bool (N,)

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy in percent on clean images and after each attack; the last is that under the whole suite."""
        return {name: 100 * right.double().mean().item() for name, right in self.survived.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Share of all images, in percent, that each attack took from those that the ones before had left."""
        left = list(self.accuracy.values())
        return {name: left[i] - left[i + 1] for i, name in enumerate(list(self.survived)[1:])}


def attack_suite(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    attacks: Sequence[str] = SUITE,
    steps: int = 100,
    generator: torch.Generator | None = None,
) -> SuiteResult:
    """Several attacks in turn, each on the images that the ones before could not change.

    images: float `(N, 3, H, W)` in [0, 1], one batch; attacks: of "pgd" (10 steps), "apgd-ce", "apgd-dlr" and
    "apgd-t" (targeted, 9 restarts), the latter of `steps` steps. An image counts as right where it is so without an
    attack and after every one. Put the model in eval mode first. Raises RequestError as the attacks do, and for an
    unknown name.
    """
    check_request(images, labels, eps, norm)
    known: dict[str, Callable[..., Tensor]] = {
        "pgd": lambda *a, **k: pgd(*a, **k, steps=SUITE_PGD_STEPS),
        "apgd-ce": lambda *a, **k: apgd(*a, **k, steps=steps),
        "apgd-dlr": lambda *a, **k: apgd(*a, **k, steps=steps, loss="dlr"),
        "apgd-t": lambda *a, **k: apgd(*a, **k, steps=steps, loss="dlr-targeted", restarts=9),
    }
    for name in attacks:
        if name not in known:
            raise RequestError(f"attack {name!r} is unknown; choose from {', '.join(known)}")
    attacked = images.detach().clone()
    if not len(images):
        return SuiteResult(attacked, {name: torch.zeros(0, dtype=torch.bool) for name in ("clean", *attacks)})
    with torch.no_grad(), frozen_batchnorm(model):
        right = model(images).argmax(1) == labels
        survived = {"clean": right}
        for name in attacks:
            left = right.nonzero()[:, 0]
            found = known[name](model, images[left], labels[left], eps, norm=norm, generator=generator)
            right = right.clone()
            if len(left):
                right[left] = model(found).argmax(1) == labels[left]
            attacked[left], survived[name] = found, right
    return SuiteResult(attacked, survived)


def _raised_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """What an attack raises: the loss of the label, or less loss towards the target."""
    return cross_entropy(logits, labels) if targets is None else -cross_entropy(logits, targets)
