"""Everything of the committed results that can be measured again: the units of all notebooks."""

import random
from collections.abc import Iterator

from advlook.experiments.attack import units as attack
from advlook.experiments.claims import units as claims
from advlook.experiments.corruptions import units as corruptions
from advlook.experiments.ensembles import units as ensembles
from advlook.experiments.sanity_checks import units as sanity_checks
from advlook.experiments.stylization import units as stylization
from advlook.experiments.train import units as train
from advlook.experiments.visualize import units as visualize
from advlook.study.study import Study
from advlook.study.verification import Derived, Unit

NOTEBOOKS = (train, attack, visualize, corruptions, stylization, ensembles, sanity_checks, claims)


def every_unit(study: Study, rng: random.Random) -> Iterator[Unit | Derived]:
    """The units of every notebook whose tables are there."""
    written = {path.name[:2] for path in (study.output / "tables").glob("[0-9][0-9]_*.csv")}
    for number, notebook in enumerate(NOTEBOOKS, 1):
        if f"{number:02}" in written:
            yield from notebook.units(study, rng)
