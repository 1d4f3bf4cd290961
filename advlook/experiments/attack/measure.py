"""What notebook 02 measures: accuracy under attacks of growing strength, transfer, radii, and the checks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.attacks.checks import run_checks
from advlook.attacks.suite import SUITE, SUITE_PGD_STEPS, percent
from advlook.core import Classifier, evaluating
from advlook.data import ImageSet
from advlook.models import for_inference
from advlook.models.evaluation import Attack, accuracy_under, as_classifier, correct, suite_accuracy, survivors
from advlook.study import ModelKey, Row, Study
from advlook.study.verification import who

RADII = [2 ** (exponent / 2) for exponent in range(-6, 7)]  # of `smallest_radii`, in units of the study's L2 radius


def attack_rows(study: Study, key: ModelKey) -> Iterator[Row]:
    """Accuracy under each of `attack_cells`, then after each attack of the suite, on the same `curve_images` images."""
    model, images, where = asked(study, key)
    where["right"] = correct(model, images, **where)
    for about, attack in attack_cells(study):
        yield about | {"top1": accuracy_under(model, images, attack, **where), "images": len(images)}
    config = study.preset.evaluation
    for name, top1 in suite_accuracy(model, images, config.eps, steps=config.suite_steps, **where).items():
        title = f"suite: {name}" if name == SUITE[0] else f"suite: + {name}"
        steps = SUITE_PGD_STEPS if name == "pgd" else config.suite_steps
        yield _about(title, config.eps, steps=steps) | {"top1": top1, "images": len(images)}


def attack_cells(study: Study) -> list[tuple[Row, Attack]]:
    """Each attack but the suite, with the columns of `02_attacks` that name it: some over the radius, others at eps
    alone."""
    config, cells = study.preset.evaluation, []

    def add(name: str, attack: Callable[..., Tensor], eps: float = config.eps, **effort: object) -> None:
        cells.append((_about(name, eps, **effort), _at(eps, attack)))

    def to_random_target(m: nn.Module, x: Tensor, y: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        targets = random_targets(y, study.preset.data.classes, generator)
        return attacks.pgd(m, x, y, eps, steps=config.pgd_steps, targets=targets, generator=generator)

    add("none", lambda m, x, y, eps, generator: x, 0.0, steps=0, restarts=0)
    radii = [eps for eps in config.curve if eps]
    for eps in radii:
        add("noise", attacks.random_noise, eps, steps=0)
        add("fgsm", attacks.fgsm, eps)
    efforts = [(eps, config.pgd_steps, 1) for eps in radii] + [(config.eps, steps, 1) for steps in config.steps]
    efforts += [(config.eps, config.pgd_steps, restarts) for restarts in config.restarts]
    for eps, steps, restarts in dict.fromkeys(efforts):
        effort = {"steps": steps, "restarts": restarts}
        add("pgd", partial(attacks.pgd, **effort, precision="auto"), eps, **effort)
    steps = {"steps": config.pgd_steps}
    mi_fgsm = partial(attacks.mi_fgsm, **steps)
    add("fgsm, random start", partial(attacks.fgsm, random_start=True))
    add("pgd, random target", to_random_target, **steps)
    add("mi-fgsm", lambda m, x, y, eps, generator: mi_fgsm(m, x, y, eps), **steps)  # draws nothing
    add("noise, L2", partial(attacks.random_noise, norm="l2"), config.l2_eps, norm="l2", steps=0)
    add("pgd, L2", partial(attacks.pgd, norm="l2", **steps), config.l2_eps, norm="l2", **steps)
    return cells


def _about(name: str, eps: float, *, norm: str = "linf", steps: int = 1, restarts: int = 1) -> dict[str, object]:
    return {"attack": name, "norm": norm, "eps": float(eps), "steps": steps, "restarts": restarts}


def _at(eps: float, attack: Callable[..., Tensor], **options: object) -> Attack:
    return lambda m, x, y, generator: attack(m, x, y, eps, generator=generator, **options)


def asked(study: Study, key: ModelKey) -> tuple[nn.Module, ImageSet, dict[str, object]]:
    """A model, the `curve_images` images that it is attacked on, and how they are shown to it."""
    return study.model(*key), study.test.subset(study.preset.evaluation.curve_images), study.batches


def transfer(study: Study, key: ModelKey, targets: Sequence[ModelKey] = ()) -> Iterator[Row]:
    """Accuracy of every STD and ADV model, or of these targets, on adversarial examples (MI-FGSM) made against one. One
    row a target: target_arch, target_setting, target_seed, eps, top1, images; the source itself is white-box."""
    config, targets = study.preset.evaluation, targets or list(study.each_model())
    _, images, where = asked(study, key)
    found = []
    with ExitStack() as stack:
        source, *others = [
            stack.enter_context(evaluating(as_classifier(study.model(*each)))) for each in (key, *targets)
        ]
        for batch, labels in images.batches(**where):
            moved = attacks.mi_fgsm(source, batch, labels, config.eps, steps=config.pgd_steps)
            with torch.no_grad():
                right = [torch.stack([other(x).argmax(1) == labels for other in others]) for x in (batch, moved)]
            found.append(right[0] & right[1])
    for target, right in zip(targets, torch.cat(found, dim=1), strict=True):
        row = {f"target_{name}": value for name, value in who(target).items()}
        yield row | {"eps": float(config.eps), "top1": percent(right), "images": len(images)}


def smallest_radii(study: Study, key: ModelKey) -> Iterator[Row]:
    """How many images, in percent, PGD loses first at each of a row of growing L2 radii. That radius bounds the norm of
    an image's smallest adversarial perturbation from above: 0 if it is wrong as it is, infinity if never lost."""
    config = study.preset.evaluation
    model, images, where = asked(study, key)
    alive = correct(model, images, **where)
    lost = [(0.0, 100 - percent(alive))]
    for eps in (config.l2_eps * radius for radius in RADII):
        before, attack = percent(alive), _at(eps, attacks.pgd, norm="l2", steps=config.pgd_steps)
        alive = survivors(model, images, attack, right=alive, **where)
        lost.append((eps, before - percent(alive)))
    for eps, share in [*lost, (float("inf"), percent(alive))]:
        yield {"norm": "l2", "eps": eps, "lost": share, "images": len(images)}


