"""The attacks by name, and several of them in turn, each on the images that the ones before could not change."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import check_request, random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.core import check_choice, frozen_batchnorm

SUITE = ("pgd", "apgd-ce", "apgd-dlr")
SUITE_PGD_STEPS = 10  # the suite begins with a cheap attack, which loses most of the images that any attack loses


@dataclass(frozen=True)
class SuiteResult:
    """What a suite of attacks found: the images, and which of them are still right after each attack."""

    attacked: Tensor  # (N, 3, H, W); a lost image as changed by the attack that lost it
    survived: dict[str, Tensor]  # "clean", then each attack in turn: bool (N,)

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy in percent on clean images and after each attack; the last is that under the whole suite."""
        return {name: percent(right) for name, right in self.survived.items()}


def attack_suite(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    attacks: Sequence[str] = SUITE,
    steps: int = 100,
    generator: Generator | None = None,
) -> SuiteResult:
    """Several attacks in turn, each on the images that the ones before could not change.

    images: float `(N, 3, H, W)` in [0, 1], one batch; attacks: of "pgd" (10 steps), "apgd-ce", "apgd-dlr" and "apgd-t"
    (targeted, 9 restarts), the latter three with `steps` steps. Put the model in eval mode first. Raises RequestError
    as the attacks do, and for an unknown name."""
    check_request(images, labels, eps, norm)
    for name in attacks:
        check_choice("attack", name, _PARTS)
    attacked = images.detach().clone()
    if not len(images):
        return SuiteResult(attacked, {name: torch.zeros(0, dtype=torch.bool) for name in ("clean", *attacks)})
    with torch.no_grad(), frozen_batchnorm(model):
        right = model(images).argmax(1) == labels
        survived = {"clean": right}
        for name in attacks:
            left = right.nonzero()[:, 0]
            found = _PARTS[name](model, images[left], labels[left], eps, steps, generator, norm=norm)
            right = right.clone()
            if len(left):
                right[left] = model(found).argmax(1) == labels[left]
            attacked[left], survived[name] = found, right
    return SuiteResult(attacked, survived)


def percent(chosen: Tensor) -> float:
    """Share of True, in percent."""
    return 100 * chosen.double().mean().item()


def _with_options(attack: Callable[..., Tensor], **options: object) -> Callable[..., Tensor]:
    """The attack with `options` set, as (model, images, labels, eps, steps, generator, norm="linf") -> images."""
    takes = inspect.signature(attack).parameters

    def run(*request: Any, norm: str = "linf") -> Tensor:
        *batch, steps, generator = request
        offered = {"steps": steps, "generator": generator, "norm": norm} | options
        return attack(*batch, **{name: offered[name] for name in offered if name in takes})

    return run


# The attacks by the names that users know them by: (model, images, labels, eps, steps, generator) -> images.
NAMED_ATTACKS: dict[str, Callable[..., Tensor]] = {
    "noise": _with_options(random_noise),
    "fgsm": _with_options(fgsm),
    "pgd": _with_options(pgd, precision="auto"),
    "mi-fgsm": _with_options(mi_fgsm),
    "apgd-ce": _with_options(apgd),
    "apgd-dlr": _with_options(apgd, loss="dlr"),
    "suite": lambda m, x, y, eps, steps, g: attack_suite(m, x, y, eps, steps=steps, generator=g).attacked,
}
_PARTS = {
    "pgd": _with_options(pgd, steps=SUITE_PGD_STEPS),
    "apgd-ce": NAMED_ATTACKS["apgd-ce"],
    "apgd-dlr": NAMED_ATTACKS["apgd-dlr"],
    "apgd-t": _with_options(apgd, loss="dlr-targeted", restarts=9),
}
