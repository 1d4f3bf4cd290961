"""Checkpoints from elsewhere in the place of trained models: the command `evaluate`, and a study of them."""

import dataclasses

import pytest
import torch
from helpers import small_preset, write_folder
from weight_layouts import IMAGES, MEAN, STD, Malice, known, network, robustness

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.presets import ExternalConfig
from advlook.experiments.train import measure as measurements
from advlook.models.checkpoints import save_checkpoint
from advlook.study import models as study_module
from advlook.study.study import Study


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with images of three classes and checkpoints from elsewhere."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", side=40)
    torch.save(robustness(known()), tmp_path / "robust.pt")
    torch.save(network(known()), tmp_path / "plain.pth")
    torch.save(network(known(stem="tiny")), tmp_path / "tiny.pt")
    torch.save({"model": Malice(tmp_path / "ran")}, tmp_path / "evil.pt")
    return tmp_path


def test_evaluate_takes_a_checkpoint_from_elsewhere(place, capsys):
    """One table: the images' size as asked for, where the normalisation came from, clean and robust accuracy."""
    arguments = "evaluate --checkpoint robust.pt --arch resnet10 --data photos --size 32 --attack pgd --steps 2"
    assert main(arguments.split()) == 0
    captured = capsys.readouterr()
    header, row = captured.out.strip().splitlines()
    assert "pgd, eps 4/255, 2 steps" in header
    assert row.split()[:6] == ["robust.pt", "6", "32", "of", "37", "file"]
    assert "assumed" not in captured.err


def test_evaluate_says_what_it_assumes(place, capsys):
    """Of a bare state dict it shows 224 of 256 pixels, and says that ImageNet's normalisation is assumed."""
    arguments = "evaluate --checkpoint plain.pth --arch resnet10 --data photos"
    assert main(arguments.split()) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:6] == ["plain.pth", "6", "224", "of", "256", "assumed"]
    assert len(captured.out.splitlines()) == 2
    assert "plain.pth does not say its normalisation" in captured.err
    assert "--mean and --std" in captured.err


def test_evaluate_uses_the_normalisation_given(place, capsys):
    """The accuracies of a bare state dict with mean and std are those of the same network with both in its file."""
    common = "--arch resnet10 --data photos --size 32 --resize 32 --attack fgsm --eps 16/255"
    rows = []
    for checkpoint in ("robust.pt", "plain.pth --mean 0.4,0.5,0.6 --std 0.2,0.25,0.3"):
        assert main(f"evaluate --checkpoint {checkpoint} {common}".split()) == 0
        rows.append(capsys.readouterr().out.splitlines()[1].split())
    assert [row[5] for row in rows] == ["file", "given"]
    assert rows[0][6:] == rows[1][6:]


BAD = {
    "code": ("evil.pt", "evil.pt holds the Python object"),
    "another arch": ("robust.pt --arch resnet50", "another architecture"),
    "no stem": ("tiny.pt", "--stem tiny"),
    "no size": ("tiny.pt --stem tiny", "--size"),
    "unknown stem": ("tiny.pt --stem huge", "huge"),
    "two means": ("plain.pth --mean 0.5,0.5 --std 0.2,0.2,0.2", "0.5,0.5"),
    "mean is no number": ("plain.pth --mean a,b,c --std 0.2,0.2,0.2", "a,b,c"),
    "mean is infinite": ("plain.pth --mean inf,0.5,0.5 --std 0.2,0.2,0.2", "inf"),
    "mean alone": ("plain.pth --mean 0.5,0.5,0.5", "belong together"),
    "std of zero": ("plain.pth --mean 0.5,0.5,0.5 --std 0,0.2,0.2", "std 0,"),
    "size of zero": ("plain.pth --size 0", "--size: 0"),
    "short side below the size": ("plain.pth --size 32 --resize 16", "resize=16"),
    "size is no number": ("plain.pth --size big", "big"),
}


@pytest.mark.parametrize(("options", "named"), BAD.values(), ids=BAD.keys())
def test_evaluate_refuses_in_one_line(place, capsys, options, named):
    """A checkpoint or an option that does not do ends in one line and code 2, and nothing is run."""
    try:
        code = main(f"evaluate --arch resnet10 --data photos --checkpoint {options}".split())
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert (code, len(lines), captured.out) == (2, 1, "")
    assert named in lines[0]
    assert not (place / "ran").exists()


def test_a_size_that_the_network_cannot_see_is_named(place, capsys):
    """AlexNet's published stem leaves nothing of 32 pixels: that is told, not raised from inside."""
    torch.save(known("alexnet_bn").network.state_dict(), place / "alexnet.pt")
    arguments = "evaluate --checkpoint alexnet.pt --arch alexnet_bn --data photos --size 32"
    assert main(arguments.split()) == 2
    assert "size=32 does not suit" in capsys.readouterr().err


def pair(folder, **paths):
    """A preset of one architecture whose models are files in `folder`, one with its normalisation and one without."""
    preset = small_preset(data={"name": "noise", "mean": MEAN, "std": STD})
    paths = {"std": str(folder / "std.pt"), "adv": str(folder / "adv.pt")} | paths
    torch.save(robustness(known(stem="tiny")), folder / "std.pt")
    torch.save(network(known(stem="tiny", seed=2)), folder / "adv.pt")
    external = {"resnet10": ExternalConfig(**paths)}
    return dataclasses.replace(preset, archs=("resnet10",), seeds=(0,), external=external)


