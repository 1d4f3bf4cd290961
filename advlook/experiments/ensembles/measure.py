"""What notebook 06 concludes: how STD+ADV compares with other ensembles, and which sentences of section 4.2 hold.

Ensembles are compared image by image on the same test images; what the runs of a combination answer about an image is
averaged first, and intervals are over images. Differences are in points of top-1 accuracy.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from advlook.core.errors import RequestError
from advlook.experiments.ensembles.runs import every_run, measure
from advlook.experiments.ensembles.targets import find_targets
from advlook.stats.bootstrap import interval
from advlook.stats.paired import right_of
from advlook.stats.rules import COMPARABLE
from advlook.study.study import Study

CONTRASTS: dict[tuple[str, str], tuple[str, ...]] = {  # what is compared with the best of what
    ("STD+ADV", "better pair"): ("STD+STD", "ADV+ADV"),
    ("STD+ADV", "better single"): ("STD", "ADV"),
    ("STD+ADV", "STD"): ("STD",),
    ("STD+ADV", "ADV"): ("ADV",),
    ("STD+ADV", "STD+STD"): ("STD+STD",),
    ("STD+ADV", "ADV+ADV"): ("ADV+ADV",),
    ("STD+STD", "ADV+ADV"): ("ADV+ADV",),
    ("STD", "ADV"): ("ADV",),
}
WHERE = ["arch", "dataset", "pixels", "mode"]
RUNS = ["combination", "seed", "top1", "images"]


# Tables ------------------------------------------------------------------------------------------------------------


def fusion_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make all runs; save and return `06_ensembles`, `06_resolution`, `06_comparisons` and `06_trends`.

    `06_runs` is saved as well: the first of them with which images were right.

    The first two have a row a run: on every target of the preset that is there; and, with frozen backbones, on sets
    that are degraded further and further. `06_comparisons` holds `comparisons` of both, told apart by its column
    "table"; `06_trends` those of `trends`. Raises RequestError where no target is there.
    """
    config = study.preset.ensembles
    targets, absent = find_targets(study, config.targets)
    if not targets:
        raise RequestError(f"no target of preset {study.preset.name} is here: {'; '.join(absent.values())}")
    whole, _ = find_targets(study, config.degraded)
    levels = [level for target in whole for level in (*(target.at(side) for side in config.sides), target)]
    runs = every_run(study, targets), every_run(study, dict.fromkeys(levels), modes=("frozen",))
    measure(study, dict.fromkeys([*runs[0], *runs[1]]))  # all at once, before they are told apart
    fused, resolved = (measure(study, each) for each in runs)
    study.save_table("06_runs", fused)
    compared = {"06_ensembles": comparisons(fused), "06_resolution": comparisons(resolved)}
    tables = {
        "06_ensembles": fused[[*WHERE, *RUNS, "members", "parameters"]],
        "06_resolution": resolved.rename(columns={"pixels": "resolution"})[["arch", "dataset", "resolution", *RUNS]],
        "06_comparisons": pd.concat([table.assign(table=name) for name, table in compared.items()], ignore_index=True),
        "06_trends": trends(resolved),
    }
    return tuple(study.save_table(name, table) for name, table in tables.items())


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Every one of CONTRASTS wherever its combinations are: arch, dataset, pixels, mode, combination, against, and the
    difference with its 95% interval (low, high) over so many images.

    Where the better of two is meant, it is the one that is better on the resampled images: against whichever happens to
    lead. rows: of `transfer.measure`.
    """
    found = []
    for where, runs in rows.groupby(WHERE, sort=False):
        right = _shares(runs)
        possible = [key for key, others in CONTRASTS.items() if {key[0], *others} <= right.keys()]
        if possible:
            values = 100 * np.stack(list(right.values()), axis=1)
            effects = interval(values, partial(_leads, list(right), possible))
            found += [(*where, *key, *effect, len(values)) for key, *effect in zip(possible, *effects, strict=True)]
    return pd.DataFrame(found, columns=[*WHERE, "combination", "against", "difference", "low", "high", "images"])


def trends(rows: pd.DataFrame) -> pd.DataFrame:
    """How much of STD's lead over ADV is lost between the finest and the coarsest resolution of one set, in points.

    combination, against: the pairs of equals, and the single models; change: their difference at the coarsest less
    that at the finest, with its 95% interval over images. rows: of `transfer.measure`, on levels of the same images.
    """
    found = []
    for where, levels in rows.groupby(["arch", "dataset", "mode"], sort=False):
        ends = levels["pixels"].min(), levels["pixels"].max()
        coarse, fine = (_shares(levels[levels["pixels"] == end]) for end in ends)
        for a, b in (("STD+STD", "ADV+ADV"), ("STD", "ADV")):
            if a in fine and b in fine and ends[0] < ends[1]:
                change = 100 * ((coarse[a] - coarse[b]) - (fine[a] - fine[b]))
                found.append((*where, a, b, *ends, *map(float, interval(change)), len(change)))
    about = ["arch", "dataset", "mode", "combination", "against", "coarsest", "finest"]
    return pd.DataFrame(found, columns=[*about, "change", "low", "high", "images"])


def _shares(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """By combination, how often its runs are right about each image: `(images,)`."""
    return {name: right_of(each).mean(0) for name, each in runs.groupby("combination", sort=False)}


def _leads(names: Sequence[str], contrasts: Sequence[tuple[str, str]], means: np.ndarray) -> np.ndarray:
    """How far the first of each contrast is ahead of the best of the others: `(..., names)` to `(..., contrasts)`."""
    leads = [
        means[..., names.index(key[0])] - means[..., [names.index(other) for other in CONTRASTS[key]]].max(-1)
        for key in contrasts
    ]
    return np.stack(leads, axis=-1)


# Conclusions -------------------------------------------------------------------------------------------------------


def sentences(compared: pd.DataFrame, changed: pd.DataFrame, size: int) -> pd.DataFrame:
    """What section 4.2 says, and in how many cases it holds here: sentence, mode, cases, yes, no, open.

    A case is an architecture and image set. "yes": the whole interval says so; "no": the whole interval speaks against
    it; "open": it allows both. The paper calls the sets up to Tiny ImageNet of low resolution; here a set is, if it has
    at most half of the `size` pixels a side that the models see, which leaves STL-10 the only one to change sides.
    compared: `06_comparisons`; changed: `06_trends`.
    """
    low = compared["pixels"] <= size / 2
    sets = compared["table"] == "06_ensembles"
    pair, single, equals = (
        (compared["combination"] == a) & (compared["against"] == b)
        for a, b in (("STD+ADV", "better pair"), ("STD+ADV", "better single"), ("STD+STD", "ADV+ADV"))
    )
    trend = changed["combination"] == "STD+STD"
    asked = {
        "STD+ADV is more accurate than STD and ADV": (compared[sets & single], 1, 0.0),
        "STD+STD is more accurate than ADV+ADV where the resolution is high": (compared[sets & equals & ~low], 1, 0.0),
        "ADV+ADV is more accurate than STD+STD where the resolution is low": (compared[sets & equals & low], -1, 0.0),
        f"STD+ADV is at most {COMPARABLE:g} point behind the better pair": (compared[sets & pair], 1, -COMPARABLE),
        "the same at every resolution of one set": (compared[~sets & pair], 1, -COMPARABLE),
        "STD+STD loses its lead as one set gets coarser": (changed[trend], -1, 0.0),
        "STD+ADV is more accurate than the better pair (not in the paper)": (compared[sets & pair], 1, 0.0),
    }
    found = []
    for sentence, (rows, sign, bound) in asked.items():
        for mode, cases in rows.groupby("mode", sort=False):
            ends = sign * cases[["low", "high"]]
            yes, no = int((ends.min(axis=1) > bound).sum()), int((ends.max(axis=1) < bound).sum())
            found.append((sentence, mode, len(cases), yes, no, len(cases) - yes - no))
    return pd.DataFrame(found, columns=["sentence", "mode", "cases", "yes", "no", "open"])
