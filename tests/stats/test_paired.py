"""Answers packed into a table and brought together by setting and seed."""

import numpy as np
import pandas as pd
import pytest
import torch

from advlook.stats.paired import by_seed, pack, packed, pooled, relative_difference, unpack


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_unpack_inverts_pack(count):
    """Whatever the number of images, down to the bits that fill the last byte."""
    answers = torch.rand(3, count, generator=torch.Generator().manual_seed(0)) < 0.5
    np.testing.assert_array_equal(unpack([pack(line) for line in answers], count), answers.numpy())


def made_up(seeds):
    """A row a model: STD is right about the images whose number 2 + its seed divides, ADV about all."""
    found = []
    for setting in ("std", "adv"):
        for seed in seeds:
            right = torch.arange(12) % (2 + seed if setting == "std" else 1) == 0
            found.append({"setting": setting, "seed": seed, "right": pack(right)})
    return pd.DataFrame(found)


def right(run):
    return unpack(run["right"], 12).T


def test_pooled_averages_seeds_image_by_image():
    """Image 0 is right for both seeds, image 2 for one of them, image 1 for none."""
    found = dict(pooled(made_up([0, 1]), right))
    assert list(found) == ["all", "0", "1"]
    assert found["all"]["std"][:4, 0].tolist() == [1.0, 0.0, 0.5, 0.5]
    assert (found["all"]["adv"] == 1).all()
    np.testing.assert_array_equal(found["1"]["std"][:, 0], np.arange(12) % 3 == 0)


def test_of_one_seed_there_is_only_all():
    """The single seed is not told twice."""
    assert [seed for seed, _ in pooled(made_up([3]), right)] == ["all"]


def test_relative_difference():
    """From 80 to 40 and from 40 to 30: a half is left of the one, three quarters of the other; nan where none was."""
    means = np.array([[0.8, 0.4, 0.4, 0.3], [0.8, 0.4, 0.0, 0.0]])
    found = relative_difference(means)
    np.testing.assert_allclose(found[0], [0, 25])
    assert np.isnan(found[1]).all()


def test_by_seed_keeps_pairs_alone():
    """Seeds without a pair and images without a value are left out; the columns of STD come first."""
    rows = made_up([0, 1, 2])
    rows = rows[~((rows["setting"] == "adv") & (rows["seed"] == 1))]
    seeds, found = by_seed(rows, right)
    assert seeds == [0, 2]
    assert found.shape == (12, 2, 2)
    np.testing.assert_array_equal(found[:, 1, 0], np.arange(12) % 4 == 0)
    assert found[:, :, 1].all()
    _, found = by_seed(rows, lambda run: np.where(np.arange(12) == 3, np.nan, right(run)[:, 0])[:, None])
    assert found.shape == (11, 2, 2)
    assert by_seed(rows[rows["setting"] == "std"], right)[0] == []


def test_packed_takes_several_columns_of_a_row():
    """One line an image, one column each."""
    row = pd.DataFrame(
        [{"a": pack(torch.tensor([True, False, True])), "b": pack(torch.tensor([False] * 3)), "images": 3}]
    )
    np.testing.assert_array_equal(packed("b", "a")(row), [[False, True], [False, False], [False, True]])
