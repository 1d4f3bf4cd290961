"""A small study with an image set to learn, and checkpoints that were never trained."""

import dataclasses

import pytest
from helpers import small_preset, write_folder

from advlook.core.files import digest
from advlook.core.presets import EnsemblesConfig
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.study.study import Study

CONFIG = EnsemblesConfig(
    targets=("noise", "stanford-dogs"),
    images=18,
    test_images=12,
    degraded=("noise",),
    sides=(4, 8),
    fine_tuned=("noise",),
    fine_tuned_images=12,
    fine_tuned_test_images=9,
    epochs=1,
    learning_rate=0.01,
    runs=2,
)


def make_preset(**changes):
    preset = small_preset(data={"name": "noise"}, evaluation={"batch_size": 8, "top_k": 2})
    ensembles = dataclasses.replace(CONFIG, **changes)
    return dataclasses.replace(preset, archs=("resnet10",), ensembles=ensembles)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with an image set of three classes, and checkpoints that were never trained."""
    data = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        write_folder(data / "datasets" / "noise" / split, count=8, side=16)
    preset = make_preset()
    for setting in ("std", "adv"):
        for seed in preset.seeds:
            key = preset.training_key("resnet10", setting, seed)
            path = data / "models" / "small" / f"resnet10-{setting}-seed{seed}.safetensors"
            model = preset_model(preset, "resnet10", 10 * seed + (setting == "adv"))
            save_checkpoint(path, model, {"digest": digest(key)})
    return data


@pytest.fixture
def make_study():
    """A function of data folder, output folder and changes of the preset's ensembles."""

    def make(data, output, **changes):
        return Study(make_preset(**changes), output=output, data=data, progress=False)

    return make


@pytest.fixture
def study(data, tmp_path, make_study):
    """A study whose runs are its own: the same images and checkpoints, no cache."""
    for name in ("datasets", "models"):
        (tmp_path / name).symlink_to(data / name)
    return make_study(tmp_path, tmp_path / "figures")
