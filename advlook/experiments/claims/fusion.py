"""What claims on ensembles compare, from notebook 06's tables: combinations on the same test images, as a mean over
image sets, and on the same photographs at two resolutions. On a few hundred test images an interval is wider than the
point or two that combinations differ by; the mean over several sets is known better."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from advlook.experiments.claims.samples import rows_of
from advlook.stats import Estimate, Sample, mean_of, paired, right_of
from advlook.stats.bootstrap import Effect
from advlook.stats.rules import Tables, Untested

LOW = 32  # pixels a side up to which image sets are of low resolution, as those of the paper are


def ensembles(names: Sequence[str], tables: Tables, arch: str, low: bool | None = None) -> list[Estimate]:
    """How far the first of these combinations is ahead of the best of the others [points], in the mean over all sets,
    or those (not) `low`. Sets on which the backbones were trained are left out; of a set at several resolutions, whose
    images are the same, the finest counts. Of fine-tuned and frozen ones those count that are more accurate: the others
    have not learned the set."""
    rows = rows_of(tables, "06_runs", arch, "right", "members")
    rows = rows[~_known(rows["dataset"], tables)]
    rows = rows if low is None else rows[(rows["pixels"] <= LOW) == low]
    rows = rows[rows["pixels"] == rows.groupby("dataset")["pixels"].transform("max")]
    found = []
    for _, both in rows.groupby("dataset", sort=False):
        mode = both.groupby("mode")["top1"].mean().idxmax()
        chosen = both[both["mode"] == mode]
        found.append(_joined([_runs_of(chosen, name) for name in names], _lead))
    if len(found) < 2:
        wanted = "" if low is None else "of low resolution " if low else "of high resolution "
        raise Untested(f"image sets {wanted}that were run and are new to the backbones: {len(found)}; it takes two")
    return [_mean(found, f"mean of {len(found)} image sets")]


def resolution(names: Sequence[str], sign: int, tables: Tables, arch: str) -> list[Estimate]:
    """By how many points the lead of the first of these combinations over the best of the others grows (with sign -1,
    shrinks) from the finest to the coarsest resolution of the same photographs, in the mean over sets. The set on which
    the backbones were trained counts as well: it is compared with itself."""

    def change(means: np.ndarray) -> np.ndarray:
        fine, coarse = np.split(means, 2, axis=-1)
        return sign * (_lead(coarse) - _lead(fine))

    rows = rows_of(tables, "06_resolution", arch, "right", "members")
    found = {}
    for dataset, levels in rows.groupby("dataset", sort=False):
        ends = levels["resolution"].max(), levels["resolution"].min()
        if ends[0] > ends[1]:
            chosen = [levels[levels["resolution"] == end] for end in ends]
            runs = [_runs_of(each, name) for each in chosen for name in names]
            found[f"{dataset}, {ends[0]} to {ends[1]} px"] = _joined(runs, change)
    if not found:
        raise Untested("no image set was run at two resolutions")
    return [_mean(list(found.values()), next(iter(found)) if len(found) == 1 else f"mean of {len(found)} image sets")]


def _known(datasets: pd.Series, tables: Tables) -> pd.Series:
    """Which image sets are part of what the backbones were trained on, by `06_datasets`; none by a table of earlier
    versions. Titles may go on with what lies here: "CIFAR-10 (JPEG)"."""
    listed = tables.get("06_datasets", pd.DataFrame())
    known = listed.loc[listed["known"].eq(True), "dataset"] if "known" in listed else []
    return (datasets + " (").str.startswith(tuple(f"{title} (" for title in known))


def _lead(means: np.ndarray) -> np.ndarray:
    """How far the first column is ahead of the best of the others [points]: `(..., columns)` to `(...)`."""
    return 100 * (means[..., 0] - means[..., 1:].max(-1))


def _runs_of(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs of one combination."""
    runs = rows[rows["combination"] == name]
    if runs.empty:
        raise Untested(f"there is no {name}: two of a kind take two seeds (pairs of models)")
    return runs


def _joined(columns: Sequence[pd.DataFrame], effect: Effect) -> Sample:
    """The sample of one image set; a column is of the runs of one combination. Its seeds are those of the checkpoints
    that were joined: `by_checkpoint` of the kind that a combination names first. Where each combination has only one
    set of members, as pairs of two models, of one."""
    members = [list(runs["members"]) for runs in columns]
    seeds = sorted({int(member.split("-")[1]) for each in members for run in each for member in run.split()})
    found = []
    for runs, joined in zip(columns, members, strict=True):
        kind = runs["combination"].iloc[0].split("+")[0].lower()
        found.append(paired.by_checkpoint(joined, right_of(runs).T, [f"{kind}-{seed}" for seed in seeds]))
    alone = all(len({frozenset(run.split()) for run in each}) == 1 for each in members)
    count = 1 if alone else len(seeds)
    return Sample(np.stack(found, axis=2)[:, :count], effect, seeds[:count])


def _mean(sets: Sequence[Sample], at: str) -> Estimate:
    """`mean_of` the sets. Where not all were run with the same checkpoints, as with fewer fine-tuned runs than frozen
    ones, seeds cannot be followed over sets: each is averaged over its own, and counts as of one seed."""
    if len({tuple(each.seeds) for each in sets}) > 1:
        sets = [replace(each, values=each.values.mean(1, keepdims=True), seeds=[0]) for each in sets]
    return mean_of(sets, at)
