"""What a trained checkpoint tells of its data: its classes, and which images were held out."""

import dataclasses

import pytest
import torch
from helpers import small_preset, write_folder

from advlook.core.errors import RequestError
from advlook.core.presets import ExternalConfig
from advlook.models.architectures import preset_model
from advlook.models.checkpoint_accuracy import evaluate_checkpoint
from advlook.models.checkpoints import read_metadata, save_checkpoint
from advlook.study import Study


@pytest.fixture
def photos(tmp_path):
    """A data folder with a set of class folders alone, which is split automatically."""
    return write_folder(tmp_path / "datasets" / "noise", count=10, side=16)


def test_training_records_classes_and_what_it_left_out(photos, opened, tmp_path):
    """`evaluate --split held-out` shows a checkpoint trained here the images that its own test accuracy is of."""
    path = opened(tmp_path).checkpoint("resnet10", "std", 0)
    told = read_metadata(path)
    assert told["classes"] == ["ant", "bee", "cat"]
    held_out = evaluate_checkpoint(path, "resnet10", photos, split="held-out", progress=False)
    assert held_out[["images", "names"]].values.tolist() == [[6, "file"]]
    assert held_out["top1"].item() == pytest.approx(told["accuracy"]["top1"])
    every = evaluate_checkpoint(path, "resnet10", photos, progress=False)
    assert every["images"].item() == 30
    assert any("--split held-out" in note for note in every.attrs["notes"])


def test_a_class_renamed_after_training_is_named(photos, opened, tmp_path):
    """A study does not take a model whose classes are no longer those of its folder, in their order."""
    opened(tmp_path).checkpoint("resnet10", "std", 0)
    (photos / "ant").rename(photos / "zant")
    with pytest.raises(RequestError, match=r"has the classes ant, bee, cat, but noise now has bee, cat, zant"):
        opened(tmp_path).model("resnet10", "std", 0)


def test_training_does_not_go_on_with_other_classes(photos, opened, tmp_path):
    """A state that was left before a class was renamed starts training anew: its logits are of other classes."""
    study = opened(tmp_path, model={"epochs_std": 2, "epochs_adv": 2})

    def interrupt(images):
        interrupt.shown += images
        if interrupt.shown > 24:  # in the second epoch, of 24 images
            raise KeyboardInterrupt

    interrupt.shown = 0
    with pytest.raises(KeyboardInterrupt):
        study.checkpoint("resnet10", "std", 0, progressed=interrupt)
    again = [opened(tmp_path, model={"epochs_std": 2, "epochs_adv": 2}) for _ in range(2)]
    resumed = []
    with pytest.raises(KeyboardInterrupt):
        again[0].checkpoint("resnet10", "std", 0, progressed=lambda images: resumed.append(images) or interrupt(images))
    (photos / "ant").rename(photos / "zant")
    renewed = []
    again[1].checkpoint("resnet10", "std", 0, progressed=renewed.append)
    assert (resumed[0], renewed[0]) == (24, 0)  # what is told to be done already


def test_an_external_model_answers_in_the_classes_of_the_images(tmp_path):
    """A checkpoint that names its classes in another order gives logits in that of the set; one that lacks a class of
    the set is refused by its name."""
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    preset = small_preset(data={"name": "cifar10", "classes": 10})
    images, answers = torch.rand(2, 3, 24, 24), []
    for classes in (names, names[::-1], [*names[:-1], "lorry"]):
        path = tmp_path / "some.safetensors"
        save_checkpoint(path, preset_model(preset, "resnet10", 0), {"classes": classes})
        external = {"resnet10": ExternalConfig(std=str(path), adv=str(path))}
        study = Study(dataclasses.replace(preset, archs=("resnet10",), seeds=(0,), external=external), data=tmp_path)
        if "lorry" in classes:
            with pytest.raises(RequestError, match=r"none of the model's classes: truck; it knows airplane"):
                study.model("resnet10", "std", 0)
        else:
            answers.append(study.model("resnet10", "std", 0)(images))
    torch.testing.assert_close(answers[0], answers[1].flip(1))
