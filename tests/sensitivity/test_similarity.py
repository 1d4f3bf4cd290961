"""Similarity of maps, with answers known beforehand."""

import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from advlook.core.errors import RequestError
from advlook.sensitivity import frequency, similarity


def seeded_maps(count=4, side=16, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_spearman_is_that_of_pandas_with_ties():
    """Ranks of equal values are shared; a monotone change of values changes nothing; constants have none."""
    a, other = (torch.randint(0, 6, (5, 40), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    a, b = a.float(), a.float() + other
    expected = [pd.Series(x).rank().corr(pd.Series(y).rank()) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    torch.testing.assert_close(similarity.spearman(a, b), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(similarity.spearman(a.exp(), -b), -similarity.spearman(a, b))
    assert similarity.spearman(a, torch.ones_like(a)).isnan().all()


def test_a_map_is_like_itself_and_unlike_its_negative():
    """1 with itself; with its negative -1 in signed ranks, below 0 in signed SSIM, and 1 where signs do not count."""
    maps = seeded_maps()
    itself, negative = similarity.similarity(maps, maps), similarity.similarity(maps, -maps)
    assert tuple(itself) == similarity.MEASURES
    for values in itself.values():
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, torch.ones(4).double())
    torch.testing.assert_close(negative["spearman"], -torch.ones(4).double())
    assert (negative["ssim"] < -0.5).all()
    for measure in ("spearman_abs", "ssim_abs"):
        torch.testing.assert_close(negative[measure], torch.ones(4).double())


def test_spearman_is_scipys():
    """Over pixels, of sums over channels."""
    a, b = seeded_maps(), seeded_maps(seed=1) + 0.5 * seeded_maps()
    found = similarity.similarity(a, b)
    for place in range(len(a)):
        signed = spearmanr(a[place].sum(0).flatten(), b[place].sum(0).flatten()).statistic
        absolute = spearmanr(a[place].abs().sum(0).flatten(), b[place].abs().sum(0).flatten()).statistic
        assert found["spearman"][place].item() == pytest.approx(signed)
        assert found["spearman_abs"][place].item() == pytest.approx(absolute)


def test_similarity_falls_with_noise_and_ignores_size():
    """Every measure falls as noise is added, is near 0 for unrelated signed maps, and takes no notice of a factor."""
    maps, noise = frequency.low_pass(seeded_maps(8, 32), 0.2), seeded_maps(8, 32, seed=1)
    levels = [similarity.similarity(maps, maps + share * noise) for share in (0.1, 0.5, 2.0)]
    unrelated = similarity.similarity(maps, noise)
    for measure in similarity.MEASURES:
        curve = [level[measure].mean().item() for level in levels]
        assert 1 > curve[0] > curve[1] > curve[2]
        scaled = similarity.similarity(1e-6 * maps, 1e3 * maps)[measure]
        torch.testing.assert_close(scaled, torch.ones(8).double(), atol=1e-4, rtol=0)
    assert abs(unrelated["spearman"].mean()) < 0.1
    assert abs(unrelated["ssim"].mean()) < 0.1


def test_one_extreme_pixel_does_not_make_maps_alike():
    """Unrelated maps stay so when both have the same huge value somewhere."""
    a, b = seeded_maps(4, 24), seeded_maps(4, 24, seed=1)
    a[..., 12, 12] = b[..., 12, 12] = 1000
    for measure, values in similarity.similarity(a, b).items():
        assert (values < 0.5).all(), measure


def test_constant_maps_have_no_ranks():
    """A map of zeros has no rank correlation, and a structural similarity to itself; it divides nothing by zero."""
    zeros = torch.zeros(2, 3, 16, 16)
    found = similarity.similarity(zeros, zeros)
    assert found["spearman"].isnan().all()
    assert (found["ssim"] == 1).all()
    sparse = zeros.clone()
    sparse[:, :, 3, 3] = 2
    assert similarity.pictures(sparse.sum(1), signed=False).max() == 1


def test_pictures_end_at_the_99th_percentile():
    """Of the magnitudes 0, 1, ... 100 it is 99: that and 100 are white, and 98 is not."""
    shown = similarity.pictures(torch.arange(101.0).view(1, 1, 101), signed=False)[0, 0]
    assert shown[98:].tolist() == pytest.approx([98 / 99, 1, 1])


MAPS = seeded_maps(2)
REFUSED = {
    r"maps \(2, 3, 16, 16\) and \(1, 3, 16, 16\)": lambda: similarity.similarity(MAPS, MAPS[:1]),
    r"\(2, 16, 16\) must have one shape": lambda: similarity.similarity(MAPS[:, 0], MAPS[:, 0]),
    "of 11 pixels or more": lambda: similarity.similarity(MAPS[..., :10], MAPS[..., :10]),
    "not finite": lambda: similarity.similarity(MAPS, MAPS / 0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(message):
    """The line names what was given."""
    with pytest.raises(RequestError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)