@pytest.fixture
def untrained(monkeypatch):
    """Any training fails the test."""
    monkeypatch.setattr(study_module, "train", lambda *a, **k: pytest.fail("training was started"))


def test_external_models_stand_in_for_training(tmp_path, untrained):
    """The study's models have the logits of the files, normalisation from the file or else the preset's."""
    study = Study(pair(tmp_path), output=tmp_path / "figures", data=tmp_path, progress=False)
    study.train_all()
    for setting, seed in (("std", 1), ("adv", 2)):
        model = study.model("resnet10", setting, 0)
        assert torch.equal(model(IMAGES), known(stem="tiny", seed=seed)(IMAGES))
        assert study.checkpoint("resnet10", setting, 0) == tmp_path / f"{setting}.pt"
        assert study.find_checkpoint("resnet10", setting, 0) == tmp_path / f"{setting}.pt"
        assert study.metadata("resnet10", setting, 0) == {}
    untrained_model = study.model("resnet10", "random", 0)
    assert untrained_model.network.conv1.weight.shape == model.network.conv1.weight.shape


def test_external_models_have_no_history(tmp_path, untrained):
    """The training notebook gets empty tables with the usual columns."""
    study = Study(pair(tmp_path), output=tmp_path / "figures", data=tmp_path, progress=False)
    history = measurements.training_history(study)
    report = measurements.overfitting_report(history)
    assert history.empty
    assert report.empty
    assert {"arch", "setting", "seed", "epoch", "loss", "clean", "fgsm", "pgd"} <= set(history)
    assert list(report) == ["arch", "setting", "seed", "fgsm", "pgd", "gap", "catastrophic"]


def test_history_of_an_external_model_that_has_one(tmp_path, untrained):
    """A model trained here and named as external keeps the history in its file; the other one is left out."""
    preset = pair(tmp_path, std=str(tmp_path / "std.safetensors"))
    epochs = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "clean": 50.0, "fgsm": 20.0, "pgd": 15.0}]
    save_checkpoint(tmp_path / "std.safetensors", known(stem="tiny"), {"history": epochs})
    history = measurements.training_history(Study(preset, data=tmp_path, progress=False))
    assert history[["arch", "setting", "seed", "epoch"]].values.tolist() == [
        ["resnet10", "std", 0, 1],
        ["resnet10", "std", 0, 2],
    ]
    assert measurements.overfitting_report(history)["gap"].tolist() == [5.0]


def test_absent_external_model_is_named_before_any_training(tmp_path, untrained):
    """The line names the file, the place in the preset and what to do, also where other models would be trained."""
    preset = dataclasses.replace(pair(tmp_path), archs=("alexnet_bn", "resnet10"))
    (tmp_path / "adv.pt").unlink()
    study = Study(preset, output=tmp_path / "figures", data=tmp_path, progress=False)
    assert study.find_checkpoint("resnet10", "adv", 0) is None
    for attempt in (study.train_all, lambda: study.model("resnet10", "adv", 0)):
        with pytest.raises(RequestError, match=r"adv\.pt \(adv of \[external\.resnet10\].*put it there"):
            attempt()
    with pytest.raises(RequestError, match="external: its pairs are 0, not 1"):
        study.model("resnet10", "std", 1)


@pytest.mark.parametrize(
    ("section", "change", "names"),
    [
        ("data", {"classes": 4}, ["std.pt", "data.classes = 3", "4"]),
        ("model", {"width": 16}, ["std.pt", "models.resnet10.width = 8", "16"]),
        ("model", {"stem": "imagenet"}, ["std.pt", "'conv1.weight'"]),
    ],
)
def test_external_model_that_the_preset_does_not_describe(tmp_path, section, change, names):
    """Classes, width and stem of the file are those that the preset states."""
    preset = pair(tmp_path)
    other = small_preset(**{section: change})
    preset = dataclasses.replace(
        preset, data=dataclasses.replace(preset.data, classes=other.data.classes), models=other.models
    )
    with pytest.raises(RequestError) as caught:
        Study(preset, data=tmp_path).model("resnet10", "std", 0)
    assert all(name in str(caught.value) for name in names)


def test_relative_paths_start_at_the_project(tmp_path, monkeypatch):
    """A path in a preset means the same file from whatever folder the study is run."""
    monkeypatch.setattr(study_module, "ROOT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    preset = pair(tmp_path / "project", std="std.pt")
    monkeypatch.chdir(tmp_path)
    found = Study(preset, data=tmp_path / "data").find_checkpoint("resnet10", "std", 0)
    assert found == tmp_path / "project" / "std.pt"


def test_external_models_change_no_checkpoint_name(tmp_path):
    """What stands in for one architecture has no part in what names the trained checkpoints, only in the preset."""
    preset = pair(tmp_path)
    plain = dataclasses.replace(preset, external={})
    assert preset.digest != plain.digest
    for arch in ("alexnet_bn", "resnet10"):
        assert digest(preset.training_key(arch, "adv", 0)) == digest(plain.training_key(arch, "adv", 0))


def test_reproduce_names_an_absent_external_model(tmp_path, capsys):
    """The runner refuses a preset whose models are not there before it starts a notebook: exit code 2, one line."""
    assert main(["reproduce", "--preset", "external", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "resnet50-std.pt" in error
    assert not any(tmp_path.rglob("*.ipynb"))
