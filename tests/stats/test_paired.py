"""Per-image answers brought together by setting and seed, and effects of their means."""

import numpy as np
import pandas as pd
import pytest

from advlook.stats.paired import answers, by_checkpoint, by_seed, labelled, pooled, relative_difference, right_of


def made_up(seeds):
    """A row a model: STD is right about the images whose number 2 + its seed divides, ADV about all."""
    found = []
    for setting in ("std", "adv"):
        for seed in seeds:
            right = np.arange(12) % (2 + seed if setting == "std" else 1) == 0
            found.append({"setting": setting, "seed": seed, "right": right})
    return pd.DataFrame(found)


def right(run):
    return right_of(run).T


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


def test_answers_take_several_columns_of_a_row():
    """One line an image, one column each."""
    row = pd.DataFrame([{"a": np.array([True, False, True]), "b": np.array([False] * 3), "images": 3}])
    np.testing.assert_array_equal(answers("b", "a")(row), [[False, True], [False, False], [False, True]])


def test_names_of_models_are_taken_apart():
    """Pairs are named by what they compare, fresh stages by how they were drawn."""
    table = pd.DataFrame(
        {"model_a": ["random-1", "adv-0", "adv-0"], "model_b": ["std-0", "adv-0 layer3 up", "adv-0 conv1 alone"]}
    )
    found = labelled(table)[["comparison", "setting", "stage"]].to_numpy().tolist()
    assert found == [["random-std", "std", ""], ["up", "adv", "layer3"], ["alone", "adv", "conv1"]]


def test_runs_with_a_model_each_are_its_values():
    """A second run of the same models is averaged with the first, wherever it stands."""
    values = np.array([[1.0, 5.0, 3.0, 2.0]])
    found = by_checkpoint(
        ["std-0 adv-1", "std-1 adv-2", "std-0 adv-1", "std-2 adv-0"], values, ["std-0", "std-1", "std-2"]
    )
    np.testing.assert_allclose(found, [[2, 5, 2]])


def test_pairs_vary_as_much_as_the_models_that_they_share():
    """Pairs of three models vary less than models do; the values of checkpoints vary as twice the models do."""
    models = np.array([1.0, 2.0, 6.0])
    pairs = np.array([[models[0] + models[1], models[1] + models[2], models[2] + models[0]]])
    found = by_checkpoint(["adv-0 adv-1", "adv-1 adv-2", "adv-2 adv-0"], pairs, ["adv-0", "adv-1", "adv-2"])
    np.testing.assert_allclose(found, 2 * models[None])
    assert found.mean() == pytest.approx(pairs.mean())


def test_of_one_pair_there_is_only_its_mean():
    """Two models make one pair, whichever is named first."""
    found = by_checkpoint(["std-0 std-1", "std-1 std-0"], np.array([[1.0, 3.0]]), ["std-0", "std-1"])
    np.testing.assert_allclose(found, [[2, 2]])
