"""A study finds or makes its models, keeps every measurement, and says what made each result."""

import json
import shutil
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from helpers import small_preset

from advlook.core import RequestError, file_hash
from advlook.core.presets import ControlConfig
from advlook.study import models as study_module
from advlook.study.study import Study
from advlook.study.style import image_grid


@pytest.fixture(scope="module")
def trained(noise, opened):
    """A data folder with the one STD model trained on it."""
    opened(noise).checkpoint("resnet10", "std", 0)
    return noise


@pytest.fixture
def make(opened, trained, tmp_path):
    """A function that opens a study of the trained model, by default with results of its own."""
    return lambda data=trained, output=tmp_path, **changes: opened(data, output, **changes)


def count(study, key):
    """A measurement that counts how often it is taken."""
    count.calls += 1
    yield {"value": float(sum(p.numel() for p in study.model(*key).parameters()))}


def test_a_trained_model_is_not_trained_again(make, monkeypatch):
    """The checkpoint that lies there is used by the next study."""
    monkeypatch.setattr(study_module, "train", lambda *a, **k: pytest.fail("trained again"))
    assert make().model("resnet10", "std", 0).training is False


def test_another_configuration_is_another_model(make):
    """A checkpoint of another learning rate does not count, one of other evaluation settings does."""
    faster, stronger = make(model={"learning_rate": 0.5, "epochs_std": 1}), make(evaluation={"pgd_steps": 3})
    assert faster.find_checkpoint("resnet10", "std", 0) is None
    assert stronger.find_checkpoint("resnet10", "std", 0) is not None


def test_shipped_checkpoints_are_found(make, trained, tmp_path):
    """A checkpoint in data/models serves as well as one trained here."""
    name = "resnet10-std-seed0.safetensors"
    shipped = tmp_path / "models" / "small"
    shipped.mkdir(parents=True)
    shutil.copy(trained / "cache" / "models" / "small" / name, shipped / name)
    assert make(tmp_path).find_checkpoint("resnet10", "std", 0) == shipped / name


def test_random_models_are_untrained_and_reproducible(make):
    """Setting "random" is the initial model of the seed, the same in every study."""
    first, second = (make().model("resnet10", "random", 0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_measurements_are_taken_once(make):
    """A second study reads the rows of the first; another preset measures anew."""
    count.calls = 0
    first, second = (make().measure("count", count, ("std",)) for _ in range(2))
    assert count.calls == 1
    pd.testing.assert_frame_equal(first, second)
    assert list(first.columns) == ["arch", "setting", "seed", "value"]
    make(evaluation={"pgd_steps": 3}).measure("count", count, ("std",))
    assert count.calls == 2


def test_a_measurement_depends_on_every_model_and_on_what_it_is_told(make, trained, tmp_path):
    """Rows may compare a model with another one, or read more than images: where these change, they are taken anew."""
    shutil.copytree(trained, tmp_path / "data")
    count.calls, study = 0, make(tmp_path / "data")
    study.rows("depends", count, ("std",))
    study.rows("depends", count, ("std",), inputs=["other styles"])
    assert count.calls == 2
    study.checkpoint("resnet10", "adv", 0)
    study.rows("depends", count, ("std",))
    assert count.calls == 3


def test_controls_are_models_of_the_study(make, trained, tmp_path):
    """A control is found, measured beside STD and ADV, named in the record, and rests on its own weights."""
    data = tmp_path / "data"
    shutil.copytree(trained, data)
    study = make(data)
    control = {"title": "again", "archs": ("resnet10",), "seeds": (4,), "adversary": study.preset.adversary}
    control = ControlConfig(like="std", training=replace(study.preset.training, noise=0.1), **control)
    preset = replace(study.preset, controls={"noisy": control})
    study = Study(preset, output=data / "figures", data=data, progress=False)
    assert list(study.each_model(["adv", "noisy"])) == [("resnet10", "adv", 0), ("resnet10", "noisy", 4)]
    before = study.weights
    study.train_all(["noisy"])
    assert study.weights == before
    study.checkpoint("resnet10", "adv", 0)
    asked = []

    def measurement(study, key):
        asked.append(key[1])
        yield {"value": study.model(*key) is not None}

    for _ in range(2):
        table = study.rows("mine", measurement, ["adv", "noisy"])
    assert asked == ["adv", "noisy"] == table["setting"].tolist()
    study.save_table("mine", table)
    record = json.loads((study.output / "tables" / "mine.json").read_text())
    assert "resnet10-noisy-4" in record["checkpoints"]
    with pytest.raises(RequestError, match="std, adv, noisy"):
        study.checkpoint("resnet10", "nosy", 4)


def test_records_count_the_seconds_of_kept_parts(make):
    """A table made from rows that were kept says how long they took to measure, not how long they took to read."""

    def slow(study, key):
        time.sleep(0.3)
        yield {"value": 1.0}

    make().measure("slow", slow, ("std",))
    study = make()
    study.measure("slow", slow, ("std",))
    record = json.loads((study.output / "tables" / "slow.json").read_text())
    assert record["seconds"] >= record["seconds_kept"] >= 0.3


def test_folders_may_be_relative(tmp_path, monkeypatch):
    """A notebook runs in another folder than the command was given in; both mean the same one."""
    monkeypatch.chdir(tmp_path)
    study = Study(small_preset(), output="results", data="images", progress=False)
    assert study.output == tmp_path / "results" / "small"
    assert study.data == tmp_path / "images"


def test_an_interrupted_measurement_keeps_what_it_has(make):
    """Models measured before the interruption are not measured again."""
    count.calls, stopped = 0, [True]

    def measurement(study, key):
        if stopped and key[1] == "random":
            raise KeyboardInterrupt
        return count(study, key)

    with pytest.raises(KeyboardInterrupt):
        make().measure("kept", measurement, ("std", "random"))
    stopped.clear()
    make().measure("kept", measurement, ("std", "random"))
    assert count.calls == 2


def test_table_and_figure_carry_their_provenance(make, tmp_path):
    """Beside each result lies a record of preset, commit, versions, checkpoints and seconds, and no path."""
    study = make()
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
def test_unknown_models_are_refused_by_name(make, arch, setting):
    """A model outside the preset is an error that names it."""
    with pytest.raises(RequestError, match=arch if arch == "resnet50" else setting):
        make().model(arch, setting)
