"""The rows of the tables: what each says, on small models, against what the attacks give directly."""

import pytest
import torch
from helpers import convolutional, image_set, small_preset

from advlook import attacks
from advlook.attacks import checks
from advlook.attacks.suite import percent
from advlook.data.image_sets import ImageSet, to_float
from advlook.experiments.attack import measure as attack_measure
from advlook.experiments.attack import measure as measurements
from advlook.experiments.train import measure as train_measure
from advlook.models.evaluation import accuracy_under, predict, robust_accuracy
from advlook.stats.paired import unpack
from advlook.study.study import Study

IMAGES = 40


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
    return study.model("resnet10", "std", 0)


def test_tradeoff_remembers_which_images(study, model):
    """Accuracies are those of the attacks; the packed images are right as often, and under PGD only where before."""
    (row,) = train_measure.tradeoff(study, model)
    config = study.preset.evaluation
    told = robust_accuracy(model, study.test, config.eps, steps=config.pgd_steps, batch_size=config.batch_size)
    right, under_pgd = unpack([row["right"], row["right_pgd"]], IMAGES)
    assert row["top1"] == pytest.approx(told["clean"]) == pytest.approx(100 * right.mean()) == pytest.approx(90)
    assert row["robust_fgsm"] == pytest.approx(told["fgsm"])
    assert row["robust_pgd"] == pytest.approx(told["pgd"]) == pytest.approx(100 * under_pgd.mean())
    assert 0 < under_pgd.sum() < right.sum()
    assert not (under_pgd & ~right).any()
    assert list(row)[:6] == ["top1", "top5", "robust_fgsm", "robust_pgd", "eps", "images"]


def test_attack_rows(study, model):
    """Each attack has one row, none is above the clean accuracy, and what needs no chance is as the attack gives it."""
    rows = list(attack_measure.attack_rows(study, model))
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
    assert len(suite) == len(attacks.SUITE)
    assert suite[0] < 90
    assert {row["images"] for row in rows} == {IMAGES}


def test_transfer(study, model):
    """Every model is a target; the source itself stands there with its white-box accuracy."""
    rows = {
        (row["target_arch"], row["target_setting"], row["target_seed"]): row["top1"]
        for row in attack_measure.transfer(study, model)
    }
    assert set(rows) == set(study.each_model())
    moved = attacks.mi_fgsm(model, to_float(study.test.images), study.test.labels, 0.02, steps=3)
    for key, top1 in rows.items():
        target = study.model(*key)
        right = predict(target, study.test).argmax(1) == study.test.labels
        assert top1 == pytest.approx(percent(right & (target(moved).argmax(1) == study.test.labels)))
    assert rows["resnet10", "std", 0] < 90


def test_smallest_radii(study, model):
    """Every image is lost at one radius or never; those wrong as they are come first."""
    rows = list(attack_measure.smallest_radii(study, model))
    assert sum(row["lost"] for row in rows) == pytest.approx(100)
    assert rows[0]["eps"] == 0
    assert rows[0]["lost"] == pytest.approx(10)
    radii = [row["eps"] for row in rows]
    assert radii == sorted(radii)
    assert radii[-1] == float("inf")
    at_study = next(place for place, eps in enumerate(radii) if eps == pytest.approx(0.4))
    left = 100 - sum(row["lost"] for row in rows[: at_study + 1])
    alone = accuracy_under(
        model, study.test, lambda m, x, y, g: attacks.pgd(m, x, y, 0.4, norm="l2", steps=3, generator=g)
    )
    assert left <= alone + 100 * 2 / IMAGES  # two images either way by the random start


@pytest.mark.parametrize(("setting", "source"), [("std", ("resnet10", "std", 1)), ("adv", ("resnet10", "std", 1))])
def test_trust(study, monkeypatch, setting, source):
    """All six checks have a row; transfer comes from the STD model of the other seed."""
    seen = {}

    def run_checks(model, images, labels, eps, **options):
        seen.update(options, model=model, images=len(images))
        return real(model, images, labels, eps, **options)

    real = checks.run_checks
    monkeypatch.setattr(measurements, "run_checks", run_checks)
    rows = list(attack_measure.trust(study, study.model("resnet10", setting, 0)))
    assert [row["check"] for row in rows] == list(checks.REMEDIES)
    assert seen["source"] is study.model(*source)
    assert seen["images"] == IMAGES


def test_random_targets_are_other_classes():
    """A target is never the label, and every other class is drawn."""
    labels = torch.arange(3000) % 5
    targets = attack_measure.random_targets(labels, 5, torch.Generator().manual_seed(0))
    assert (targets != labels).all()
    assert len({(int(a), int(b)) for a, b in zip(labels, targets, strict=True)}) == 20
