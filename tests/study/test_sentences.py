"""Sentences that are generated from tables."""

import pandas as pd
import pytest

from advlook.study.sentences import apart, bullets, by_arch, joined, sample, with_interval


@pytest.mark.parametrize(("names", "text"), [("", ""), ("a", "a"), ("ab", "a and b"), ("abc", "a, b and c")])
def test_names_are_joined(names, text):
    """As in a sentence, whatever their number."""
    assert joined(list(names)) == text


def test_a_list_stands_behind_its_sentence():
    """And without lines there is another sentence, not an empty list."""
    assert bullets(["a", "b"], "Here:").data == "Here:\n\n- a\n- b"
    assert bullets(["a"]).data == "- a"
    assert bullets([], "Here:", "Nothing.").data == "Nothing."


@pytest.mark.parametrize(("seeds", "text"), [([3, 3], "one pair of models"), ([0, 1], "means over 2 pairs of models")])
def test_the_sample_is_told(seeds, text):
    """Of one pair nothing is a mean."""
    assert sample(pd.DataFrame({"images": [1200, 1200], "seed": seeds})) == f"1,200 images, {text}"


def test_differences_are_told_in_words():
    """With their side, and none where they round to nothing; intervals in brackets."""
    assert (apart(-6.24), apart(3.0)) == ("ADV is 6.2 points behind", "ADV is 3.0 points ahead")
    assert apart(0.04) == "both are equal"
    assert with_interval(pd.Series({"difference": 1.0, "low": -0.5, "high": 2.0})) == "+1.0 [-0.5, +2.0]"


def test_architectures_have_their_names():
    """One that a user named stands for itself; their order is that of the table."""
    table = pd.DataFrame({"arch": ["my_vit", "resnet10", "my_vit"]})
    assert [(name, len(rows)) for name, rows in by_arch(table)] == [("**my_vit**", 2), ("**ResNet-10**", 1)]
