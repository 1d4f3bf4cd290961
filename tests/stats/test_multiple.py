"""Several questions at once."""

import numpy as np

from advlook.stats.multiple import holm


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 become 0.02, 0.03, 0.06, 0.04, and the last is not below the one before it."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1, 1])
    assert len(holm(np.array([]))) == 0
