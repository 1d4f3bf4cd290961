"""Notebook 01's measurements on small models, against what the attacks give directly, and its figures."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers import convolutional, image_set, small_preset

from advlook.data.image_sets import ImageSet, to_float
from advlook.experiments.train import figures, measure
from advlook.models.evaluation import robust_accuracy
from advlook.study.study import Study

KEY = ("resnet10", "std", 0)


@pytest.fixture
def study(tmp_path):
    """A study whose one model is a small network, right about 90% of 40 images."""
    preset = small_preset(data={"test_images": 40}, evaluation={"eps": 0.02, "pgd_steps": 3, "batch_size": 16})
    study = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    study._models[KEY] = convolutional(seed=3).eval()
    pixels = image_set(40, 16).images
    answers = study.model(*KEY)(to_float(pixels)).argmax(1)
    answers[:4] = (answers[:4] + 1) % 3
    study.__dict__["test"] = ImageSet(pixels, answers, ("a", "b", "c"))
    return study


def test_tradeoff_remembers_which_images(study):
    """Accuracies are those of the attacks; the arrays are right as often, and under PGD only where before."""
    (row,) = measure.tradeoff(study, KEY)
    config = study.preset.evaluation
    told = robust_accuracy(study.model(*KEY), study.test, config.eps, steps=config.pgd_steps, batch_size=16)
    right, under_pgd = row["right"], row["right_pgd"]
    assert row["top1"] == pytest.approx(told["clean"]) == pytest.approx(100 * right.mean()) == pytest.approx(90)
    assert row["robust_fgsm"] == pytest.approx(told["fgsm"])
    assert row["robust_pgd"] == pytest.approx(told["pgd"]) == pytest.approx(100 * under_pgd.mean())
    assert 0 < under_pgd.sum() < right.sum()
    assert not (under_pgd & ~right).any()
    assert right.dtype == under_pgd.dtype == np.bool_
    assert list(row)[:6] == ["top1", "top5", "robust_fgsm", "robust_pgd", "eps", "images"]


def test_cues_are_counted(study):
    """Answers by texture, by shape and by neither are all answers; single cues are those of the split's labels."""
    study._models[KEY] = convolutional(classes=10, seed=3).eval()
    (row,) = measure.cues(study, KEY)
    shown, answers = measure.cue_answers(study, KEY, "texture_only")
    assert len(shown.images) == row["images"] == 40
    assert row["by_texture"] + row["by_shape"] + row["by_neither"] == pytest.approx(100)
    assert row["texture_only"] == pytest.approx(100 * (answers == shown.textures).double().mean().item())


def test_overfitting_is_told_of_adv_alone():
    """The last check counts; FGSM far above PGD is catastrophic for ADV, and no matter for STD."""
    checks = [(1, 30.0, 25.0), (2, None, None), (3, 90.0, 5.0)]
    rows = [("resnet10", setting, 0, *check) for setting in ("std", "adv") for check in checks]
    history = pd.DataFrame(rows, columns=["arch", "setting", "seed", "epoch", "fgsm", "pgd"]).assign(clean=80.0)
    report = measure.overfitting_report(history)
    assert report["gap"].tolist() == [85.0, 85.0]
    assert report["catastrophic"].tolist() == ["no", "yes"]


def test_figures_are_drawn_from_the_tables():
    """Three panels an architecture, a point a model, and bars that add up to all answers."""
    keys = list(product(("alexnet_bn", "resnet10"), ("std", "adv"), (0, 1)))
    table = pd.DataFrame(keys, columns=["arch", "setting", "seed"]).assign(top1=90.0, robust_pgd=30.0, eps=4 / 255)
    epochs = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "clean": [10, 20], "fgsm": [5, 9], "pgd": [5, 8]})
    axes = figures.training_curves(table[["arch", "setting", "seed"]].merge(epochs, how="cross")).axes
    assert [axis.has_data() for axis in axes] == [True] * 6
    assert [axis.get_title() for axis in axes[3:]] == [""] * 3
    (axis,) = figures.tradeoff(table).axes
    assert sum(len(points.get_offsets()) for points in axis.collections) == len(keys)
    assert "4/255" in axis.get_ylabel()
    shares = table.assign(by_texture=50.0, by_neither=20.0, by_shape=30.0)
    bars = figures.cue_choice(shares).axes[0].patches
    assert sum(bar.get_width() for bar in bars) == 100 * len(keys)
