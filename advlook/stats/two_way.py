"""The uncertainty of an effect when both images and training seeds are random, without drawing a random number.

Every model answers the same images, so units (images, filters) and seeds are crossed, and each answer is a mean plus a
part of its unit, a part of its seed, and a remainder. The effect is linearised at the column means, and the two-way
mean squares of what results give its standard error. What units contribute is known well; the part of s seeds has
s - 1 degrees of freedom. The t quantiles of both are weighted by their shares of the variance (Cochran and Cox, 1957).

In simulations with any share of the variance from seeds, 48 or 1,000 units, and a small or large remainder, nominal 95%
intervals cover 94.0 to 97.9% with two seeds, 94.9 to 97.2% with three, and 94.8 to 96.4% with five; 91% at least where
most of the variance of 48 right-or-wrong answers is from seeds, whose accuracies then are not normal. Far from 5% they
are less exact with few seeds: a p of .003 or less arises by chance with a probability of up to .020 with two seeds,
.008 with three and .004 with five. A percentile bootstrap of units and seeds covers 98% without variance between seeds,
but 60% with two seeds and 80% with three where seeds alone differ; Satterthwaite's degrees of freedom, 87% with two.

The mean over sets of units (`mean_of`) is treated alike, as its variance has the same two parts. In simulations of nine
sets of 240 to 5,000 images, its intervals cover 95.2 to 98.1% with two seeds where these do not differ, and 93.6 to
94.4% where nine tenths of the variance are from them; with three seeds 96.2 to 97.8%, and 95.2 to 96.0% (2,000 studies
each, a standard error of 0.5). Sets are fixed: nothing is said of sets that were not run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from advlook.stats.bootstrap import Effect

MANY = 100  # if one answer in twenty differed, as many would all agree in 0.6% of draws
_STEP = 1e-6  # of the numeric gradient, in units of the largest value of a column


@dataclass(frozen=True)
class Sample:
    """The data of one comparison: `values` `(units, seeds, columns)`, and the effect as a function of column means.
    Units (images, filters) are the same ones for all seeds. at: the image set or level, where there are several.
    untested: why no verdict may rest on this comparison; "" where one may. clusters: a label for each unit, `(units,)`,
    where units that share one (images in one style) are not independent."""

    values: np.ndarray
    effect: Effect
    seeds: Sequence[int]
    at: str = ""
    untested: str = ""
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """An effect, its standard error with degrees of freedom, and the effect of `each` seed; units: of how many images,
    filters or clusters. seeds: names of `each`, by default their places; at, untested: as in `Sample`. least: the
    standard error that other units alone would give, with units - 1 degrees of freedom: few seeds that agree by chance
    do not make an effect better known than that."""

    effect: float
    error: float
    df: float
    each: tuple[float, ...]
    units: int
    seeds: tuple[float, ...] = ()
    at: str = ""
    untested: str = ""
    least: float = 0.0

    @property
    def _errors(self) -> tuple[tuple[float, float], ...]:
        """Degrees of freedom and standard error, by units and seeds and by units alone: what is less certain counts."""
        return (self.df, self.error), (max(1, self.units - 1), self.least)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Both ends of the confidence interval; nan where the effect or its error is not finite."""
        if not np.isfinite([self.effect, self.error]).all():
            return np.nan, np.nan
        reach = max(float(special.stdtrit(df, (1 + level) / 2)) * error for df, error in self._errors)
        return self.effect - reach, self.effect + reach

    def p(self, bound: float) -> float:
        """Two-sided p of "the effect is `bound`" by a t test; 1 where anything is not finite. Never below 2 / 2^units,
        the chance that all units fall on the same side: a handful that agree have no spread, and prove little. 1 where
        fewer than MANY have no spread at all and the bound is not 0: they cannot show that an effect is near 0."""
        if not np.isfinite([self.effect, self.error, bound]).all() or self.effect == bound:
            return 1.0
        if not self.error and bound and self.units < MANY:
            return 1.0
        away = abs(self.effect - bound)
        found = [2 * special.stdtr(df, -away / error) if error else 0.0 for df, error in self._errors]
        return float(max(*found, 2.0 ** (1 - self.units)))


def estimate(sample: Sample) -> Estimate:
    """The effect of a sample with its standard error: over clusters, or else units, and seeds where there are several.
    The error is nan with a single unit, or where the effect is not finite."""
    return mean_of([sample], sample.at)


