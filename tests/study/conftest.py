"""What tests of studies share."""

import dataclasses

import pytest
from helpers import small_preset, write_folder

from advlook.study import Study


@pytest.fixture(scope="session")
def opened():
    """A function that opens a study of one small pair of models, in a data folder with a set of noise."""

    def opened(data, output=None, **changes):
        changes = {"data": {"name": "noise"}, "model": {"epochs_std": 1, "epochs_adv": 1}} | changes
        preset = dataclasses.replace(small_preset(**changes), archs=("resnet10",), seeds=(0,))
        return Study(preset, output=output or data / "figures", data=data, progress=False)

    return opened


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A data folder with that set."""
    data = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        write_folder(data / "datasets" / "noise" / split, count=8, side=16)
    return data
