"""What notebook 06 compares: STD+ADV with other ensembles, on every image set and at every resolution of one set.
Ensembles are compared image by image on the same test images; the answers of a combination's runs to an image are
averaged first, and intervals are over images. Differences are in points of top-1 accuracy."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from advlook.core import RequestError
from advlook.experiments.ensembles.runs import FROZEN, WHERE, every_run, kept, make
from advlook.experiments.ensembles.targets import find_targets
from advlook.stats import interval, right_of
from advlook.study import Study

CONTRASTS: dict[tuple[str, str], tuple[str, ...]] = {  # what is compared with the best of what
    ("STD+ADV", "better pair"): ("STD+STD", "ADV+ADV"),
    ("STD+ADV", "better single"): ("STD", "ADV"),
    **{("STD+ADV", other): (other,) for other in ("STD", "ADV", "STD+STD", "ADV+ADV")},
    ("STD+STD", "ADV+ADV"): ("ADV+ADV",),
    ("STD", "ADV"): ("ADV",),
}
_RUN = ["combination", "seed", "top1", "images"]
_COMPARED = [*WHERE, "combination", "against", "difference", "low", "high", "images"]
_TREND = ["arch", "dataset", "mode", "combination", "against", "coarsest", "finest", "change", "low", "high", "images"]


def fusion_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make all runs (RequestError without a target); save `06_runs`, and save and return `06_ensembles` (without the
    answers), `06_resolution` (sets degraded further and further, frozen backbones), `06_comparisons`, `06_trends`."""
    config = study.preset.ensembles
    targets, absent = find_targets(study, config.targets)
    if not targets:
        raise RequestError(f"no target of preset {study.preset.name} is here: {'; '.join(absent.values())}")
    whole, _ = find_targets(study, config.degraded)
    levels = [each.at(side) for each in whole for side in (*config.sides, each.pixels)]
    runs = every_run(study, targets), every_run(study, dict.fromkeys(levels), modes=(FROZEN,))
    make(study, dict.fromkeys([*runs[0], *runs[1]]))  # all at once, before they are told apart
    fused, resolved = (kept(study, each) for each in runs)
    resolved = resolved.rename(columns={"pixels": "resolution"})
    tables = {"06_runs": fused, "06_resolution": resolved[["arch", "dataset", "resolution", *_RUN, "right"]]}
    tables |= derived_tables(tables)
    names = ("06_runs", "06_ensembles", "06_resolution", "06_comparisons", "06_trends")
    return tuple(study.save_table(name, tables[name]) for name in names)[1:]


def derived_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """`06_ensembles`, `06_comparisons` and `06_trends` from `06_runs` and `06_resolution`: without images or models. Of
    a `06_resolution` without the answers to every image, as of earlier versions, nothing is derived."""
    fused = tables["06_runs"]
    found = {"06_ensembles": fused[[*WHERE, *_RUN, "members", "parameters"]]}
    compared = [comparisons(fused).assign(table="06_ensembles")]
    if "right" in tables["06_resolution"]:
        resolved = tables["06_resolution"].rename(columns={"resolution": "pixels"}).assign(mode=FROZEN)
        compared.append(comparisons(resolved).assign(table="06_resolution"))
        found["06_trends"] = trends(resolved)
    return found | {"06_comparisons": pd.concat(compared, ignore_index=True)}


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Every one of CONTRASTS wherever its combinations are: the difference with its 95% interval (low, high). The
    better of two is whichever is better on the resampled images. rows: of `runs.measure`."""
    found = []
    for where, runs in rows.groupby(WHERE, sort=False):
        right = _shares(runs)
        possible = [key for key, others in CONTRASTS.items() if {key[0], *others} <= right.keys()]
        if possible:
            values = 100 * np.stack(list(right.values()), axis=1)
            effects = interval(values, partial(_leads, list(right), possible))
            found += [(*where, *key, *effect, len(values)) for key, *effect in zip(possible, *effects, strict=True)]
    return pd.DataFrame(found, columns=_COMPARED)


def trends(rows: pd.DataFrame) -> pd.DataFrame:
    """By how many points the lead of STD over ADV changes from the finest to the coarsest resolution of one set, with
    its 95% interval over images. rows: of `runs.measure`, on levels of the same images."""
    found = []
    for where, levels in rows.groupby(["arch", "dataset", "mode"], sort=False):
        ends = levels["pixels"].min(), levels["pixels"].max()
        coarse, fine = (_shares(levels[levels["pixels"] == end]) for end in ends)
        for a, b in (("STD+STD", "ADV+ADV"), ("STD", "ADV")):
            if a in fine and b in fine and ends[0] < ends[1]:
                change = 100 * ((coarse[a] - coarse[b]) - (fine[a] - fine[b]))
                found.append((*where, a, b, *ends, *map(float, interval(change)), len(change)))
    return pd.DataFrame(found, columns=_TREND)


def _shares(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """By combination, the share of its runs that are right about each image: `(images,)`."""
    return {name: right_of(each).mean(0) for name, each in runs.groupby("combination", sort=False)}


def _leads(names: Sequence[str], contrasts: Sequence[tuple[str, str]], means: np.ndarray) -> np.ndarray:
    """How far the first of each contrast is ahead of the best of the others: `(..., names)` to `(..., contrasts)`."""
    by_name = dict(zip(names, np.moveaxis(means, -1, 0), strict=True))
    best = [np.max([by_name[other] for other in CONTRASTS[key]], axis=0) for key in contrasts]
    return np.stack([by_name[key[0]] - other for key, other in zip(contrasts, best, strict=True)], axis=-1)
