"""Bootstrap intervals: how far an effect would move if other images of the same kind had been drawn.

The intervals of notebooks 01 to 07 resample images only: answers of several seeds are averaged image by image first.
Claims (notebook 08) resample seeds as well. Comparisons are paired: both models answered the same images, so images
that are hard for both do not widen an interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
_HELD = 2**22  # drawn indices in memory at once

Effect = Callable[[np.ndarray], np.ndarray]


def interval(values: np.ndarray, effect: Effect | None = None, draws: int = DRAWS) -> tuple[np.ndarray, ...]:
    """An effect with its 95% percentile bootstrap interval over images: effect, low, high; nan where there are none.
    values: `(n,)`, or `(n, columns)` with one row an image, resampled together. effect: a function of the columns'
    means, `(..., columns)` to `(...)` or to `(..., effects)`; by default the means themselves."""
    values = np.asarray(values, dtype=np.float64)
    effect = effect or (lambda means: means)
    if not len(values):
        nothing = effect(np.full(values.shape[1:], np.nan))
        return nothing, nothing, nothing
    # An effect may be infinite ("never"): each end must be one of the resamples, not a mean of two.
    low, high = np.percentile(effect(resampled_means(values, draws)), [2.5, 97.5], axis=0, method="inverted_cdf")
    return effect(values.mean(0)), low, high


def resampled_means(values: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means `(draws, ...)` of the rows of `values` `(n, ...)`, resampled with replacement. The seed is fixed: arrays
    with the same number of rows are resampled alike in every call."""
    rng, count, size = np.random.default_rng(0), len(values), max(1, _HELD // len(values))
    parts = []
    for start in range(0, draws, size):
        held = min(size, draws - start)
        chosen = rng.integers(count, size=(held, count)) + count * np.arange(held)[:, None]
        times = np.bincount(chosen.ravel(), minlength=held * count).reshape(held, count)
        parts.append(times @ values / count)
    return np.concatenate(parts)


def resampled_seeds(means: np.ndarray, effect: Effect) -> np.ndarray:
    """The effect `(draws,)` with the seeds of `means` `(draws, seeds, columns)` resampled with replacement. A resample
    of n values has (n - 1) / n of the variance it should have: deviations from the effect of all seeds are therefore
    stretched by sqrt(n / (n - 1)) (Rao and Wu, 1988). A single seed is not resampled."""
    draws, seeds, _ = means.shape
    whole = effect(means.mean(1))
    if seeds == 1:
        return whole
    weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    drawn = effect(np.einsum("ds,dsc->dc", weights, means))
    return whole + math.sqrt(seeds / (seeds - 1)) * (drawn - whole)


@dataclass(frozen=True)
class Sample:
    """The data of one comparison: `values` `(units, seeds, columns)`, and the effect as a function of column means.
    Units are what is resampled (images, filters), the same ones for all seeds. at: the image set or level, where there
    are several. untested: why no verdict may rest on this comparison; "" where one may."""

    values: np.ndarray
    effect: Effect
    seeds: Sequence[int]
    at: str = ""
    untested: str = ""


def resampled_effects(samples: Sequence[Sample], draws: int = DRAWS) -> list[np.ndarray]:
    """The effect of each sample with units and seeds resampled together: `(draws,)` each. Samples with the same number
    of units share their draws, which take most of the time."""
    found: dict[int, np.ndarray] = {}
    for units in {len(sample.values) for sample in samples}:
        chosen = [place for place, sample in enumerate(samples) if len(sample.values) == units]
        columns = [samples[place].values.reshape(units, -1).astype(np.float64) for place in chosen]
        means = resampled_means(np.concatenate(columns, axis=1), draws)
        parts = np.split(means, np.cumsum([column.shape[1] for column in columns])[:-1], axis=1)
        for place, part in zip(chosen, parts, strict=True):
            shape = samples[place].values.shape[1:]
            found[place] = resampled_seeds(part.reshape(-1, *shape), samples[place].effect)
    return [found[place] for place in range(len(samples))]


def p_value(effects: np.ndarray, bound: float, units: int) -> float:
    """Two-sided bootstrap p of "the effect is `bound`", from resampled effects `(draws,)`; 1 where one is nan. At most
    5% where the 95% interval of the same draws excludes the bound, and never below 2 / 2^units, the chance that all
    units fall on the same side: a handful that agree have no spread to resample, and prove little."""
    if np.isnan(effects).any():
        return 1.0
    beyond = min((effects <= bound).sum(), (effects >= bound).sum())
    return float(min(1.0, max(2 * (1 + beyond) / (1 + len(effects)), 2.0 ** (1 - units))))


def holm(values: np.ndarray) -> np.ndarray:
    """p values `(n,)` adjusted for n questions asked at once (Holm, 1979). The smallest is multiplied by n, the next by
    n - 1, and so on; none falls below its predecessor or exceeds 1. This bounds the family-wise error as far as the p
    values are right; those of `p_value` are about images, not trainings."""
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted
