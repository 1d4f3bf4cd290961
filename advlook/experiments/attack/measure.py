"""What notebook 02 measures: accuracy under attacks of growing strength, transfer, radii, and the checks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook import attacks
from advlook.attacks.checks import run_checks
from advlook.attacks.suite import percent
from advlook.core.gradients import evaluating
from advlook.models.architectures import folded
from advlook.models.evaluation import accuracy_under, correct, suite_accuracy, survivors
from advlook.study.study import Row, Study


def attack_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy under noise, FGSM and PGD over the radius; then, at the study's radius, PGD by its steps and restarts,
    other attacks, and the suite after each of its attacks.

    All on the same `curve_images` test images; the random draws of every row come from one fixed seed.
    """
    config = study.preset.evaluation
    images = study.test.subset(config.curve_images)
    where = {"batch_size": config.batch_size, "device": study.device}
    right = correct(model, images, **where)

    def row(
        name: str,
        attack: Callable[..., Tensor],
        *,
        norm: str = "linf",
        eps: float = config.eps,
        steps: int = 1,
        restarts: int = 1,
    ) -> Row:
        top1 = accuracy_under(model, images, lambda m, x, y, g: attack(m, x, y, eps, generator=g), right=right, **where)
        return {
            "attack": name,
            "norm": norm,
            "eps": float(eps),
            "steps": steps,
            "restarts": restarts,
            "top1": top1,
            "images": len(images),
        }

    def pgd(eps: float, steps: int, restarts: int) -> Row:
        attack = partial(attacks.pgd, steps=steps, restarts=restarts, precision="auto")
        return row("pgd", attack, eps=eps, steps=steps, restarts=restarts)

    def to_random_target(m: nn.Module, x: Tensor, y: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        targets = random_targets(y, study.preset.data.classes, generator)
        return attacks.pgd(m, x, y, eps, steps=config.pgd_steps, targets=targets, generator=generator)

    def mi_fgsm(m: nn.Module, x: Tensor, y: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        return attacks.mi_fgsm(m, x, y, eps, steps=config.pgd_steps)  # draws nothing

    yield row("none", lambda m, x, y, eps, generator: x, eps=0.0, steps=0, restarts=0)
    for eps in filter(None, config.curve):
        yield row("noise", attacks.random_noise, eps=eps, steps=0)
        yield row("fgsm", attacks.fgsm, eps=eps)
    over_radius = [(eps, config.pgd_steps, 1) for eps in config.curve if eps]
    over_steps = [(config.eps, steps, 1) for steps in config.steps]
    over_restarts = [(config.eps, config.pgd_steps, restarts) for restarts in config.restarts]
    for place in dict.fromkeys([*over_radius, *over_steps, *over_restarts]):
        yield pgd(*place)
    yield row("fgsm, random start", partial(attacks.fgsm, random_start=True))
    yield row("pgd, random target", to_random_target, steps=config.pgd_steps)
    yield row("mi-fgsm", mi_fgsm, steps=config.pgd_steps)
    in_l2 = {"norm": "l2", "eps": config.l2_eps}
    yield row("noise, L2", partial(attacks.random_noise, norm="l2"), **in_l2, steps=0)
    yield row("pgd, L2", partial(attacks.pgd, norm="l2", steps=config.pgd_steps), **in_l2, steps=config.pgd_steps)
    suite = suite_accuracy(model, images, config.eps, steps=config.suite_steps, right=right, **where)
    for number, (name, top1) in enumerate(suite.items()):
        steps = attacks.SUITE_PGD_STEPS if name == "pgd" else config.suite_steps
        yield {
            "attack": f"suite: {'+ ' if number else ''}{name}",
            "norm": "linf",
            "eps": float(config.eps),
            "steps": steps,
            "restarts": 1,
            "top1": top1,
            "images": len(images),
        }


def transfer(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy of every STD and ADV model on the adversarial examples (MI-FGSM) made against `model`.

    One row a target: target_arch, target_setting, target_seed, top1; the target that is `model` itself is white-box.
    """
    config = study.preset.evaluation
    images, targets = study.test.subset(config.curve_images), list(study.each_model())
    right: list[list[Tensor]] = [[] for _ in targets]
    with ExitStack() as stack:
        models = (model, *(study.model(*key) for key in targets))
        source, *asked = [stack.enter_context(evaluating(folded(each))) for each in models]
        for batch, labels in images.batches(config.batch_size, study.device):
            moved = attacks.mi_fgsm(source, batch, labels, config.eps, steps=config.pgd_steps)
            with torch.no_grad():
                for target, found in zip(asked, right, strict=True):
                    as_they_are, fooled = (target(shown).argmax(1) == labels for shown in (batch, moved))
                    found.append(as_they_are & fooled)
    for (arch, setting, seed), found in zip(targets, right, strict=True):
        yield {
            "target_arch": arch,
            "target_setting": setting,
            "target_seed": seed,
            "eps": float(config.eps),
            "top1": percent(torch.cat(found)),
            "images": len(images),
        }


def smallest_radii(study: Study, model: nn.Module) -> Iterator[Row]:
    """How many images, in percent, PGD loses first at each of a growing row of L2 radii (0: wrong as they are).

    The radius at which an image is lost bounds the norm of its smallest adversarial perturbation from above; those that
    are never lost have infinity.
    """
    config = study.preset.evaluation
    images = study.test.subset(config.curve_images)
    where = {"batch_size": config.batch_size, "device": study.device}
    alive = correct(model, images, **where)
    lost = [(0.0, 100 - percent(alive))]
    for eps in (config.l2_eps * 2 ** (exponent / 2) for exponent in range(-6, 7)):
        before = percent(alive)
        alive = survivors(model, images, partial(_l2, eps=eps, steps=config.pgd_steps), right=alive, **where)
        lost.append((eps, before - percent(alive)))
    for eps, share in [*lost, (float("inf"), percent(alive))]:
        yield {"norm": "l2", "eps": eps, "lost": share, "images": len(images)}


def _l2(
    model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator, *, eps: float, steps: int
) -> Tensor:
    return attacks.pgd(model, images, labels, eps, norm="l2", steps=steps, generator=generator)


def trust(study: Study, model: nn.Module) -> Iterator[Row]:
    """The checks of `advlook.checks`, one row each; transfer is from the STD model of the same kind, of another seed
    where there is one."""
    config = study.preset.evaluation
    images, labels = next(study.test.subset(config.curve_images).batches(len(study.test), study.device))
    arch, setting, seed = study.identify(model)
    others = [s for s in study.preset.seeds if s != seed] or ([seed] if setting == "adv" else [])
    source = folded(study.model(arch, "std", others[0])) if others else None
    for check in run_checks(
        folded(model), images, labels, config.eps, source=source, steps=config.pgd_steps, batch_size=config.batch_size
    ):
        yield check.as_row()


def random_targets(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """A class other than the label for every image, uniformly."""
    shift = torch.randint(1, classes, labels.shape, generator=generator, device=labels.device)
    return (labels + shift) % classes


def examples(study: Study, model: nn.Module, count: int) -> dict[str, Tensor]:
    """Adversarial examples to look at, for the first `count` images of a fixed random draw.

    Returns, on the CPU: `images` and `attacked` `(count, 3, H, W)`; `labels`; and for both versions the class
    predicted and its probability: `before`, `before_probability`, `after`, `after_probability`, each `(count,)`.
    """
    config = study.preset.evaluation
    chosen = study.test.subset(count, seed=1)
    images, labels = next(chosen.batches(count, study.device))
    generator = torch.Generator(study.device).manual_seed(0)
    with evaluating(model):
        attacked = attacks.pgd(model, images, labels, config.eps, steps=config.pgd_steps, generator=generator)
        found = {"images": images, "attacked": attacked, "labels": labels}
        for name, version in (("before", images), ("after", attacked)):
            with torch.no_grad():
                probability, predicted = F.softmax(model(version), dim=1).max(1)
            found |= {name: predicted, f"{name}_probability": probability}
    return {name: value.cpu() for name, value in found.items()}
