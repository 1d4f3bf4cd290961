"""What claims on the radius in training compare: each radius with the next larger one, from notebook 09's tables."""

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from advlook.core.names import DOSE, MAIN
from advlook.experiments.claims.samples import coarser, rows_of, sample_of
from advlook.stats import Sample, answers
from advlook.stats.paired import lead_before
from advlook.stats.rules import Tables, Untested


def hybrids(tables: Tables, arch: str) -> list[Sample]:
    """By how many octaves a larger radius lowers the cut-off at which a model switches to the coarse image."""
    steps = _steps(tables, arch, "hybrids", "04_hybrids", "by_coarse", "by_fine")
    return [coarser(rows[rows["condition"] == MAIN], at) for at, rows in steps]


def accuracy(tables: Tables, arch: str) -> list[Sample]:
    """By how many points a larger radius lowers the accuracy on images as they are."""
    steps = _steps(tables, arch, "tradeoff", "01_tradeoff", "right")
    return [sample_of(rows, answers("right"), lead_before, at) for at, rows in steps]


def _steps(tables: Tables, arch: str, name: str, earlier: str, *columns: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """For every radius and the next larger one, in 255ths, the rows of their models: the smaller one's as those of STD,
    the larger one's as those of ADV. Of STD and ADV themselves from the `earlier` notebook's table."""
    if f"09_{name}" not in tables or "09_models" not in tables:
        raise Untested(f"no table 09_{name}, as of presets without [controls]; where there are some, run notebook 09")
    rows = pd.concat([rows_of(tables, each, arch, *columns) for each in (f"09_{name}", earlier)])
    models = tables["09_models"]
    doses = models[(models["kind"] == DOSE) & models["setting"].isin(rows["setting"])].sort_values("eps")
    if len(doses) < 3:
        raise Untested("no other radius than ADV's was trained with")
    for (_, smaller), (_, larger) in pairwise(doses.iterrows()):
        pair = rows[rows["setting"].isin([smaller["setting"], larger["setting"]])]
        roles = {smaller["setting"]: "std", larger["setting"]: "adv"}
        yield (
            f"{255 * smaller['eps']:g} to {255 * larger['eps']:g}/255",
            pair.assign(setting=pair["setting"].map(roles)),
        )
