"""Notebook 05: differences and shape biases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from variant_rows import made_up

from advlook.data.image_sets import ImageSet
from advlook.experiments.stylization import measure


def test_differences_with_known_answers():
    """From 80 to 20 and from 60 to 30: 10 ahead, 30 gained, and a half kept where the other keeps a quarter."""
    found = measure.differences(made_up((80, 20), (60, 30))).set_index("measure")
    assert found["difference"].to_dict() == pytest.approx({"accuracy": 10, "change": 30, "relative": 25})
    assert set(found["seed"]) == {"all"}
    assert (found["low"] < found["difference"]).all()
    assert (found["difference"] < found["high"]).all()


def test_equal_answers_differ_by_nothing():
    """The comparison is a paired one: right about the same images, the interval has no width."""
    found = measure.differences(made_up((70, 30), (70, 30)))
    assert (found[["difference", "low", "high"]].abs() < 1e-9).all().all()


def conflict_table(by_shape, by_texture, setting="std", seed=0):
    answers = [np.array(chosen, dtype=bool) for chosen in (by_shape, by_texture)]
    row = ("resnet10", setting, seed, len(by_shape), *answers)
    return pd.DataFrame([row], columns=["arch", "setting", "seed", "images", "by_shape", "by_texture"])


def test_shape_bias_with_a_known_answer():
    """Of class 0 30 by shape and 10 by texture, of class 1 none decided, of class 2 two: 75, nan, and no interval."""
    by_shape = [1] * 30 + [0] * 30 + [0] * 20 + [1] * 2 + [0] * 18
    by_texture = [0] * 30 + [1] * 10 + [0] * 20 + [0] * 20 + [0] * 20
    labels = torch.tensor([0] * 60 + [1] * 20 + [2] * 20)
    images = ImageSet(torch.zeros(100, 3, 1, 1, dtype=torch.uint8), labels, ("ant", "bee", "cat", "dog"))
    found = measure.shape_bias(conflict_table(by_shape, by_texture), images).set_index("class")
    assert list(found.index) == ["all", "ant", "bee", "cat"]  # of the last class there are no images
    assert found["shape_bias"].tolist() == pytest.approx([100 * 32 / 42, 75, np.nan, 100], nan_ok=True)
    assert found["by_shape"].tolist() == pytest.approx([32, 50, 0, 10])
    assert found["by_texture"].tolist() == pytest.approx([10, 100 / 6, 0, 0])
    assert found["images"].tolist() == [100, 60, 20, 20]
    assert 50 < found.loc["ant", "low"] < 75 < found.loc["ant", "high"] < 95
    assert found.loc[["bee", "cat"], ["low", "high"]].isna().all().all()


def test_seeds_are_pooled_by_decisions():
    """1 of 2 decisions of one seed and 6 of 6 of the other are 7 of 8, not the mean of 50 and 100."""
    images = ImageSet(torch.zeros(8, 3, 1, 1, dtype=torch.uint8), torch.zeros(8).long(), ("ant",))
    first = conflict_table([1] + [0] * 7, [0, 1] + [0] * 6)
    second = conflict_table([1] * 6 + [0] * 2, [0] * 8, seed=1)
    found = measure.shape_bias(pd.concat([first, second]), images)
    found = found[found["class"] == "all"].set_index("seed")["shape_bias"]
    assert found.to_dict() == pytest.approx({"all": 87.5, "0": 50.0, "1": 100.0})


def test_difference_of_shape_biases():
    """60 of 80 against 20 of 80: 50 points, as a further row of the differences."""
    std = conflict_table([1] * 20 + [0] * 80, [0] * 20 + [1] * 60 + [0] * 20)
    adv = conflict_table([1] * 60 + [0] * 40, [0] * 60 + [1] * 20 + [0] * 20, "adv")
    found = measure.bias_differences(pd.concat([std, adv]))
    assert list(found) == list(measure.differences(made_up((80, 20), (60, 30))))
    row = found.iloc[0]
    assert (row["variant"], row["measure"], row["seed"]) == ("cue conflict", "shape bias", "all")
    assert row["difference"] == pytest.approx(50)
    assert 30 < row["low"] < 50 < row["high"] < 70
