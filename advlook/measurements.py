"""What notebooks 01 and 02 measure on every model: functions from a study and a model to tidy rows.

Accuracies are in percent. `Study.measure` adds arch, setting and seed, and writes the table.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook import attacks, synthetic
from advlook.checks import run_checks
from advlook.datasets import ImageSet
from advlook.evaluation import (
    accuracy_under,
    correct,
    evaluating,
    found_among,
    percent,
    predict,
    robust_survivors,
    suite_accuracy,
    survivors,
)
from advlook.models import folded
from advlook.paired import pack
from advlook.study import Row, Study
from advlook.training import overfits_catastrophically


def tradeoff(study: Study, model: nn.Module) -> Iterator[Row]:
    """Table 1, one row a model: clean top-1 and top-k, and accuracy under FGSM and PGD, on every test image.

    Which images are right clean, and which still under PGD, is packed into "right" and "right_pgd" (`paired`).
    """
    config, images = study.preset.evaluation, study.test
    where = {"batch_size": config.batch_size, "device": study.device}
    right, best = found_among(model, images, (1, config.top_k), **where).unbind(1)
    under = robust_survivors(
        model, images, config.eps, steps=config.pgd_steps, restarts=config.pgd_restarts, right=right, **where
    )
    yield {
        "top1": percent(right),
        "top5": percent(best),
        "robust_fgsm": percent(under["fgsm"]),
        "robust_pgd": percent(under["pgd"]),
        "eps": float(config.eps),
        "images": len(images),
        "right": pack(right),
        "right_pgd": pack(under["pgd"]),
    }


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
        name: str, attack: Callable[..., Tensor], *, norm: str = "linf", eps: float = config.eps, steps: int = 1,
        restarts: int = 1,
    ) -> Row:  # fmt: skip
        top1 = accuracy_under(model, images, lambda m, x, y, g: attack(m, x, y, eps, generator=g), right=right, **where)
        return {"attack": name, "norm": norm, "eps": float(eps), "steps": steps, "restarts": restarts,
                "top1": top1, "images": len(images)}  # fmt: skip

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
        yield {"attack": f"suite: {'+ ' if number else ''}{name}", "norm": "linf", "eps": float(config.eps),
               "steps": steps, "restarts": 1, "top1": top1, "images": len(images)}  # fmt: skip


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
        yield {"target_arch": arch, "target_setting": setting, "target_seed": seed,
               "eps": float(config.eps), "top1": percent(torch.cat(found)), "images": len(images)}  # fmt: skip


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


def training_history(study: Study) -> pd.DataFrame:
    """Every epoch of every model, trained now where there is no checkpoint: arch, setting, seed, epoch, loss, ...

    External models whose files tell no history are left out; where that is all of them, no row is returned.
    """
    study.train_all()
    frames = []
    for arch, setting, seed in study.each_model():
        epochs = study.metadata(arch, setting, seed).get("history")
        if isinstance(epochs, list):
            frames.append(pd.DataFrame(epochs).assign(arch=arch, setting=setting, seed=seed))
    if not frames:
        return pd.DataFrame(columns=["arch", "setting", "seed", "epoch", "loss", "clean", "fgsm", "pgd"])
    history = pd.concat(frames, ignore_index=True)
    return history[["arch", "setting", "seed", *(c for c in history if c not in ("arch", "setting", "seed"))]]


def overfitting_report(history: pd.DataFrame) -> pd.DataFrame:
    """One row a model: accuracy under FGSM and PGD at the last check, and whether FGSM training overfitted."""
    rows = []
    for (arch, setting, seed), run in history.groupby(["arch", "setting", "seed"], sort=False):
        checks = run.dropna(subset=["pgd"])
        last = checks.iloc[-1]
        overfits = setting == "adv" and overfits_catastrophically(checks.to_dict("records"))
        row = {"arch": arch, "setting": setting, "seed": seed, "fgsm": last["fgsm"], "pgd": last["pgd"]}
        rows.append(row | {"gap": last["fgsm"] - last["pgd"], "catastrophic": "yes" if overfits else "no"})
    return pd.DataFrame(rows, columns=["arch", "setting", "seed", "fgsm", "pgd", "gap", "catastrophic"]).round(1)


def cues(study: Study, model: nn.Module) -> Iterator[Row]:
    """Which of its two cues a model reads in the embedded test-bed, in percent of `test_images` images a split.

    On `cue_conflict`, where silhouette and texture name different classes: answers by either, and by neither. With
    one cue alone: accuracy on `shape_only` and `texture_only`.
    """
    config = study.preset.data

    def answers(split: str) -> tuple[synthetic.SyntheticSet, Tensor]:
        shown = synthetic.generate(config.test_images, config.size, seed=0, split=split)
        images = ImageSet(shown.images, shown.labels, synthetic.CLASSES)
        return shown, predict(model, images, device=study.device).argmax(1)

    conflict, answer = answers("cue_conflict")
    by_shape, by_texture = (percent(answer == cue) for cue in (conflict.shapes, conflict.textures))
    row = {"by_texture": by_texture, "by_shape": by_shape, "by_neither": 100 - by_shape - by_texture}
    for split in ("shape_only", "texture_only"):
        shown, answer = answers(split)
        row[split] = percent(answer == shown.labels)
    yield row | {"images": config.test_images}
