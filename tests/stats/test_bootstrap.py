"""Bootstrap intervals: their width, that they cover, and that pairing helps."""

import numpy as np
import pytest

from advlook.stats import bootstrap


def noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def test_an_interval_holds_the_mean_and_shrinks_with_images():
    """About 1.96 standard errors on either side; equal values have no width; none at all give nan."""
    values = 0.3 + 0.1 * noise(400)
    mean, low, high = bootstrap.interval(values)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap.interval(np.full(5, 0.7)) == pytest.approx((0.7, 0.7, 0.7))
    assert np.isnan(bootstrap.interval(np.array([]))).all()


def test_intervals_cover_as_often_as_they_say():
    """Of 300 samples about 95% have an interval that holds the true mean."""
    held = 0
    for seed in range(300):
        _, low, high = bootstrap.interval(noise(60, seed=seed), draws=400)
        held += low <= 0 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_columns_are_resampled_together():
    """What is equal in every image has a difference without width; each column has the interval that it has alone."""
    values = np.stack([noise(80), noise(80), noise(80, seed=2)], axis=1)
    difference = bootstrap.interval(values, lambda means: means[..., 0] - means[..., 1])
    assert difference == pytest.approx((0, 0, 0), abs=1e-12)
    for column, (effect, low, high) in enumerate(zip(*bootstrap.interval(values), strict=True)):
        assert (effect, low, high) == pytest.approx(bootstrap.interval(values[:, column]))


def test_pairing_narrows_what_both_share():
    """Two models that fail on the same hard images differ by less than two independent samples would."""
    hard = noise(300)
    a, b = hard + 0.1 * noise(300, seed=2), hard + 0.1 * noise(300, seed=3)
    _, low, high = bootstrap.interval(a - b)
    _, alone_low, alone_high = bootstrap.interval(a)
    assert high - low < 0.3 * (alone_high - alone_low)


@pytest.mark.parametrize("never", [0.0, 0.01, 0.2, 1.0])
def test_infinite_effects_have_infinite_ends_where_they_are_frequent(never):
    """An effect that is infinite in more than 2.5% of the resamples has no upper end; nothing becomes nan."""
    at = np.quantile(bootstrap.resampled_means(noise(50)), 1 - never)
    effect, low, high = bootstrap.interval(noise(50), lambda means: np.where(means > at, np.inf, means))
    assert np.isinf(high) == (never > 0.025)
    assert np.isinf(low) == (never == 1)
    assert not np.isnan([effect, low, high]).any()


def test_resamples_are_the_same_however_many_are_held_at_once(monkeypatch):
    """Large samples are resampled in parts, and give the same means."""
    values = noise(30, 4)
    whole = bootstrap.resampled_means(values, 100)
    assert whole.shape == (100, 4)
    assert len(np.unique(whole[:, 0])) > 90
    monkeypatch.setattr(bootstrap, "_HELD", 7 * len(values))
    np.testing.assert_allclose(bootstrap.resampled_means(values, 100), whole)
    first = values[np.random.default_rng(0).integers(30, size=30)]
    np.testing.assert_allclose(whole[0], first.mean(0))
