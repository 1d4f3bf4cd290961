"""Bootstrap intervals: how far an effect would move if other images of the same kind had been drawn.

In the intervals of one notebook images are resampled and models are not: what several seeds give for an image is
averaged first (pooled), and each seed is shown by itself beside it. Where conclusions are drawn (`claims`) seeds are
resampled as well (`resampled_seeds`). Comparisons are paired: both models have answered about the same images, so that
what is hard for both widens no interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def resampled_seeds(means: np.ndarray, effect: Effect) -> np.ndarray:
    """The effect `(draws,)` of resamples, with replacement, of the seeds in means `(draws, seeds, columns)`.

    Resamples of n values have (n - 1) / n of the variance that they should have, which is half of it for two seeds. So
    what they move the effect away from that of all seeds is stretched by sqrt(n / (n - 1)) (after Rao and Wu 1988). A
    single seed stays what it is: what another training would give is unknown then. Drawn by one seed, as images are.
    """
    draws, seeds, _ = means.shape
    whole = effect(means.mean(1))
    if seeds == 1:
        return whole
    weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    drawn = effect(np.einsum("ds,dsc->dc", weights, means))
    return whole + math.sqrt(seeds / (seeds - 1)) * (drawn - whole)


@dataclass(frozen=True)
class Sample:
    """What one comparison is made of: `values` `(units, seeds, columns)`, and the effect of the columns' means.

    Units are images, filters or whatever else is drawn; all seeds have the same ones. at: the image set or level, where
    there are several.
    """

    values: np.ndarray
    effect: Effect
    seeds: Sequence[int]
    at: str = ""


def resampled_effects(samples: Sequence[Sample], draws: int = DRAWS) -> list[np.ndarray]:
    """The effect of each sample in so many resamples of its units and its seeds at once: `(draws,)` each.

    Those of as many units share the draws, which take most of the time.
    """
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
    """Two-sided bootstrap p of "the effect is `bound`", from resampled effects `(draws,)`; 1 where one is nan.

    It is at most 5% where the 95% interval of the same draws leaves out the bound, and never below 2 / 2^units, the
    chance that so many images (or other units) all fall on the same side: a handful that agree have no spread to be
    resampled, and prove little.
    """
    if np.isnan(effects).any():
        return 1.0
    beyond = min((effects <= bound).sum(), (effects >= bound).sum())
    return float(min(1.0, max(2 * (1 + beyond) / (1 + len(effects)), 2.0 ** (1 - units))))


def holm(values: np.ndarray) -> np.ndarray:
    """p values `(n,)` as they have to be judged when n questions are asked at once (Holm 1979).

    The smallest is multiplied by n, the next by n - 1, and so on; none becomes smaller than one before it, or above 1.
    The chance to see any effect where there is none is then at most the level at which they are judged, as far as the
    p values are right: those of `p_value` are about images, and two or three seeds carry no such correction.
    """
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted
