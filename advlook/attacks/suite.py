"""Several attacks in turn, each on the images that the ones before could not change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import check_request
from advlook.attacks.fgsm import fgsm
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.noise import random_noise
from advlook.attacks.pgd import pgd
from advlook.core.errors import RequestError
from advlook.core.gradients import frozen_batchnorm

SUITE = ("pgd", "apgd-ce", "apgd-dlr")
SUITE_PGD_STEPS = 10  # the cheap first attack of a suite, for the images that any attack loses


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


def percent(chosen: Tensor) -> float:
    """Share of True, in percent."""
    return 100 * chosen.double().mean().item()


# The attacks by the names that the command line knows: (model, images, labels, eps, steps, generator) -> images.
NAMED_ATTACKS: dict[str, Callable[..., Tensor]] = {
    "noise": lambda m, x, y, eps, steps, g: random_noise(m, x, y, eps, generator=g),
    "fgsm": lambda m, x, y, eps, steps, g: fgsm(m, x, y, eps),
    "pgd": lambda m, x, y, eps, steps, g: pgd(m, x, y, eps, steps=steps, generator=g, precision="auto"),
    "mi-fgsm": lambda m, x, y, eps, steps, g: mi_fgsm(m, x, y, eps, steps=steps),
    "apgd-ce": lambda m, x, y, eps, steps, g: apgd(m, x, y, eps, steps=steps, generator=g),
    "apgd-dlr": lambda m, x, y, eps, steps, g: apgd(m, x, y, eps, steps=steps, loss="dlr", generator=g),
    "suite": lambda m, x, y, eps, steps, g: attack_suite(m, x, y, eps, steps=steps, generator=g).attacked,
}
