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


def test_seeds_vary_as_much_as_their_number_allows():
    """The mean of n values has the variance of a sample, over n; two are not too few for that."""
    for count in (2, 3, 8):
        values = noise(count, seed=count)
        drawn = bootstrap.resampled_seeds(np.tile(values[:, None], (20_000, 1, 1)), lambda means: means[..., 0])
        assert drawn.mean() == pytest.approx(values.mean(), abs=0.03)
        assert drawn.var() == pytest.approx(values.var(ddof=1) / count, rel=0.05)
    alone = bootstrap.resampled_seeds(np.arange(5.0)[:, None, None], lambda means: means[..., 0])
    np.testing.assert_array_equal(alone, np.arange(5))


def test_a_ratio_of_seeds_far_apart_keeps_its_sign():
    """Of seeds whose values differ tenfold no resample divides by less than any of them, whatever is stretched."""
    means = np.tile(np.array([[1.0, 0.3], [0.1, 0.3]]), (2000, 1, 1))
    drawn = bootstrap.resampled_seeds(means, lambda m: 100 * (1 - m[..., 1] / m[..., 0]))
    assert drawn.max() <= 100
    assert drawn.min() < 0


def test_effects_of_samples_do_not_depend_on_each_other():
    """Samples that share the draws of their units have the effects that each has alone, in the order given."""
    samples = [
        bootstrap.Sample(noise(n, s, c, seed=n + c), lambda m: m.sum(-1), range(s))
        for n, s, c in ((40, 2, 1), (30, 3, 2), (40, 3, 4))
    ]
    together = bootstrap.resampled_effects(samples, 200)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = bootstrap.resampled_effects([sample], 200)
        np.testing.assert_allclose(found, alone)
        assert found.shape == (200,)


@pytest.mark.parametrize(("images", "seeds", "spread"), [(80, 3, 0.05), (200, 1, 0.0), (200, 8, 0.2)])
def test_two_levels_cover(images, seeds, spread):
    """Of 200 studies with new images and new seeds about 95% have an interval that holds the true effect.

    Where the seeds differ by much more than their images let them, three are too few for that.
    """
    held = 0
    for number in range(200):
        rng = np.random.default_rng(number)
        values = rng.normal(size=(images, 1, 1)) + spread * rng.normal(size=(1, seeds, 1))
        values = values + 0.5 * rng.normal(size=(images, seeds, 1))
        sample = bootstrap.Sample(values, lambda means: means[..., 0], range(seeds))
        low, high = np.percentile(bootstrap.resampled_effects([sample], 400)[0], [2.5, 97.5])
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_p_agrees_with_the_interval():
    """It is below 5% exactly where the interval leaves the bound out, and grows as the bound comes nearer."""
    draws = np.sort(noise(4000)) + 1
    low = np.percentile(draws, 2.5, method="inverted_cdf")
    assert bootstrap.p_value(draws, low - 0.01, 100) < 0.05 < bootstrap.p_value(draws, low + 0.01, 100)
    assert bootstrap.p_value(draws, -9, 100) == pytest.approx(2 / 4001)
    assert bootstrap.p_value(draws, 9, 100) == pytest.approx(2 / 4001)
    assert bootstrap.p_value(draws, np.median(draws), 100) == 1
    assert bootstrap.p_value(np.append(draws, np.nan), -9, 100) == 1


def test_a_handful_proves_little():
    """Four images that agree could do so by chance in one of eight cases, however narrow their bootstrap is."""
    assert bootstrap.p_value(np.full(1000, 5.0), 0, 4) == 1 / 8
    assert bootstrap.p_value(np.full(1000, 5.0), 0, 40) == pytest.approx(2 / 1001)


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 become 0.02, 0.03, 0.06, 0.04, and the last is not below the one before it."""
    np.testing.assert_allclose(bootstrap.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bootstrap.holm(np.array([0.9, 0.6])), [1, 1])
    assert len(bootstrap.holm(np.array([]))) == 0
