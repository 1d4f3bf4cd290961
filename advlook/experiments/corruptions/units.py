"""What of notebook 04 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from advlook.corruptions.severities import FAMILIES
from advlook.experiments.corruptions import measure
from advlook.study.study import ModelKey, Study
from advlook.study.verification import Derived, Row, Unit, drawn, shares, who


def units(study: Study, rng: random.Random) -> Iterator[Unit | Derived]:
    """Answers to drawn images under one operation at every level; one corruption at every severity."""
    sweeps, images = study.load_table("04_sweeps"), len(measure.swept_images(study))
    yield Derived("04_sweeps", lambda: shares(sweeps, {"top1": "right"}))
    yield Derived("04_corruptions", lambda: sweeps[measure.COLUMNS])
    yield Derived("04_differences", lambda: measure.differences(sweeps))
    yield Derived("04_crossings", lambda: measure.crossings(sweeps))
    for key in study.each_model():
        for operation in sweeps["operation"].unique():
            numbers = drawn(images, rng)
            again = partial(_answers, study, key, operation, numbers)
            yield Unit("04_sweeps", who(key) | {"operation": operation}, again, ("level",), numbers)
        for title in FAMILIES:
            again = partial(measure.family_rows, study, key, title)
            yield Unit("04_families", who(key) | {"corruption": title}, again, ("severity",), allowed=1)


def _answers(study: Study, key: ModelKey, operation: str, numbers: np.ndarray) -> Iterator[Row]:
    rows = measure.sweep_rows(study, key, operation, torch.from_numpy(numbers))
    return ({"level": row["level"], "right": row["right"]} for row in rows)
