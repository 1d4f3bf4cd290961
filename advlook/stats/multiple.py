"""Several questions at once."""

import numpy as np


def holm(values: np.ndarray) -> np.ndarray:
    """p values `(n,)` adjusted for n questions asked at once (Holm, 1979). The smallest is multiplied by n, the next by
    n - 1, and so on; none falls below its predecessor or exceeds 1. Questions may depend on each other."""
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted
