"""The verdicts of notebook 08, from the tables that they follow from."""

import random
from collections.abc import Iterator
from functools import cache

from advlook.experiments.claims import measure
from advlook.study.study import Study
from advlook.study.verification import Derived


def units(study: Study, rng: random.Random) -> Iterator[Derived]:
    """Every comparison and every verdict."""

    @cache
    def derived() -> dict:
        return measure.derived_tables(measure.load_tables(study))

    for name in ("08_comparisons", "08_claims"):
        yield Derived(name, lambda name=name: derived()[name])
