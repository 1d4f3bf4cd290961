"""The attacks by name, and several of them in turn, each on the images that the ones before could not change."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import prepared, random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.margin import margin_attack
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.attacks.square import square
from advlook.core import Model, RequestError, check_choice, frozen_buffers, warn_of_train_mode

SUITE = ("pgd", "apgd-ce", "apgd-dlr")
# By what is asked for: the suite that the study reports, or one made to be as strong as AutoAttack's standard version.
VERSIONS = {"fast": SUITE, "standard": ("margin", "square")}
LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}  # whose losses divide by differences of so many logits
SUITE_PGD_STEPS = 10  # the suite begins with a cheap attack, which loses most of the images that any attack loses
MARGIN_STEPS, MARGIN_RIVALS = 10, 4
# Where gradients mislead, random search loses some of a few images at once; then all are searched in earnest.
SEARCHED, FIRST_QUERIES, QUERIES = 32, 100, 5000


@dataclass(frozen=True)
class SuiteResult:
    """What a suite of attacks found: the images, and which of them are still right after each attack."""

    attacked: Tensor  # (N, 3, H, W); a lost image as changed by the attack that lost it
    survived: dict[str, Tensor]  # "clean", then each attack in turn: bool (N,)
    left_out: dict[str, str] = field(default_factory=dict)  # attacks that are not defined on this model, and why
    # Images that went through the model, by attack: forward, and of these backward too. A cost that no machine changes.
    passes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy in percent on clean images and after each attack; the last is that under the whole suite."""
        return {name: percent(right) for name, right in self.survived.items()}


def attack_suite(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    version: str = "fast",
    attacks: str | Sequence[str] | None = None,
    steps: int = 100,
    generator: Generator | None = None,
) -> SuiteResult:
    """Several attacks in turn, each on the images that the ones before could not change.

    images: float `(N, 3, H, W)` in [0, 1], one batch. version: "fast" ("pgd" of 10 steps, "apgd-ce", "apgd-dlr"), or
    "standard" ("margin", the minimum-margin attack, and "square", without gradients), made to leave what AutoAttack's
    standard version leaves for a fraction of its passes, and not yet compared with it on enough images
    (benchmarks/autoattack.py compares). attacks: others in their place, of these and
    "apgd-t" (targeted, 9 restarts). steps: of APGD. What is not defined on the model's number of classes is left out,
    and named in the result. Warns of a model in train mode. Raises RequestError as the attacks do,
    for an unknown name or version, and where no attack is left.

    >>> result = attack_suite(model, images, labels, 4 / 255, version="standard")  # doctest: +SKIP
    >>> result.accuracy, result.passes  # doctest: +SKIP
    """
    model, images, eps = prepared(model, images, labels, eps, norm)
    check_choice("version", version, VERSIONS)
    attacks = VERSIONS[version] if attacks is None else (attacks,) if isinstance(attacks, str) else attacks
    for name in attacks:
        check_choice("attack", name, _PARTS)
    warn_of_train_mode(model)
    attacked = images.detach().clone()
    if not len(images):
        return SuiteResult(attacked, {name: torch.zeros(0, dtype=torch.bool) for name in ("clean", *attacks)})
    counted, passes = _Passes(model), {}
    with torch.no_grad(), frozen_buffers(model):
        logits = model(images)
        left_out = undefined(attacks, logits.shape[1])
        right = logits.argmax(1) == labels
        survived = {"clean": right}
        for name in attacks:
            if name in left_out:
                continue
            left = right.nonzero()[:, 0]
            before = counted.forward_passes, counted.backward_passes
            found = _PARTS[name](counted, images[left], labels[left], eps, steps, generator, norm=norm)
            passes[name] = counted.forward_passes - before[0], counted.backward_passes - before[1]
            right = right.clone()
            if len(left):
                right[left] = model(found).argmax(1) == labels[left]
            attacked[left], survived[name] = found, right
    return SuiteResult(attacked, survived, left_out, passes)


class _Passes(nn.Module):
    """A model that counts the images it is shown, and those whose gradient is taken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forward_passes, self.backward_passes = model, 0, 0
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        self.forward_passes += len(images)
        self.backward_passes += len(images) * images.requires_grad
        return self.model(images)


def undefined(attacks: Sequence[str], classes: int) -> dict[str, str]:
    """Which of these attacks need more than so many classes, and how many; RequestError where all do."""
    found = {name: f"needs {LEAST_CLASSES[name]} classes" for name in attacks if classes < LEAST_CLASSES.get(name, 0)}
    if found and len(found) == len(set(attacks)):
        needs = ", ".join(f"{name} {need}" for name, need in found.items())
        raise RequestError(f"{needs}, and the model has {classes}; take pgd or apgd-ce")
    return found


def searched(
    model: Model, images: Tensor, labels: Tensor, eps: float, *, norm: str = "linf", generator: Generator | None = None
) -> Tensor:
    """Random search of SEARCHED images with FIRST_QUERIES each; if that loses one, of all with QUERIES."""
    how = {"norm": norm, "generator": generator}
    first = square(model, images[:SEARCHED], labels[:SEARCHED], eps, queries=FIRST_QUERIES, **how)
    if len(first) and (model(first).argmax(1) != labels[:SEARCHED]).any():
        return square(model, images, labels, eps, queries=QUERIES, **how)
    return torch.cat([first, images[SEARCHED:]])


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
    "margin": _with_options(margin_attack, precision="auto"),
    "square": _with_options(square),
    "suite": lambda m, x, y, eps, steps, g: attack_suite(m, x, y, eps, steps=steps, generator=g).attacked,
}
_PARTS = {
    "pgd": _with_options(pgd, steps=SUITE_PGD_STEPS),
    "apgd-ce": NAMED_ATTACKS["apgd-ce"],
    "apgd-dlr": NAMED_ATTACKS["apgd-dlr"],
    "apgd-t": _with_options(apgd, loss="dlr-targeted", restarts=9),
    "margin": _with_options(margin_attack, steps=MARGIN_STEPS, rivals=MARGIN_RIVALS, precision="auto"),
    "square": _with_options(searched),
}
