"""Notebook 05: checks of stylized images, each of which can fail."""

import numpy as np
import pandas as pd
import pytest

from advlook.experiments.stylization import figures as draw
from advlook.experiments.stylization import measure


def measured(count=100, **changes):
    """What stylized images would measure: nearer to the style, edges of the content, patches that tell nothing."""
    good = {
        "patches_to_style": 0.1,
        "patches_to_content": 0.3,
        "patches_before": 0.4,
        "edges_content": 0.9,
        "edges_style": 0.1,
        "patch_right_before": np.arange(count) < 60,
        "patch_right": np.arange(count) < 12,
    }
    return pd.DataFrame(good | changes, index=range(count))


def test_checks_of_good_images_pass():
    """Value, interval and finding of each: 12 - 10 of the lead of 60 - 10 is 4%."""
    found = measure.validity(measured(), chance=10).set_index("check")
    assert found["passed"].all()
    assert found["value"].tolist() == pytest.approx([100, 100, 4])
    assert found.loc["small patches", "low"] < 4 < found.loc["small patches", "high"] < 50
    assert "falls from 60% to 12%, chance is 10%" in found.loc["small patches", "finding"]
    assert draw.findings(found.reset_index()).endswith("The images count as stylized.")


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("texture", {"patches_to_style": 0.35}),
        ("texture", {"patches_to_style": np.where(np.arange(100) < 53, 0.1, 0.5)}),  # no more than most by chance
        ("shape", {"edges_content": 0.05}),
        ("shape", {"edges_content": np.nan}),
        ("small patches", {"patch_right": np.arange(100) < 50}),
        ("small patches", {"patch_right": np.arange(100) < 33}),  # the interval goes beyond a half
        ("small patches", {"patch_right_before": np.arange(100) < 10}),  # it had never learned anything
        ("small patches", {"patch_right_before": np.arange(100) < 5}),
        ("small patches", {"patch_right_before": False, "patch_right": False}),  # nor does it know anything now
    ],
)
def test_checks_fail_where_they_should(check, changes):
    """One failure alone, and it is told."""
    found = measure.validity(measured(**changes), chance=10)
    assert found[~found["passed"]]["check"].tolist() == [check]
    told = draw.findings(found)
    assert f"FAILED: {check}" in told
    assert told.endswith(f"The images do NOT count as stylized: {check}")


@pytest.mark.parametrize(("right", "passed"), [(29, False), (30, True), (45, True), (60, True), (61, False)])
def test_the_judge_must_lose_a_part(right, passed):
    """Between 30 and 60% after, whatever before; the finding tells both."""
    named = np.stack([np.arange(100) < 98, np.arange(100) < right], axis=1)
    found = measure.validity(measured(), 10, named).set_index("check").loc["judge"]
    assert (found["value"], found["passed"]) == (pytest.approx(right), passed)
    assert found["low"] < right < found["high"]
    assert f"falls from 98% to {right}% on 100 other images" in found["finding"]


def test_failed_checks_are_drawn_as_failed():
    """The title says so; bars stand at the accuracies, content before stylized."""
    checked = measured(edges_content=0.0)
    figure = draw.check_plots(checked, measure.validity(checked, 10), 10)
    assert [axis.get_title() for axis in figure.axes] == ["texture: passed", "shape: FAILED", "small patches: passed"]
    assert [bar.get_height() for bar in figure.axes[2].patches] == pytest.approx([60, 12])
    named = np.stack([np.arange(100) < 98, np.arange(100) < 40], axis=1)
    figure = draw.check_plots(checked, measure.validity(checked, 10, named), 10, named)
    assert [bar.get_height() for bar in figure.axes[3].patches] == pytest.approx([98, 40])
    assert figure.axes[3].get_title() == "judge: passed"
