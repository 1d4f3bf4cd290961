"""What notebook 06 compares: STD+ADV with other ensembles, on every image set and at every resolution of one set.
Ensembles are compared image by image on the same test images; the answers of a combination's runs to an image are
averaged first, and intervals are over images. Differences are in points of top-1 accuracy."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from advlook.core import RequestError
from advlook.experiments.ensembles.runs import FINE_TUNED, FROZEN, WHERE, every_run, kept, make
from advlook.experiments.ensembles.targets import find_targets
from advlook.models.fusion import COMBINATIONS
from advlook.stats import interval, right_of
from advlook.study import Study

CONTRASTS: dict[tuple[str, str], tuple[str, ...]] = {  # what is compared with the best of what
    ("STD+ADV", "better pair"): ("STD+STD", "ADV+ADV"),
    ("STD+ADV", "better single"): ("STD", "ADV"),
    **{("STD+ADV", other): (other,) for other in ("STD", "ADV", "STD+STD", "ADV+ADV")},
    ("STD+STD", "ADV+ADV"): ("ADV+ADV",),
    ("STD", "ADV"): ("ADV",),
    **{(other, "STD"): ("STD",) for other in ("ADV", "STD+STD", "ADV+ADV")},
}
_TRENDS = ("STD+STD", "ADV+ADV"), ("STD", "ADV"), ("STD+ADV", "better pair")  # of CONTRASTS
_RUN = ["combination", "seed", "top1", "images", "members"]
_COMPARED = [*WHERE, "combination", "against", "difference", "low", "high", "images"]
_TRANSFER = ["arch", "dataset", "pixels", "known", "classes", "setting", "seed", "eps", "top1", "images", "right"]
_EFFECT = ["arch", "dataset", "pixels", "known", "eps", "difference", "low", "high", "seeds", "images"]
_TREND = ["arch", "dataset", "mode", "combination", "against", "coarsest", "finest", "change", "low", "high", "images"]


def fusion_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Make all runs (RequestError without a target); save and return `06_runs`, `06_resolution` (sets degraded further
    and further, frozen backbones), `06_transfer` (single frozen backbones by their radius in training; empty where
    there are no others than STD and ADV), and all of `derived_tables`."""
    config, preset = study.preset.ensembles, study.preset
    targets, absent = find_targets(study, config.targets)
    if not targets:
        raise RequestError(f"no target of preset {preset.name} is here: {'; '.join(absent.values())}")
    tuned, _ = find_targets(study, config.fine_tuned, tuned=True)
    whole, _ = find_targets(study, config.degraded)
    levels = [each.at(side) for each in whole for side in (*config.sides, each.pixels)]
    frozen = every_run(study, dict.fromkeys([*targets, *levels]), (FROZEN,))
    tuned_runs = every_run(study, tuned, (FINE_TUNED,))
    make(study, [*tuned_runs, *frozen])  # all at once, before they are told apart
    fused = kept(study, [*tuned_runs, *(each for each in frozen if each.target in targets)])
    resolved = kept(study, [each for each in frozen if each.target in levels]).rename(columns={"pixels": "resolution"})
    joined, resolved = (each[each["combination"].isin(COMBINATIONS)] for each in (fused, resolved))
    columns = ["arch", "dataset", "resolution", "classes", *_RUN, "right"]
    tables = {"06_runs": joined, "06_resolution": resolved[columns], "06_transfer": transfer(fused, preset.doses)}
    return {name: study.save_table(name, table) for name, table in (tables | derived_tables(tables)).items()}


def derived_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """`06_ensembles`, `06_comparisons`, `06_trends` and `06_transfer_effects` from `06_runs`, `06_resolution` and
    `06_transfer`: without images or models."""
    fused = tables["06_runs"]
    resolved = tables["06_resolution"].rename(columns={"resolution": "pixels"}).assign(mode=FROZEN)
    compared = {"06_ensembles": comparisons(fused), "06_resolution": comparisons(resolved)}
    return {
        "06_ensembles": fused.drop(columns="right"),
        "06_comparisons": pd.concat([each.assign(table=name) for name, each in compared.items()], ignore_index=True),
        "06_trends": trends(resolved),
        "06_transfer_effects": transfer_effects(tables["06_transfer"]),
    }


