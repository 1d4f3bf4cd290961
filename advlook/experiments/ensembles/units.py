"""What of notebook 06 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

from advlook.experiments.ensembles import measure
from advlook.experiments.ensembles.runs import FROZEN, WHERE, Runs, every_run
from advlook.experiments.ensembles.targets import find_targets
from advlook.study.study import Study
from advlook.study.verification import Derived, Unit, shares

ALLOWED = 0.01  # share of test images on which a classifier trained on another processor may answer otherwise


def units(study: Study, rng: random.Random) -> Iterator[Unit | Derived]:
    """Single runs with frozen backbones, on the image sets that are here.

    A fine-tuned run is a training of a whole network, whose result depends on the processor, and is not repeated.
    """
    runs = study.load_table("06_runs")
    tables = {"06_runs": runs, "06_resolution": study.load_table("06_resolution")}
    yield Derived("06_runs", lambda: shares(runs, {"top1": "right"}))
    derived = measure.derived_tables(tables)
    if "06_trends" in derived:  # the answers at every resolution are there
        for name, table in derived.items():
            yield Derived(name, lambda table=table: table)
    targets, _ = find_targets(study, study.preset.ensembles.targets)
    for each in every_run(study, targets, modes=(FROZEN,)):
        where = dict(zip(WHERE, (each.arch, each.target.title, each.target.pixels, each.mode), strict=True))
        for combination, run in each.chosen:
            single = Runs(each.arch, each.target, each.mode, ((combination, run),))
            about, allowed = where | {"combination": combination, "seed": run}, round(ALLOWED * each.target.test)
            yield Unit("06_runs", about, partial(single.rows, study), allowed=allowed)
