"""What claims on ensembles compare, from notebook 06's tables: combinations on the same test images, as a mean over
image sets, and on the same photographs at two resolutions. On a few hundred test images an interval is wider than the
point or two that combinations differ by; the mean over several sets is known better."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from advlook.core.names import FROZEN, LOW
from advlook.experiments.claims.samples import rows_of
from advlook.stats import Estimate, Sample, mean_of, paired, right_of
from advlook.stats.bootstrap import Effect
from advlook.stats.rules import Tables, Untested


def ensembles(names: Sequence[str], tables: Tables, arch: str, low: bool | None = None) -> list[Estimate]:
    """How far the first of these combinations is ahead of the best of the others [points], in the mean over all sets,
    or those (not) `low`, with frozen backbones: fine-tuned ones are of few sets. Sets that are `known` to the backbones
    are left out; of a set at several resolutions, whose images are the same, the finest counts."""
    rows = rows_of(tables, "06_runs", arch, "right", "members", "known")
    rows = rows[(rows["mode"] == FROZEN) & ~rows["known"].astype(bool)]
    rows = rows if low is None else rows[(rows["pixels"] <= LOW) == low]
    rows = rows[rows["pixels"] == rows.groupby("dataset")["pixels"].transform("max")]
    sets = [each for _, each in rows.groupby("dataset", sort=False)]
    found = [_joined([_runs_of(each, name) for name in names], _lead) for each in sets]
    if len(found) < 2:
        wanted = "" if low is None else "of low resolution " if low else "of high resolution "
        raise Untested(f"image sets {wanted}that were run and are new to the backbones: {len(found)}; it takes two")
    return [mean_of(found, f"mean of {len(found)} image sets")]


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
    return [mean_of(list(found.values()), next(iter(found)) if len(found) == 1 else f"mean of {len(found)} image sets")]


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
