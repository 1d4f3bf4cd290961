"""An estimate's interval and p belong together."""

import pytest

from advlook.stats.two_way import Estimate


@pytest.mark.parametrize("df", [1.5, 4, 1000])
def test_p_is_five_percent_at_the_ends_of_the_interval(df):
    found = Estimate(3.0, 0.7, df, (3.0,), 100)
    assert [found.p(end) for end in found.interval()] == pytest.approx([0.05, 0.05])
    assert found.p(3.0) == pytest.approx(1)
    assert found.interval(0.99)[0] < found.interval()[0] < 3 < found.interval()[1]


def test_without_error_only_the_effect_is_possible():
    found = Estimate(3.0, 0.0, 4, (3.0,), 100)
    assert (found.p(3.0), found.p(2.9)) == (1.0, 0.0)