def trust(study: Study, key: ModelKey) -> Iterator[Row]:
    """The checks of `advlook.checks`, one row each; transfer is from a STD model, if possible of another seed."""
    config, (arch, setting, seed) = study.preset.evaluation, key
    model, shown, _ = asked(study, key)
    images, labels = next(shown.batches(len(shown), study.device))
    others = [s for s in study.preset.seeds if s != seed] or ([seed] if setting == "adv" else [])
    source = for_inference(study.model(arch, "std", others[0])) if others else None
    options = {"source": source, "steps": config.pgd_steps, "batch_size": config.batch_size}
    for check in run_checks(for_inference(model), images, labels, config.eps, **options):
        yield check.as_row()


def random_targets(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """A class other than the label for every image, uniformly."""
    shift = torch.randint(1, classes, labels.shape, generator=generator, device=labels.device)
    return (labels + shift) % classes


def examples(study: Study, key: ModelKey, count: int) -> dict[str, Tensor]:
    """Adversarial examples of `count` images of a fixed draw, on the CPU: `images` and `attacked` `(count, 3, H, W)`;
    `labels`; and each predicted class and its probability: `before`, `before_probability`, `after`, ...

    Every image gets all steps, without a random start: where an attack ends with the first wrong answer, a STD model's
    examples are one step from noise, and its perturbations cannot be compared with an ADV model's."""
    config, model = study.preset.evaluation, study.model(*key)
    images, labels = next(study.test.subset(count, seed=1).batches(count, study.device))
    with evaluating(Classifier(model)) as model:
        step = 2.5 * config.eps / config.pgd_steps  # that of PGD
        attacked = attacks.mi_fgsm(model, images, labels, config.eps, steps=config.pgd_steps, step_size=step, decay=0.0)
        found = {"images": images, "attacked": attacked, "labels": labels}
        for name, version in (("before", images), ("after", attacked)):
            with torch.no_grad():
                found[f"{name}_probability"], found[name] = model(version).softmax(1).max(1)
    return {name: value.cpu() for name, value in found.items()}
