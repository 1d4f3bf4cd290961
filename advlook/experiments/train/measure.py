"""What notebook 01 measures: training, accuracy clean and under attack, and the cue that a model reads."""

from collections.abc import Iterator

import pandas as pd
from torch import Tensor, nn

from advlook.attacks.suite import percent
from advlook.data import test_bed
from advlook.data.image_sets import ImageSet
from advlook.models.evaluation import found_among, predict, robust_survivors
from advlook.models.training import overfits_catastrophically
from advlook.stats.paired import pack
from advlook.study.study import Row, Study


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

    def answers(split: str) -> tuple[test_bed.SyntheticSet, Tensor]:
        shown = test_bed.generate(config.test_images, config.size, seed=0, split=split)
        images = ImageSet(shown.images, shown.labels, test_bed.CLASSES)
        return shown, predict(model, images, device=study.device).argmax(1)

    conflict, answer = answers("cue_conflict")
    by_shape, by_texture = (percent(answer == cue) for cue in (conflict.shapes, conflict.textures))
    row = {"by_texture": by_texture, "by_shape": by_shape, "by_neither": 100 - by_shape - by_texture}
    for split in ("shape_only", "texture_only"):
        shown, answer = answers(split)
        row[split] = percent(answer == shown.labels)
    yield row | {"images": config.test_images}
