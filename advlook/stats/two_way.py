"""An effect with two sources of error: the images, and the trainings that it is averaged over."""

from dataclasses import dataclass

from scipy.stats import t


@dataclass(frozen=True)
class Estimate:
    """An effect, its standard `error` with `df` degrees of freedom, the effect in `each` training (a seed, or a
    radius), and the number of `units` (images) that it rests on."""

    effect: float
    error: float
    df: float
    each: tuple[float, ...]
    units: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two ends of the interval that covers the effect at this level, by the t distribution."""
        reach = self.error * t.ppf((1 + level) / 2, self.df)
        return self.effect - reach, self.effect + reach

    def p(self, bound: float) -> float:
        """Two-sided p of "the effect is `bound`", by the t distribution."""
        if not self.error:
            return float(self.effect == bound)
        return float(2 * t.sf(abs(self.effect - bound) / self.error, self.df))
