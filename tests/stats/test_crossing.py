"""Where curves change sides, and what a channel is, for curves whose answer is known."""

import numpy as np
import pytest

from advlook.stats import crossing

LEVELS = np.array([0.01, 0.02, 0.04, 0.08])
FREQUENCIES, NOISE = 2.0 ** np.arange(-5, 0), 2.0 ** np.arange(-6, 0)


@pytest.mark.parametrize(
    ("difference", "level"),
    [
        ([-4, -2, 2, 3], 2.0),
        ([-4, 0, 2, 3], 1.0),
        ([1, -1, -2, 3], 0.0),
        ([-1, -3, -2, -1], np.inf),
        ([-1, 1, -2, 5], 0.5),
        ([-3, -2, -1, 0], np.inf),
        ([0, 0, 0, 5], 3.0),
    ],
)
def test_overtaken_at(difference, level):
    """By a straight line to the first level above 0; not at a tie that stays one."""
    levels = np.array([0.0, 1.0, 3.0, 5.0])
    assert crossing.overtaken_at(levels, np.array(difference, dtype=float)) == pytest.approx(level)


def test_octaves_between_two_crossings():
    """STD changes sides half way, in octaves, between 0.04 and 0.08, ADV between 0.01 and 0.02: two octaves."""
    std, adv = [-1, -1, -0.5, 0.5], [-0.5, 0.5, 1, 1]
    assert crossing.octaves_apart(crossing.octave_of(LEVELS))(np.array([*std, *adv])) == pytest.approx(2)
    assert crossing.octaves_apart(crossing.octave_of(LEVELS))(np.array([*adv, *std])) == pytest.approx(-2)


def test_a_crossing_outside_the_levels_counts_as_at_their_end():
    """So that the distance is the least that it can be, and finite."""
    never, at_once, half_way = [-1, -1, -1, -1], [1, 1, 1, 1], [-1, -1, 1, 1]
    apart = crossing.octaves_apart(crossing.octave_of(LEVELS))
    assert apart(np.array([*never, *at_once])) == pytest.approx(3)
    assert apart(np.array([*never, *half_way])) == pytest.approx(1.5)


def accuracy(centre, width=0.8, chance=0.1, height=0.9):
    """Accuracy without noise, then for each band and noise, of a channel around log2 of a frequency."""
    weights = np.exp(-0.5 * ((np.log2(FREQUENCIES) - centre) / width) ** 2)
    masked = 1 / (1 + (30 * weights[:, None] * NOISE) ** 3)
    return np.array([height, *(chance + (height - chance) * masked).ravel()])


@pytest.mark.parametrize("centre", [-4.0, -3.0, -2.0])
def test_the_centre_of_a_channel_is_found(centre):
    """Where the channel was put, to a tenth of the width, whatever the accuracy without noise."""
    for height in (0.5, 0.9):
        _, found, _ = crossing.channel(FREQUENCIES, NOISE, 0.1, accuracy(centre, 0.5, height=height))
        assert found == pytest.approx(centre, abs=0.2)


def test_a_wider_channel_is_wider_and_a_stronger_one_more_sensitive():
    """Width in octaves; sensitivity is 1 / the noise that halves the accuracy above chance."""
    narrow, wide = (crossing.channel(FREQUENCIES, NOISE, 0.1, accuracy(-3, width)) for width in (0.4, 0.9))
    assert narrow[2] < wide[2]
    assert narrow[0].argmax() == 2
    assert narrow[0][2] == pytest.approx(30, rel=0.05)


def test_a_model_without_accuracy_has_no_channel():
    """Nor one that no noise disturbs: nan, which no verdict rests on."""
    for means in (np.full(1 + len(FREQUENCIES) * len(NOISE), share) for share in (0.1, 0.9)):
        assert np.isnan(crossing.channel(FREQUENCIES, NOISE, 0.1, means)[1])
