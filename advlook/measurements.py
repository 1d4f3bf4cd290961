"""What notebooks 01 and 02 measure on every model: functions from a study and a model to tidy rows.

Accuracies are in percent. `Study.measure` adds arch, setting and seed, and writes the table.
"""

from collections.abc import Iterator

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook import attacks, synthetic
from advlook.datasets import ImageSet
from advlook.evaluation import Attack, accuracy_under, evaluating, predict, robust_accuracy, topk_accuracy
from advlook.study import Row, Study
from advlook.training import overfits_catastrophically


def tradeoff(study: Study, model: nn.Module) -> Iterator[Row]:
    """Table 1, one row a model: clean top-1 and top-k, and accuracy under FGSM and PGD, on every test image."""
    config = study.preset.evaluation
    sizes = {"batch_size": config.batch_size, "device": study.device}
    accuracy = topk_accuracy(model, study.test, config.top_k, **sizes)
    robust = robust_accuracy(
        model, study.test, config.eps, steps=config.pgd_steps, restarts=config.pgd_restarts, **sizes
    )
    yield {
        **accuracy,
        "robust_fgsm": robust["fgsm"],
        "robust_pgd": robust["pgd"],
        "eps": float(config.eps),
        "images": len(study.test),
    }


def attack_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy against the radius (FGSM and PGD), and several attacks compared at the study's radius.

    All on the same `curve_images` test images; random draws come from one fixed seed.
    """
    config = study.preset.evaluation
    images = study.test.subset(config.curve_images)
    generator = torch.Generator(study.device).manual_seed(0)
    steps = config.pgd_steps

    def row(name: str, norm: str, eps: float, steps: int, restarts: int, attack: Attack) -> Row:
        top1 = accuracy_under(model, images, attack, batch_size=config.batch_size, device=study.device)
        return {
            "attack": name, "norm": norm, "eps": float(eps), "steps": steps, "restarts": restarts,
            "top1": top1, "images": len(images),
        }  # fmt: skip

    def pgd(name: str, eps: float, steps: int, restarts: int = 1, norm: str = "linf", targeted: bool = False) -> Row:
        def attack(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            targets = random_targets(y, study.preset.data.classes, generator) if targeted else None
            return attacks.pgd(
                m, x, y, eps, norm=norm, steps=steps, restarts=restarts, targets=targets, generator=generator
            )

        return row(name, norm, eps, steps, restarts, attack)

    def fgsm(name: str, eps: float, random_start: bool = False) -> Row:
        def attack(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return attacks.fgsm(m, x, y, eps, random_start=random_start, generator=generator)

        return row(name, "linf", eps, 1, 1, attack)

    yield row("none", "linf", 0.0, 0, 0, lambda m, x, y: x)
    for eps in config.curve:
        if eps:
            yield fgsm("fgsm", eps)
            yield pgd("pgd", eps, steps)
    yield fgsm("fgsm, random start", config.eps, random_start=True)
    yield pgd("pgd, random target", config.eps, steps, targeted=True)
    yield pgd(f"pgd, {5 * steps} steps", config.eps, 5 * steps)
    yield pgd("pgd, 5 restarts", config.eps, steps, restarts=5)
    yield pgd("pgd, L2", config.l2_eps, steps, norm="l2")


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
    """Every epoch of every model, trained now where there is no checkpoint: arch, setting, seed, epoch, loss, ..."""
    study.train_all()
    frames = []
    for arch, setting, seed in study.each_model():
        frame = pd.DataFrame(study.metadata(arch, setting, seed)["history"])
        frames.append(frame.assign(arch=arch, setting=setting, seed=seed))
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
    return pd.DataFrame(rows).round(1)


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
    by_shape, by_texture = (
        (answer == cue).double().mean().item() * 100 for cue in (conflict.shapes, conflict.textures)
    )
    row = {"by_texture": by_texture, "by_shape": by_shape, "by_neither": 100 - by_shape - by_texture}
    for split in ("shape_only", "texture_only"):
        shown, answer = answers(split)
        row[split] = 100 * (answer == shown.labels).double().mean().item()
    yield row | {"images": config.test_images}
