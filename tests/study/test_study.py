"""A study finds or makes its models, keeps every measurement, and says what made each result."""

import json
import shutil
import time

import pandas as pd
import pytest
import torch
from helpers import small_preset, write_folder

from advlook.core.errors import RequestError
from advlook.core.files import file_hash
from advlook.study import models as study_module
from advlook.study.study import Study
from advlook.study.style import image_grid


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data folder with a small image set and the one STD model trained on it."""
    data = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        write_folder(data / "datasets" / "noise" / split, count=8, side=16)
    study = make(data, data / "figures")
    study.checkpoint("resnet10", "std", 0)
    return data


def make(data, output, **changes):
    changes = {"data": {"name": "noise"}, "model": {"epochs_std": 1, "epochs_adv": 1}} | changes
    preset = small_preset(**changes)
    object.__setattr__(preset, "archs", ("resnet10",))
    object.__setattr__(preset, "seeds", (0,))
    return Study(preset, output=output, data=data, progress=False)


def count(study, key):
    """A measurement that counts how often it is taken."""
    count.calls += 1
    yield {"value": float(sum(p.numel() for p in study.model(*key).parameters()))}


def test_a_trained_model_is_not_trained_again(trained, tmp_path, monkeypatch):
    """The checkpoint that lies there is used by the next study."""
    monkeypatch.setattr(study_module, "train", lambda *a, **k: pytest.fail("trained again"))
    assert make(trained, tmp_path).model("resnet10", "std", 0).training is False


def test_another_configuration_is_another_model(trained, tmp_path):
    """A checkpoint of another learning rate does not count, one of other evaluation settings does."""
    assert (
        make(trained, tmp_path, model={"learning_rate": 0.5, "epochs_std": 1}).find_checkpoint("resnet10", "std", 0)
        is None
    )
    assert make(trained, tmp_path, evaluation={"pgd_steps": 3}).find_checkpoint("resnet10", "std", 0) is not None


def test_shipped_checkpoints_are_found(trained, tmp_path):
    """A checkpoint in data/models serves as well as one trained here."""
    name = "resnet10-std-seed0.safetensors"
    shipped = tmp_path / "models" / "small"
    shipped.mkdir(parents=True)
    shutil.copy(trained / "cache" / "models" / "small" / name, shipped / name)
    found = make(tmp_path, tmp_path / "figures").find_checkpoint("resnet10", "std", 0)
    assert found == shipped / name


def test_random_models_are_untrained_and_reproducible(trained, tmp_path):
    """Setting "random" is the initial model of the seed, the same in every study."""
    first, second = (make(trained, tmp_path).model("resnet10", "random", 0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_measurements_are_taken_once(trained, tmp_path):
    """A second study reads the rows of the first; another preset measures anew."""
    count.calls = 0
    settings = ("std",)
    first = make(trained, tmp_path).measure("count", count, settings)
    second = make(trained, tmp_path).measure("count", count, settings)
    assert count.calls == 1
    pd.testing.assert_frame_equal(first, second)
    assert list(first.columns) == ["arch", "setting", "seed", "value"]
    make(trained, tmp_path, evaluation={"pgd_steps": 3}).measure("count", count, settings)
    assert count.calls == 2


def test_a_measurement_depends_on_every_model_and_on_what_it_is_told(trained, tmp_path):
    """Rows may compare a model with another one, or read more than images: where these change, they are taken anew."""
    shutil.copytree(trained, tmp_path / "data")
    count.calls = 0
    make(tmp_path / "data", tmp_path).rows("depends", count, ("std",))
    make(tmp_path / "data", tmp_path).rows("depends", count, ("std",), inputs=["other styles"])
    assert count.calls == 2
    make(tmp_path / "data", tmp_path).checkpoint("resnet10", "adv", 0)
    make(tmp_path / "data", tmp_path).rows("depends", count, ("std",))
    assert count.calls == 3


def test_records_count_the_seconds_of_kept_parts(trained, tmp_path):
    """A table made from rows that were kept says how long they took to measure, not how long they took to read."""

    def slow(study, key):
        time.sleep(0.3)
        yield {"value": 1.0}

    make(trained, tmp_path).measure("slow", slow, ("std",))
    study = make(trained, tmp_path)
    study.measure("slow", slow, ("std",))
    record = json.loads((study.output / "tables" / "slow.json").read_text())
    assert record["seconds"] >= record["seconds_kept"] >= 0.3


def test_folders_may_be_relative(tmp_path, monkeypatch):
    """A notebook runs in another folder than the command was given in; both mean the same one."""
    monkeypatch.chdir(tmp_path)
    study = Study(small_preset(), output="results", data="images", progress=False)
    assert study.output == tmp_path / "results" / "small"
    assert study.data == tmp_path / "images"


def test_an_interrupted_measurement_keeps_what_it_has(trained, tmp_path):
    """Models measured before the interruption are not measured again."""
    count.calls, stopped = 0, [True]

    def measurement(study, key):
        if stopped and key[1] == "random":
            raise KeyboardInterrupt
        return count(study, key)

    with pytest.raises(KeyboardInterrupt):
        make(trained, tmp_path / "a").measure("kept", measurement, ("std", "random"))
    stopped.clear()
    make(trained, tmp_path / "a").measure("kept", measurement, ("std", "random"))
    assert count.calls == 2


def test_table_and_figure_carry_their_provenance(trained, tmp_path):
    """Beside each result lies a record of preset, commit, versions, checkpoints and seconds, and no path."""
    study = make(trained, tmp_path)
    study.save_table("t", pd.DataFrame({"a": [1.5]}))
    study.save_figure("f", image_grid(torch.rand(2, 3, 8, 8), ["a", "b"]), caption="what", paper="how it differs")
    table, figure = (json.loads((study.output / p).read_text()) for p in ("tables/t.json", "f.json"))
    for record in (table, figure):
        assert {"preset", "preset_digest", "commit", "dirty", "seeds", "packages", "device", "seconds"} <= set(record)
        path = study.find_checkpoint("resnet10", "std", 0)
        assert record["checkpoints"] == {"resnet10-std-0": file_hash(path)}
        assert str(tmp_path) not in json.dumps(record)
    assert figure["caption"] == "what"
    assert pd.read_csv(study.output / "tables" / "t.csv")["a"].tolist() == [1.5]
    assert (study.output / "f.png").stat().st_size > 1000


@pytest.mark.parametrize(("arch", "setting"), [("resnet50", "std"), ("resnet10", "robust")])
def test_unknown_models_are_refused_by_name(trained, tmp_path, arch, setting):
    """A model outside the preset is an error that names it."""
    with pytest.raises(RequestError, match=arch if arch == "resnet50" else setting):
        make(trained, tmp_path).model(arch, setting)
