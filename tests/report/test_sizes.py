"""The figure of accuracy under blur over image sizes."""

import numpy as np
import pandas as pd
import pytest
import torch

from advlook.corruptions import gaussian_blur
from advlook.report import sizes
from advlook.report.blocks import load


@pytest.fixture(scope="module")
def table():
    """What the figure is drawn from."""
    return sizes.blur_over_sizes()


def test_the_committed_table_is_that_of_the_presets(table):
    """The CSV beside the figure is what the committed tables give."""
    pd.testing.assert_frame_equal(pd.read_csv(sizes.PATH), table.round(4), check_dtype=False)


def test_blur_halves_the_amplitude_at_the_told_frequency(table):
    """A grating of that many cycles per image keeps half of its amplitude under that blur."""
    row = table[(table["size"] == 64) & (table["sigma"] == 2)].iloc[0]
    side = 640  # ten images side by side, so that edges do not matter
    grating = 0.5 + 0.4 * torch.cos(2 * torch.pi * row["cycles"] / 64 * torch.arange(side, dtype=torch.float64))
    blurred = gaussian_blur(grating.expand(1, 3, 65, side).float(), 2.0, 37)[0, 0, 32]
    middle = slice(128, 512)
    assert np.ptp(blurred[middle].numpy()) / np.ptp(grating[middle].numpy()) == pytest.approx(0.5, abs=0.01)


def test_crossings_are_those_of_the_presets(table):
    """The lead of ADV changes sign where `04_crossings` says; at 224 px ADV leads under no blur."""
    for preset, size in (("cifar10", 32), ("imagenette", 64)):
        at = load(preset, "04_crossings").query("arch == 'resnet10' and operation == 'blur' and seed == 'all'")
        lead = sizes.leads(table).query(f"size == {size} and classes == 10").sort_values("sigma")
        before, after = (
            lead[side]["lead"] for side in (lead["sigma"] < at["low"].item(), lead["sigma"] > at["high"].item())
        )
        assert (before < 0).all()
        assert (after > 0).all()
    assert (sizes.leads(table).query("size == 224")["lead"] < 0).all()


def test_the_figure_has_a_panel_for_each_set_of_images(table):
    """A panel of accuracies for each set of images, with a line for STD and one for ADV, and two panels of leads."""
    figure = sizes.draw(table)
    assert len(figure.axes) == len(table[["size", "classes"]].drop_duplicates()) + 2
    assert {axis.get_xlabel() for axis in figure.axes[-2:]} == {
        "sigma of the blur [px]",
        "cycles per image at which the blur halves amplitudes",
    }
