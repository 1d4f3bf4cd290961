"""Models compared image by image, from tables whose cells hold per-image answers."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

Answers = Callable[[pd.DataFrame], np.ndarray]  # from the rows of one model to `(images, columns)`


def right_of(rows: pd.DataFrame) -> np.ndarray:
    """Which images were right, one line a row: bool `(rows, images)`. rows: with a column "right" of arrays."""
    return np.stack(list(rows["right"]))


def answers(*columns: str) -> Answers:
    """Of a model with one row: its per-image answers in these columns, `(images, columns)`."""
    return lambda run: np.stack([run.iloc[0][column] for column in columns], axis=1)


def pooled(rows: pd.DataFrame, values: Answers) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Answers by setting: for "all" seeds, averaged image by image, and for each of several."""
    each = {
        setting: {str(seed): values(run) for seed, run in models.groupby("seed")}
        for setting, models in rows.groupby("setting", sort=False)
    }
    yield "all", {setting: np.mean(list(runs.values()), axis=0) for setting, runs in each.items()}
    seeds = list(next(iter(each.values())))
    for seed in seeds if len(seeds) > 1 else ():
        yield seed, {setting: runs[seed].astype(float) for setting, runs in each.items()}


def by_seed(rows: pd.DataFrame, values: Answers) -> tuple[list[int], np.ndarray]:
    """The seeds with both a STD and an ADV model, and their answers `(images, seeds, 2 columns)`, STD's columns first.
    rows: of one architecture. An image for which any model gives nan is left out."""
    each = {key: values(run) for key, run in rows.groupby(["setting", "seed"])}
    seeds = sorted(seed for setting, seed in each if setting == "std" and ("adv", seed) in each)
    if not seeds:
        return [], np.empty((0, 0, 0))
    found = np.stack([np.concatenate([each["std", seed], each["adv", seed]], axis=1) for seed in seeds], axis=1)
    return seeds, found[~np.isnan(found).any((1, 2))]


def by_checkpoint(members: Sequence[str], values: np.ndarray, checkpoints: Sequence[str]) -> np.ndarray:
    """A value of each checkpoint, `(units, checkpoints)`, from the values of runs, `(units, runs)`, with the same mean.
    Runs that join two models share checkpoints, so the spread of runs understates that of trainings. These values are
    jackknife pseudo-values: n times the mean, less n - 1 times the mean of the runs without a checkpoint. Where every
    run has a checkpoint of its own they are the runs; where no run is without a checkpoint, the mean. members: of each
    run, such as "std-0 std-1"; runs of the same members are averaged first."""
    joined = [frozenset(each.split()) for each in members]
    distinct = {each: values[:, [other == each for other in joined]].mean(1) for each in dict.fromkeys(joined)}
    mean = np.mean(list(distinct.values()), axis=0)
    without = [[found for each, found in distinct.items() if one not in each] for one in checkpoints]
    count = len(checkpoints)
    return np.stack([count * mean - (count - 1) * (np.mean(w, axis=0) if w else mean) for w in without], axis=1)


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table `07_sanity` with the names of its models taken apart. comparison: "random-std" and the like for pairs,
    "up" for fresh stages; setting: of the second; stage: the lowest fresh one."""
    words = table["model_b"].str.split(" ", expand=True).reindex(columns=range(3)).astype(object)
    first, second = (names.str.split("-").str[0] for names in (table["model_a"], words[0]))
    return table.assign(comparison=words[2].fillna(first + "-" + second), setting=second, stage=words[1].fillna(""))


def named(run: pd.DataFrame) -> np.ndarray:
    """What a model names at each cut-off, `(pairs, cut-offs)`: 1 the coarse image, -1 the fine one, 0 neither."""
    run = run.sort_values("cutoff")
    return (np.stack(list(run["by_coarse"])).astype(float) - np.stack(list(run["by_fine"]))).T


def bands_and_noise(masking: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The centres of the bands and the standard deviations of the noise in `04_masking`, without those of no noise."""
    bands, noise = (np.sort(masking[name].unique())[1:] for name in ("frequency", "noise"))
    return bands, noise


def under_noise(run: pd.DataFrame) -> np.ndarray:
    """Which images a model answers right, `(images, 1 + bands * noise)`: without noise, then by band and noise."""
    return right_of(run.sort_values(["frequency", "noise"])).T.astype(float)


# Effects of means `(..., columns)`, the columns of STD before those of ADV: each returns `(...)` ---------------------


def lead(means: np.ndarray) -> np.ndarray:
    """ADV - STD in points, in the last column of each."""
    return 100 * (means[..., -1] - means[..., means.shape[-1] // 2 - 1])


def lead_before(means: np.ndarray) -> np.ndarray:
    """STD - ADV in points, in the first column of each."""
    return 100 * (means[..., 0] - means[..., means.shape[-1] // 2])


def lost_more(means: np.ndarray) -> np.ndarray:
    """By how many points more STD loses than ADV from the first to the last column of each."""
    return lead(means) + lead_before(means)


def difference(means: np.ndarray) -> np.ndarray:
    """ADV - STD, in the unit of the one column of each."""
    return means[..., 1] - means[..., 0]


def less(means: np.ndarray) -> np.ndarray:
    """By how many percent ADV is below STD, in the one column of each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * (1 - means[..., 1] / means[..., 0])


def bias(means: np.ndarray) -> np.ndarray:
    """The first of two columns, of a single model, in percent of their sum; nan where both are 0."""
    with np.errstate(invalid="ignore"):
        return 100 * means[..., 0] / means.sum(-1)


def bias_difference(means: np.ndarray) -> np.ndarray:
    """ADV - STD in points of `bias`, with two columns of each."""
    return bias(means[..., 2:]) - bias(means[..., :2])


def relative_difference(means: np.ndarray) -> np.ndarray:
    """ADV - STD in points `(..., levels)`, accuracies in percent of the model's own at level 0; nan or infinite where
    that is 0."""
    std, adv = np.split(means, 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * (adv / adv[..., :1] - std / std[..., :1])