def transfer(rows: pd.DataFrame, doses: Mapping[str, float]) -> pd.DataFrame:
    """`06_transfer`: of rows of `runs.measure` those of single frozen backbones, with `setting` and training `seed` of
    the checkpoint and its radius `eps` in training; none where the `doses` by setting are those of STD and ADV alone.
    """
    single = rows[(rows["mode"] == FROZEN) & ~rows["combination"].str.contains("+", regex=False)]
    models = single["members"].str.rpartition("-")
    single = single.assign(setting=models[0], seed=models[2].astype(int), eps=models[0].map(doses))
    return (single if len(doses) > 2 else single[:0])[_TRANSFER]


def transfer_effects(table: pd.DataFrame) -> pd.DataFrame:
    """By how many points frozen features of each radius in training are more accurate than those of STD, over the seeds
    that both have, with the 95% interval over images. table: of `transfer`."""
    found = []
    for where, rows in table.groupby(_EFFECT[:4], sort=False):
        by_radius = {eps: each.set_index("seed")["right"] for eps, each in rows.groupby("eps")}
        standard = by_radius.pop(0.0, pd.Series(dtype=object))
        for eps, robust in by_radius.items():
            if seeds := [seed for seed in robust.index if seed in standard.index]:
                change = 100 * np.stack([robust[seed].astype(float) - standard[seed] for seed in seeds]).mean(0)
                found.append((*where, eps, *map(float, interval(change)), len(seeds), len(change)))
    return pd.DataFrame(found, columns=_EFFECT)


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
    """By how many points the lead of one combination over another (_TRENDS) changes from the finest to the coarsest
    resolution of one set, with its 95% interval over images. rows: of `runs.measure`, on levels of the same images."""
    found = []
    for where, levels in rows.groupby(["arch", "dataset", "mode"], sort=False):
        ends = levels["pixels"].min(), levels["pixels"].max()
        coarse, fine = (_shares(levels[levels["pixels"] == end]) for end in ends)
        asked = [key for key in _TRENDS if {key[0], *CONTRASTS[key]} <= fine.keys()]
        if asked and ends[0] < ends[1]:
            names = list(fine)
            values = 100 * np.stack([each[name] for each in (coarse, fine) for name in names], axis=1)
            changes = interval(values, partial(_changes, names, asked))
            found += [(*where, *key, *ends, *each, len(values)) for key, *each in zip(asked, *changes, strict=True)]
    return pd.DataFrame(found, columns=_TREND)


def _changes(names: Sequence[str], contrasts: Sequence[tuple[str, str]], means: np.ndarray) -> np.ndarray:
    """Of means of all names at the coarsest resolution, then at the finest, how leads differ between these."""
    coarse, fine = np.split(means, 2, axis=-1)
    return _leads(names, contrasts, coarse) - _leads(names, contrasts, fine)


def _shares(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """By combination, the share of its runs that are right about each image: `(images,)`."""
    return {name: right_of(each).mean(0) for name, each in runs.groupby("combination", sort=False)}


def _leads(names: Sequence[str], contrasts: Sequence[tuple[str, str]], means: np.ndarray) -> np.ndarray:
    """How far the first of each contrast is ahead of the best of the others: `(..., names)` to `(..., contrasts)`."""
    by_name = dict(zip(names, np.moveaxis(means, -1, 0), strict=True))
    best = [np.max([by_name[other] for other in CONTRASTS[key]], axis=0) for key in contrasts]
    return np.stack([by_name[key[0]] - other for key, other in zip(contrasts, best, strict=True)], axis=-1)