def mean_of(samples: Sequence[Sample], at: str) -> Estimate:
    """The mean effect of samples of the same checkpoints on other units each, such as several image sets. The sets are
    fixed: the error says what other units and other seeds would change, not other sets. units: the sum over sets;
    untested: as of the first that is. ValueError where their seeds differ, or where there is no sample."""
    if len({tuple(sample.seeds) for sample in samples}) != 1:
        raise ValueError("the samples of a mean must have the same seeds")
    samples = [replace(sample, values=np.asarray(sample.values, dtype=np.float64)) for sample in samples]
    parts = [_linearised(sample) for sample in samples]
    error, df = map(float, standard_error(*parts))
    least = float(standard_error(*(each.mean(1, keepdims=True) for each in parts))[0])  # as of one seed: of units alone
    effect = float(np.mean([sample.effect(sample.values.mean((0, 1))) for sample in samples]))
    each = np.mean([sample.effect(sample.values.mean(0)) for sample in samples], axis=0)
    untested = next((sample.untested for sample in samples if sample.untested), "")
    units = sum(map(len, parts))
    return Estimate(effect, error, df, tuple(map(float, each)), units, tuple(samples[0].seeds), at, untested, least)


def _linearised(sample: Sample) -> np.ndarray:
    """What every unit, or else cluster, adds to the effect with every seed, around 0: `(units, seeds)`."""
    means, scale = sample.values.mean((0, 1)), abs(sample.values).max((0, 1))
    return _clustered((sample.values - means) @ _gradient(sample.effect, means, scale), sample.clusters)


def _gradient(effect: Effect, means: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Central differences of the effect at the column means: `(columns,)`."""
    steps = np.diag(_STEP * np.where(scale > 0, scale, 1))
    with np.errstate(invalid="ignore"):  # infinity - infinity
        return (effect(means + steps) - effect(means - steps)) / (2 * steps.diagonal())


def _clustered(parts: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Parts `(units, seeds)` summed by cluster, `(clusters, seeds)`, and scaled so that their mean stays the same."""
    if clusters is None:
        return parts
    labels, places = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(labels), parts.shape[1]))
    np.add.at(sums, places, parts)
    return len(labels) / len(parts) * sums


def standard_error(*sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of the mean of parts `(..., units, seeds)`, or of the mean over several sets of their means, and
    its degrees of freedom: `(...)` both; nan where a set has a single unit. Sets share seeds, but no units. With one
    seed it is over units alone, with n - 1 degrees; n is of the smallest set, where the sum of all has no fewer."""
    units, seeds = min(parts.shape[-2] for parts in sets), sets[0].shape[-1]
    if units == 1:
        return np.full((2, *sets[0].shape[:-2]), np.nan)
    found = [_by_units_and_seeds(parts) for parts in sets]
    of_units = np.maximum(sum(each for each, _ in found), 0) / len(sets) ** 2
    if seeds == 1:
        return np.sqrt(of_units), np.full_like(of_units, units - 1)
    by_seed = sum(each for _, each in found) / len(sets)
    of_seeds = (by_seed**2).sum(-1) / (seeds - 1) / seeds  # holds the remainder too, so only units are cleared of it
    variance = of_units + of_seeds
    share = np.divide(of_seeds, variance, out=np.zeros_like(variance), where=variance > 0)
    of_few, of_many = special.stdtrit([seeds - 1, units - 1], 0.975)
    return np.sqrt(variance), special.stdtridf(0.975, share * of_few + (1 - share) * of_many)


def _by_units_and_seeds(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of parts `(..., units, seeds)`: the variance that units give to their mean, cleared of the remainder where there
    are several seeds, `(...)`; and the mean of every seed around that of all, `(..., seeds)`."""
    units, seeds = parts.shape[-2:]
    parts = parts - parts.mean((-2, -1), keepdims=True)
    by_unit, by_seed = parts.mean(-1), parts.mean(-2)
    of_units = (by_unit**2).sum(-1) / (units - 1) / units  # the mean square of units, over units * seeds
    if seeds == 1:
        return of_units, by_seed
    rest = ((parts - by_unit[..., None] - by_seed[..., None, :]) ** 2).sum((-2, -1)) / (units - 1) / (seeds - 1)
    return of_units - rest / (units * seeds), by_seed
