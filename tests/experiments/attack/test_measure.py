"""The rows of the tables: what each says, on small models, against what the attacks give directly."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import convolutional, image_set, small_preset

from advlook import attacks
from advlook.attacks import checks
from advlook.attacks.suite import SUITE, percent
from advlook.data.image_sets import ImageSet, to_float
from advlook.experiments.attack import figures, measure
from advlook.models.evaluation import accuracy_under, predict
from advlook.study.study import Study

IMAGES = 40
KEY = ("resnet10", "std", 0)


@pytest.fixture
def study(tmp_path):
    """A study of one architecture and two seeds whose models are small networks, right about 90% of the images."""
    preset = small_preset(
        evaluation={
            "eps": 0.02,
            "curve": (0.0, 0.01, 0.02),
            "steps": (1, 3, 6),
            "restarts": (1, 2),
            "suite_steps": 5,
            "pgd_steps": 3,
            "l2_eps": 0.4,
            "curve_images": 0,
            "batch_size": 16,
        }
    )
    object.__setattr__(preset, "archs", ("resnet10",))
    object.__setattr__(preset, "seeds", (0, 1))
    study = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    study._models = {
        ("resnet10", setting, seed): convolutional(seed=10 * seed + len(setting + arch)).eval()
        for setting, arch in (("std", ""), ("adv", "x"))
        for seed in (0, 1)
    }
    pixels = image_set(IMAGES, 16).images
    answers = study.model("resnet10", "std", 0)(to_float(pixels)).argmax(1)
    answers[:4] = (answers[:4] + 1) % 3
    study.__dict__["test"] = ImageSet(pixels, answers, ("a", "b", "c"))
    return study


@pytest.fixture
def model(study):
    return study.model(*KEY)


def test_attack_rows(study, model):
    """Each attack has one row, none is above the clean accuracy, and what needs no chance is as the attack gives it."""
    rows = list(measure.attack_rows(study, KEY))
    keys = [(row["attack"], row["norm"], row["eps"], row["steps"], row["restarts"]) for row in rows]
    assert len(keys) == len(set(keys))
    expected = {("none", "linf", 0.0, 0, 0), ("noise", "linf", 0.01, 0, 1), ("pgd, L2", "l2", 0.4, 3, 1)}
    expected |= {("pgd", "linf", eps, n, r) for eps, n, r in ((0.01, 3, 1), (0.02, 6, 1), (0.02, 3, 2))}
    assert expected <= set(keys)
    top1 = {key: row["top1"] for key, row in zip(keys, rows, strict=True)}
    assert top1["none", "linf", 0.0, 0, 0] == pytest.approx(90)
    assert max(top1.values()) == pytest.approx(90)
    for eps in (0.01, 0.02):
        expected = accuracy_under(model, study.test, lambda m, x, y, g, eps=eps: attacks.fgsm(m, x, y, eps))
        assert top1["fgsm", "linf", eps, 1, 1] == pytest.approx(expected)
    suite = [row["top1"] for row in rows if row["attack"].startswith("suite")]
    assert suite == sorted(suite, reverse=True)
    assert len(suite) == len(SUITE)
    assert suite[0] < 90
    assert {row["images"] for row in rows} == {IMAGES}
    for about, attack in measure.attack_cells(study)[-5:]:  # alone as in the table
        key = tuple(about[name] for name in ("attack", "norm", "eps", "steps", "restarts"))
        assert accuracy_under(model, study.test, attack, batch_size=16) == top1[key]


def test_transfer(study, model):
    """Every model is a target; the source itself stands there with its white-box accuracy."""
    rows = {
        (row["target_arch"], row["target_setting"], row["target_seed"]): row["top1"]
        for row in measure.transfer(study, KEY)
    }
    assert set(rows) == set(study.each_model())
    moved = attacks.mi_fgsm(model, to_float(study.test.images), study.test.labels, 0.02, steps=3)
    for key, top1 in rows.items():
        target = study.model(*key)
        right = predict(target, study.test).argmax(1) == study.test.labels
        assert top1 == pytest.approx(percent(right & (target(moved).argmax(1) == study.test.labels)))
    assert rows[KEY] < 90
    (alone,) = measure.transfer(study, KEY, [("resnet10", "adv", 1)])
    assert alone["top1"] == rows["resnet10", "adv", 1]


def test_smallest_radii(study, model):
    """Every image is lost at one radius or never; those wrong as they are come first."""
    rows = list(measure.smallest_radii(study, KEY))
    assert sum(row["lost"] for row in rows) == pytest.approx(100)
    assert rows[0]["eps"] == 0
    assert rows[0]["lost"] == pytest.approx(10)
    radii = [row["eps"] for row in rows]
    assert radii == sorted(radii)
    assert radii[-1] == float("inf")
    assert [radius / 0.4 for radius in radii[1:-1]] == pytest.approx([2 ** (k / 2) for k in range(-6, 7)])
    at_study = next(place for place, eps in enumerate(radii) if eps == pytest.approx(0.4))
    left = 100 - sum(row["lost"] for row in rows[: at_study + 1])
    alone = accuracy_under(
        model, study.test, lambda m, x, y, g: attacks.pgd(m, x, y, 0.4, norm="l2", steps=3, generator=g)
    )
    assert left <= alone + 100 * 2 / IMAGES  # two images either way by the random start


@pytest.mark.parametrize(("setting", "source"), [("std", ("resnet10", "std", 1)), ("adv", ("resnet10", "std", 1))])
def test_trust(study, monkeypatch, setting, source):
    """All seven checks have a row; transfer comes from the STD model of the other seed."""
    seen = {}

    def run_checks(model, images, labels, eps, **options):
        seen.update(options, model=model, images=len(images))
        return real(model, images, labels, eps, **options)

    real = checks.run_checks
    monkeypatch.setattr(measure, "run_checks", run_checks)
    rows = list(measure.trust(study, ("resnet10", setting, 0)))
    assert [row["check"] for row in rows] == list(checks.REMEDIES)
    assert seen["source"] is study.model(*source)
    assert seen["images"] == IMAGES


def test_random_targets_are_other_classes():
    """A target is never the label, and every other class is drawn."""
    labels = torch.arange(3000) % 5
    targets = measure.random_targets(labels, 5, torch.Generator().manual_seed(0))
    assert (targets != labels).all()
    assert len({(int(a), int(b)) for a, b in zip(labels, targets, strict=True)}) == 20


def test_figures_are_drawn_from_the_tables(study):
    """Every plot has a panel for each architecture, and the examples a picture for each image and row."""
    tables = {}
    for name in ("attack_rows", "transfer", "smallest_radii"):
        rows = [(key, list(getattr(measure, name)(study, key))) for key in study.each_model()]
        tables[name] = pd.DataFrame(
            [dict(zip(("arch", "setting", "seed"), key, strict=True)) | row for key, each in rows for row in each]
        )
    attacked = tables["attack_rows"]
    assert len(figures.accuracy_curves(attacked, 3).axes) == 1
    comparison = figures.attack_comparison(attacked, 0.02, 3).axes[0]
    told = {"pgd, L2": "pgd, L2 (radius 0.4)", "noise, L2": "noise, L2 (radius 0.4)"}
    named = {told.get(name, name) for name in attacked["attack"]} - {"suite: pgd"}
    assert {label.get_text() for label in comparison.get_yticklabels()} == named
    assert len(figures.convergence(attacked, 0.02, 3).axes) == 2
    assert [axis.has_data() for axis in figures.survival(tables["smallest_radii"]).axes] == [True]
    found = {name: measure.examples(study, ("resnet10", name, 0), 3) for name in ("std", "adv")}
    assert len(figures.adversarial_examples(found, study.test.classes, 0.02).axes) == 3 * (1 + 2 * 2)


def test_survival_falls_from_the_clean_accuracy():
    """What is left at a radius is what no smaller one has lost; images that are never lost stay to the end."""
    rows = [(0.0, 20.0), (0.5, 30.0), (1.0, 40.0), (np.inf, 10.0)]
    table = pd.DataFrame(rows, columns=["eps", "lost"]).assign(arch="resnet10", setting="std", seed=0)
    (axis,) = figures.survival(pd.concat([table, table.assign(setting="adv")])).axes
    for line in axis.get_lines():
        assert line.get_ydata().tolist() == [80, 50, 10]


def test_examples_get_all_steps(study):
    """A model that is wrong at once is attacked on: its examples lie as far from the image as any model's."""
    found = measure.examples(study, ("resnet10", "std", 0), 6)
    moved = (found["attacked"] - found["images"]).abs().flatten(1)
    assert moved.amax(1).min() == pytest.approx(study.preset.evaluation.eps, abs=1e-6)
    inside = (found["images"] > 0.2) & (found["images"] < 0.8)
    assert (moved[inside.flatten(1)] > 0.5 * study.preset.evaluation.eps).float().mean() > 0.8


def test_transfer_matrix_sets_white_boxes_apart():
    """A model on its own examples counts in the last column alone; other pairs are averaged by their kinds."""
    keys = [("resnet10", setting, seed) for setting in ("std", "adv") for seed in (0, 1)]
    columns = ["arch", "setting", "seed", "target_arch", "target_setting", "target_seed", "top1"]
    tops = [1.0 if a == b else 40.0 + 10 * b[2] for a in keys for b in keys]
    pairs = [(*a, *b) for a in keys for b in keys]
    table = pd.DataFrame([(*pair, top1) for pair, top1 in zip(pairs, tops, strict=True)], columns=columns)
    axis = figures.transfer_matrix(table).axes[0]
    shown = [text.get_text() for text in axis.texts]
    assert shown == ["45", "45", "1"] * 2
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ResNet-10 STD", "ResNet-10 ADV"]
