"""What of notebook 01 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from advlook import attacks
from advlook.attacks.suite import percent
from advlook.core.files import mixed_seed
from advlook.core.gradients import evaluating
from advlook.experiments.train import measure
from advlook.models.architectures import folded
from advlook.models.evaluation import found_among, survivors
from advlook.study.study import ModelKey, Study
from advlook.study.verification import ATTACKED, Derived, Row, Unit, drawn, shares, who


def units(study: Study, rng: random.Random) -> Iterator[Unit | Derived]:
    """Answers of every model to drawn images and to a batch under PGD, accuracies, and the embedded test-bed's cues."""
    table, size = study.load_table("01_tradeoff"), study.preset.evaluation.batch_size
    yield Derived("01_tradeoff", lambda: shares(table, {"top1": "right", "robust_pgd": "right_pgd"}))
    for row in table.itertuples():
        key = row.arch, row.setting, row.seed
        numbers = drawn(len(study.test), rng)
        left = row.right.nonzero()[0]  # of these the attack's batches are made
        batch = rng.randrange(-(-len(left) // size))
        attacked = left[batch * size : (batch + 1) * size]
        yield Unit("01_tradeoff", who(key), partial(_clean, study, key, numbers), numbers=numbers)
        yield Unit("01_tradeoff", who(key), partial(_attacked, study, key, attacked, batch), (), attacked, allowed=1)
        yield Unit("01_tradeoff", who(key), partial(_accuracies, study, key))
        yield Unit("01_tradeoff", who(key), partial(_under_fgsm, study, key, row.right), allowed=ATTACKED)
        if study.preset.data.name == "synthetic":
            yield Unit("01_cues", who(key), partial(measure.cues, study, key), allowed=1)


def _clean(study: Study, key: ModelKey, numbers: np.ndarray) -> Iterator[Row]:
    images = study.test[torch.from_numpy(numbers)]
    yield {"right": found_among(study.model(*key), images, (1,), device=study.device)[:, 0].numpy()}


def _attacked(study: Study, key: ModelKey, numbers: np.ndarray, batch: int) -> Iterator[Row]:
    """One batch of `models.evaluation.survivors`, with the draws that it has there."""
    config = study.preset.evaluation
    images, labels = next(study.test[torch.from_numpy(numbers)].batches(len(numbers), study.device))
    draws = torch.Generator(study.device).manual_seed(mixed_seed(0, batch))
    effort = {"steps": config.pgd_steps, "restarts": config.pgd_restarts, "precision": "auto"}
    with evaluating(folded(study.model(*key))) as model:
        attacked = attacks.pgd(model, images, labels, config.eps, generator=draws, **effort)
        with torch.no_grad():
            yield {"right_pgd": (model(attacked).argmax(1) == labels).cpu().numpy()}


def _accuracies(study: Study, key: ModelKey) -> Iterator[Row]:
    right, best = measure.clean_answers(study, key)
    yield {"top1": percent(right), "top5": percent(best), "images": len(right)}


def _under_fgsm(study: Study, key: ModelKey, right: np.ndarray) -> Iterator[Row]:
    config = study.preset.evaluation
    where = {"batch_size": config.batch_size, "device": study.device, "right": torch.from_numpy(right)}
    alive = survivors(study.model(*key), study.test, lambda m, x, y, g: attacks.fgsm(m, x, y, config.eps), **where)
    yield {"robust_fgsm": percent(alive)}
