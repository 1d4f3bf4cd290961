"""Several questions at once."""

import numpy as np
import pytest

from advlook.stats.multiple import holm, partial_conjunction


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 become 0.02, 0.03, 0.06, 0.04, and the last is not below the one before it."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1, 1])
    assert len(holm(np.array([]))) == 0


@pytest.mark.parametrize(("least", "p"), [(1, 0.04), (2, 0.06), (3, 0.4), (4, 0.5)])
def test_partial_conjunction_by_hand(least, p):
    """Of four: Bonferroni for one, three times the second, twice the third, and the largest as it is for all."""
    assert partial_conjunction(np.array([0.5, 0.02, 0.01, 0.2]), least) == pytest.approx(p)
    assert partial_conjunction(np.ones(4), least) == 1


@pytest.mark.parametrize("least", [1, 2, 3])
def test_partial_conjunction_is_wrong_as_seldom_as_it_says(least):
    """Where one hypothesis too few is false, 5% of the studies at most have a p below 5%."""
    p = np.random.default_rng(0).uniform(size=(4000, 3))
    p[:, : least - 1] = 0
    assert np.mean([partial_conjunction(each, least) <= 0.05 for each in p]) <= 0.06
