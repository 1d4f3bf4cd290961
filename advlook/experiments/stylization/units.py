"""What of notebook 05 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch

from advlook.core.names import STYLIZED
from advlook.experiments.stylization import measure
from advlook.experiments.stylization.images import CHUNK
from advlook.study.study import ModelKey, Study
from advlook.study.verification import ATTACKED, Derived, Row, Unit, drawn, shares, who


def units(study: Study, rng: random.Random) -> Iterator[Unit | Derived]:
    """Answers to drawn images of one variant, and to cue conflicts; stylized ones are made again in whole chunks."""
    rows, decided = study.load_table("05_variants"), study.load_table("05_conflicts")
    chance = 100 / study.preset.data.classes
    yield Derived("05_variants", lambda: shares(rows, {"top1": "right", "control": "right_control"}))
    yield Derived("05_stylization", lambda: rows[measure.COLUMNS])
    yield Derived("05_checks", lambda: measure.validity(study.load_table("05_checked"), chance))
    yield Derived(
        "05_differences",
        lambda: pd.concat([measure.differences(rows), measure.bias_differences(decided)], ignore_index=True),
    )
    for row in rows.itertuples():
        key, variant = (row.arch, row.setting, row.seed), (row.variant, float(row.strength))
        made = row.variant == STYLIZED and row.strength > 0
        numbers = _chunk(row.images, rng) if made else drawn(row.images, rng)
        about = who(key) | dict(zip(("variant", "strength"), variant, strict=True))
        again = partial(_answers, study, key, variant, numbers)
        yield Unit("05_variants", about, again, (), numbers, allowed=ATTACKED if made else 0)
    for row in decided.itertuples():
        key, numbers = (row.arch, row.setting, row.seed), _chunk(row.images, rng)
        again = partial(_decisions, study, key, numbers)
        yield Unit("05_conflicts", who(key), again, (), numbers, allowed=ATTACKED)


def _chunk(images: int, rng: random.Random) -> np.ndarray:
    first = CHUNK * rng.randrange(-(-images // CHUNK))
    return np.arange(first, min(first + CHUNK, images))


def _answers(study: Study, key: ModelKey, variant: measure.Variant, numbers: np.ndarray) -> Iterator[Row]:
    for row in measure.variant_rows(study, key, variant, torch.from_numpy(numbers)):
        yield {name: row[name] for name in ("right", "right_control")}


def _decisions(study: Study, key: ModelKey, numbers: np.ndarray) -> Iterator[Row]:
    for row in measure.conflict_rows(study, key, torch.from_numpy(numbers)):
        yield {name: row[name] for name in ("by_shape", "by_texture")}
