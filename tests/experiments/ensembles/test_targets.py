"""The image sets that ensembles learn: there and absent, drawn, degraded and kept."""

import torch
from helpers import write_folder

from advlook.experiments.ensembles import targets
from advlook.experiments.ensembles.targets import POOLED, degraded, find_target, find_targets, load_images


def test_absent_sets_are_named_with_what_gets_them(study):
    """A set that is not there is told with its command, and the others are found."""
    found, absent = find_targets(study, study.preset.ensembles.targets)
    assert [target.name for target in found] == ["noise"]
    assert list(absent) == ["stanford-dogs"]
    assert "curl -fL http://vision.stanford.edu" in absent["stanford-dogs"]
    assert "\n" not in absent["stanford-dogs"]


def test_targets_come_by_resolution(study):
    """The lowest resolution first; of a folder nobody knows it is that of the models, or what it is degraded to."""
    found, _ = find_targets(study, ["noise", "noise@8", "noise@4"])
    assert [(target.pixels, target.side) for target in found] == [(4, 4), (8, 8), (16, 0)]
    assert len({target.digest for target in found}) == 3
    assert find_target(study, "noise").at(16) == find_target(study, "noise")
    assert find_target(study, "noise").at(8) == find_target(study, "noise@8")


def test_all_targets_have_as_many_images(study, make_study):
    """So many training and test images as the preset says for frozen backbones and for fine-tuning, and all where there
    are fewer or it says 0."""
    target, tuned = find_target(study, "noise"), find_target(study, "noise", tuned=True)
    assert (target.train, target.test, tuned.train, tuned.test) == (18, 12, 12, 9)
    assert (len(load_images(study, target, "train")), len(load_images(study, target, "test"))) == (18, 12)
    for count in (0, 1000):
        assert find_target(make_study(study.data, study.output, images=count), "noise").train == 24


def test_small_sets_are_pooled_for_frozen_backbones_alone(study):
    """All images of a set of folds are for training and for testing; fine-tuning has the set's own split."""
    write_folder(study.data / "datasets" / "dtd10", count=10, side=16)
    target, tuned = find_target(study, "dtd10"), find_target(study, "dtd10", tuned=True)
    assert (target.folds, target.train, target.test) == (5, 30, 30)
    assert (tuned.folds, tuned.train, tuned.test) == (0, 12, 6)
    assert sorted(map(len, load_images(study, target, POOLED).labels.split(10))) == [10, 10, 10]


def test_the_backbones_own_set_is_known(study):
    """The set that the models were trained on is told apart."""
    write_folder(study.data / "datasets" / "other" / "train", count=3, side=16)
    write_folder(study.data / "datasets" / "other" / "test", count=3, side=16)
    assert [find_target(study, name).known for name in ("noise", "other")] == [True, False]


def test_degraded_images_keep_only_what_fits():
    """A checkerboard of single pixels is gone at half the resolution; a flat image and large squares stay."""
    board = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)
    fine, coarse = board.repeat(8, 8), board.repeat_interleave(8, 0).repeat_interleave(8, 1)
    images = torch.stack([fine, coarse, torch.full((16, 16), 77, dtype=torch.uint8)])[:, None].expand(-1, 3, -1, -1)
    fine, coarse, flat = degraded(images, 8).float()
    assert fine[:, 4:-4, 4:-4].sub(127.5).abs().max() < 8
    assert coarse.sub(images[1]).abs().mean() < 20
    assert (flat == 77).all()
    assert degraded(images, 8).dtype == torch.uint8


def test_degraded_sets_are_kept_in_files(study, monkeypatch):
    """Made in batches they are what they would be at once; and made once, whatever is loaded in between."""
    monkeypatch.setattr(targets, "_BATCH", 5)
    whole = find_target(study, "noise")
    for split, augmented in (("train", True), ("test", False)):
        expected = degraded(load_images(study, whole, split, augmented).images, 8)
        assert torch.equal(load_images(study, whole.at(8), split, augmented).images, expected)
        targets._load.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(targets, "degraded", None)
            assert torch.equal(load_images(study, whole.at(8), split, augmented).images, expected)
