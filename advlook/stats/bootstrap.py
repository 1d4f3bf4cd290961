"""Bootstrap intervals: how far an effect would move if other images of the same kind had been drawn.

These are the intervals of notebooks 01 to 07, over images only: answers of several seeds are averaged image by image
first. Those of claims (notebook 08) are over seeds as well: `two_way`. Comparisons are paired: both models answered the
same images, so images that are hard for both do not widen an interval."""

from collections.abc import Callable

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
