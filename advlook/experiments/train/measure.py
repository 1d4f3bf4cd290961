"""What notebook 01 measures: training, accuracy clean and under attack, and the cue that a model reads."""

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import SETTINGS
from advlook.data import ImageSet, test_bed
from advlook.models.evaluation import found_among, predict, robust_survivors
from advlook.models.training import overfits_catastrophically
from advlook.study import ModelKey, Row, Study
from advlook.study.verification import who

MODEL = ["arch", "setting", "seed"]


def tradeoff(study: Study, key: ModelKey) -> Iterator[Row]:
    """Table 1, one row a model: clean top-1 and top-k, and accuracy under FGSM and PGD, on every test image; "right"
    and "right_pgd" tell which are right clean, and which still under PGD: bool `(images,)`."""
    config, (clean,) = study.preset.evaluation, clean_rows(study, key, study.test)
    options = {"steps": config.pgd_steps, "restarts": config.pgd_restarts, "right": torch.from_numpy(clean["right"])}
    under = robust_survivors(study.model(*key), study.test, config.eps, **options, **study.batches)
    robust = {f"robust_{name}": percent(alive) for name, alive in under.items()} | {"eps": float(config.eps)}
    accuracies = {name: clean[name] for name in ("top1", "top5")}
    yield accuracies | robust | clean | {"right_pgd": under["pgd"].numpy()}


def clean_rows(study: Study, key: ModelKey, images: ImageSet) -> Iterator[Row]:
    """The columns of `tradeoff` that need no attack."""
    right, best = found_among(study.model(*key), images, (1, study.preset.evaluation.top_k), **study.batches).unbind(1)
    yield {"top1": percent(right), "top5": percent(best), "images": len(right), "right": right.numpy()}


def training_history(study: Study, settings: Sequence[str] = SETTINGS) -> pd.DataFrame:
    """Every epoch of every model of these settings, trained now where there is no checkpoint; of external models as far
    as it is known."""
    study.train_all(settings)
    histories = {key: study.metadata(*key).get("history") for key in study.each_model(settings)}
    rows = [who(key) | epoch for key, told in histories.items() if isinstance(told, list) for epoch in told]
    return pd.DataFrame(rows, columns=None if rows else [*MODEL, "epoch", "loss", "clean", "fgsm", "pgd"])


def overfitting_report(history: pd.DataFrame) -> pd.DataFrame:
    """One row a model: accuracy under FGSM and PGD at the last check, and whether FGSM training overfitted."""
    rows = []
    for key, run in history.groupby(MODEL, sort=False):
        checks = run.dropna(subset=["pgd"])
        fgsm, pgd = checks[["fgsm", "pgd"]].iloc[-1]
        overfits = key[1] == "adv" and overfits_catastrophically(checks.to_dict("records"))
        rows.append((*key, fgsm, pgd, fgsm - pgd, "yes" if overfits else "no"))
    return pd.DataFrame(rows, columns=[*MODEL, "fgsm", "pgd", "gap", "catastrophic"]).round(1)


def cues(study: Study, key: ModelKey) -> Iterator[Row]:
    """Which of its two cues a model reads in the embedded test-bed, in percent: answers by silhouette, texture and
    neither where they disagree; accuracy with one alone (`shape_only`, `texture_only`)."""
    conflict, answers = cue_answers(study, key, "cue_conflict")
    by_shape, by_texture = (percent(answers == cue) for cue in (conflict.shapes, conflict.textures))
    row = {"by_texture": by_texture, "by_shape": by_shape, "by_neither": 100 - by_shape - by_texture}
    for split in ("shape_only", "texture_only"):
        shown, answers = cue_answers(study, key, split)
        row[split] = percent(answers == shown.labels)
    yield row | {"images": study.preset.data.test_images}


def cue_answers(study: Study, key: ModelKey, split: str) -> tuple[test_bed.SyntheticSet, Tensor]:
    """A split of the embedded test-bed, and the class `(N,)` that the model finds in each of its images."""
    config = study.preset.data
    shown = test_bed.generate(config.test_images, config.size, seed=0, split=split)
    images = ImageSet(shown.images, shown.labels, test_bed.CLASSES)
    return shown, predict(study.model(*key), images, device=study.device).argmax(1)
