"""Blur with its contrast restored, and contrast lowered alone: models that are known to need either one."""

import dataclasses
import io

import pandas as pd
import pytest
import torch
from helpers import image_set, random_images, small_preset, smooth
from torch import nn

from advlook.core import RequestError
from advlook.corruptions import gaussian_blur, match_contrast
from advlook.experiments.corruptions import contrast, figures, findings
from advlook.experiments.corruptions.contrast import BLURRED, LOWERED, PLAIN, RESTORED
from advlook.study.study import Study

SIGMAS = (0.5, 1.0, 2.0)
CONFIG = {"images": 20, "sigmas": SIGMAS, "blur_kernel": 9, "family_images": 12}


def test_contrast_is_that_of_the_others():
    """The root mean square about an image's own mean, which stays; both ways, and of images one by one."""
    images, others = random_images(3, 12), smooth(3, 12, seed=1) / 2
    made = match_contrast(images, others)
    torch.testing.assert_close(made.mean((1, 2, 3)), images.mean((1, 2, 3)))
    torch.testing.assert_close(made.flatten(1).std(1), others.flatten(1).std(1))
    torch.testing.assert_close(match_contrast(made, images), images)
    torch.testing.assert_close(match_contrast(images[1:2], others[1:2]), made[1:2])
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(match_contrast(flat, random_images(1, 4)), flat)
    with pytest.raises(RequestError, match="images"):
        match_contrast(images[0], others[0])


class ByContrast(nn.Module):
    """Answers 0 where the contrast is above a bound, and 1 elsewhere: structure makes no difference."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def forward(self, images):
        high = images.flatten(1).std(1) > self.bound
        return torch.stack([high, ~high], 1).float()


class ByNeighbours(nn.Module):
    """Answers 0 where neighbours differ much in units of the image's contrast, which alone makes no difference."""

    def forward(self, images):
        rough = images.diff(dim=3).flatten(1).std(1) > 0.9 * images.flatten(1).std(1)
        return torch.stack([rough, ~rough], 1).float()


@pytest.fixture
def rows(tmp_path):
    """STD answers by contrast, ADV by fine structure; noise is of class 0 for both."""
    preset = dataclasses.replace(small_preset(corruptions=CONFIG), archs=("resnet10",), seeds=(0, 1))
    study = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    images = image_set(40, 24)
    study.__dict__["test"] = dataclasses.replace(
        images, images=(255 * random_images(40, 24)).byte(), labels=torch.zeros(40, dtype=torch.int64)
    )
    models = {"std": ByContrast(0.24).eval(), "adv": ByNeighbours().eval()}
    study._models = {("resnet10", setting, seed): model for setting, model in models.items() for seed in (0, 1)}
    found = [
        {"arch": arch, "setting": setting, "seed": seed} | row
        for arch, setting, seed in study._models
        for row in contrast.contrast_rows(study, (arch, setting, seed))
    ]
    few = list(contrast.contrast_rows(study, ("resnet10", "adv", 0), BLURRED, torch.tensor([5, 2])))
    assert [row["sigma"] for row in few] == list(SIGMAS)
    whole = {row["sigma"]: row["right"] for row in found if row["change"] == BLURRED and row["setting"] == "adv"}
    assert all((row["right"] == whole[row["sigma"]][[5, 2]]).all() for row in few)
    return pd.DataFrame(found)


def test_what_a_model_needs_is_found(rows):
    """Contrast restored gives all back to the model that answers by it, and nothing to the one by fine structure;
    contrast lowered alone takes all from the first and nothing from the second."""
    assert gaussian_blur(random_images(4, 24), SIGMAS[-1]).flatten(1).std(1).max() < 0.24
    at = rows[rows["sigma"] == SIGMAS[-1]].groupby(["setting", "change"])["top1"].mean()
    assert at["std"].to_dict() == {PLAIN: 100, BLURRED: 0, RESTORED: 100, LOWERED: 0}
    assert at["adv"].to_dict() == {PLAIN: 100, BLURRED: 0, RESTORED: 0, LOWERED: 100}
    assert set(rows["images"]) == {CONFIG["family_images"]}


def test_effects_and_what_is_said_of_them(rows):
    """By change, in points with intervals; of all seeds and of each; the sentence names the largest."""
    table = contrast.effects(rows)
    assert len(table) == 2 * len(SIGMAS) * 2 * 3
    found = table[(table["seed"] == "all") & (table["sigma"] == SIGMAS[-1])].set_index(["change", "setting"])["effect"]
    assert found[RESTORED, "std"] == 100
    assert found[RESTORED, "adv"] == 0
    assert found[LOWERED, "std"] == -100
    assert found[LOWERED, "adv"] == 0
    assert (table["low"] <= table["effect"]).all()
    (line,) = findings.of_contrast(table)
    assert "restoring the contrast after blur changes accuracy by up to +100.0 points for STD" in line
    assert "without blur, by up to -100.0 points for STD" in line
    assert "+0.0 points for ADV" in line
    figures.contrast_curves(rows, 50.0).savefig(io.BytesIO(), format="png")
