"""Bootstrap intervals: how far an effect would move if other images of the same kind had been drawn.

Images are resampled, models are not: a training costs too much to be repeated often enough. What several seeds give for
an image is averaged first (pooled), and each seed is shown by itself beside it. Comparisons are paired: both models
have answered about the same images, so that what is hard for both widens no interval.
"""

from collections.abc import Callable

import numpy as np

DRAWS = 2000
_HELD = 2**22  # draws of an image that are held at once

Effect = Callable[[np.ndarray], np.ndarray]


def interval(
    values: np.ndarray, effect: Effect | None = None, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An effect and its 95% interval: percentiles over `draws` resamples of the images (bootstrap).

    values: `(n,)`, or `(n, columns)` with all that is known of an image in its row; the difference of two models image
    by image makes the comparison a paired one. effect: what is made of the columns' means, from `(..., columns)` to
    whatever it is about, `(...)` for a number; by default the means themselves.
    Returns effect, low and high: of shape `()` for numbers, nan where there are no images.
    """
    values = np.asarray(values, dtype=np.float64)
    effect = effect or (lambda means: means)
    if not len(values):
        nothing = effect(np.full(values.shape[1:], np.nan))
        return nothing, nothing, nothing
    # An effect may be infinite ("never"), so a percentile has to be one of the resamples and none between two of them.
    ends = np.percentile(effect(resampled_means(values, draws)), [2.5, 97.5], axis=0, method="inverted_cdf")
    return effect(values.mean(0)), ends[0], ends[1]


def resampled_means(values: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means `(draws, ...)` of so many resamples, with replacement, of the rows of values `(n, ...)`.

    Drawn by one seed: what has as many rows is resampled alike, in whichever call.
    """
    rng, count, size = np.random.default_rng(0), len(values), max(1, _HELD // len(values))
    parts = []
    for start in range(0, draws, size):
        held = min(size, draws - start)
        chosen = rng.integers(count, size=(held, count)) + count * np.arange(held)[:, None]
        times = np.bincount(chosen.ravel(), minlength=held * count).reshape(held, count)
        parts.append(times @ values / count)  # many columns for little more than one
    return np.concatenate(parts)
