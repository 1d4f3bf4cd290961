"""Several questions at once: p values of statements about several comparisons, and of several statements."""

import numpy as np


def partial_conjunction(values: np.ndarray, least: int) -> float:
    """p of "fewer than `least` of these hold", from their p values `(n,)`: (n - least + 1) times the `least`-th
    smallest (Benjamini and Heller, 2008). For all of n it is the largest, uncorrected; for one of n Bonferroni's."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(min(1.0, (len(ordered) - least + 1) * ordered[least - 1]))


def holm(values: np.ndarray) -> np.ndarray:
    """p values `(n,)` adjusted for n questions asked at once (Holm, 1979). The smallest is multiplied by n, the next by
    n - 1, and so on; none falls below its predecessor or exceeds 1. Questions may depend on each other."""
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted
