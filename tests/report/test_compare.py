"""`advlook compare`: the preset it writes, the samples that fit the time, and what it refuses."""

from pathlib import Path

import pytest
import torch
from helpers import write_folder

from advlook.__main__ import main
from advlook.core.preset_files import load_preset
from advlook.models.builders import builder
from advlook.report import compare as command
from advlook.report.plan import fitted, forward_passes, reduced

NET = """from torch import nn

def build(num_classes=3):
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, num_classes))
"""


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A file that builds a network, two checkpoints of it, photographs of three classes, and what is run in the end."""
    monkeypatch.setenv("ADVLOOK_DATA", str(tmp_path / "data"))
    (tmp_path / "net.py").write_text(NET)
    for number, name in enumerate(("std", "adv", "std2", "adv2")):
        torch.save(builder(f"{tmp_path}/net.py:build").drawn(number).state_dict(), tmp_path / f"{name}.pt")
    write_folder(tmp_path / "photos", ("ant", "bee", "cat"), count=30)
    ran = []
    monkeypatch.setattr(command, "reproduce", lambda *given: ran.append(given) or 0)
    return tmp_path, ran


def asked(folder: Path, *more: str) -> int:
    files = [str(folder / "std.pt"), str(folder / "adv.pt"), "--arch", f"{folder}/net.py:build"]
    return main(["compare", *files, "--data", str(folder / "photos"), "--output", str(folder / "out"), *more])


def test_it_writes_a_preset_that_names_the_pair(pair, capsys):
    """The preset has about ten lines, reads as the pair, images and radius asked for, and is what is run; what was
    assumed and what is left out is told."""
    folder, ran = pair
    assert asked(folder, "--size", "16", "--eps", "2/255") == 0
    path = folder / "out" / "net.build-photos.toml"
    assert ran == [(str(path), ["01", "02", "03", "04", "07", "08"], folder / "out", False)]
    assert len([line for line in path.read_text().splitlines() if line and line[0] not in "[#"]) <= 12
    preset = load_preset(path)
    assert preset.archs == ("net.build",)
    assert preset.external["net.build"].pairs == ((str(folder / "std.pt"), str(folder / "adv.pt")),)
    assert (preset.data.size, preset.data.classes, preset.evaluation.eps) == (16, 3, pytest.approx(2 / 255))
    printed = capsys.readouterr().out
    assert "std.pt does not say its normalisation; taken: mean 0.485" in printed
    assert "adv.pt: 3 of 3 classes, names from: none" in printed
    assert "05 is left out: stylizing photographs needs pip install 'advlook[stylize]'" in printed
    assert "1 pair, 90 of 90 images at 16 px" in printed


def test_other_pairs_are_seeds(pair):
    """`--pair` adds training seeds; normalisation and name are those asked for."""
    folder, _ = pair
    more = ["--pair", str(folder / "std2.pt"), str(folder / "adv2.pt"), "--name", "mine"]
    assert asked(folder, "--size", "16", "--mean", "0.5,0.5,0.5", "--std", "0.4,0.4,0.4", *more) == 0
    preset = load_preset(folder / "out" / "mine.toml")
    assert preset.seeds == (0, 1)
    assert preset.external["net.build"].mean == (0.5, 0.5, 0.5)
    assert preset.external["net.build"].standard_deviation == (0.4, 0.4, 0.4)


def test_samples_fit_the_time(pair, monkeypatch, capsys):
    """With --minutes samples are fewer, the preset says how many, and the time told is within what was asked for; where
    even the least takes longer, the line says so."""
    folder, _ = pair
    monkeypatch.setattr(command, "seconds_an_image", lambda *_: 0.001)
    assert asked(folder, "--size", "16", "--minutes", "5") == 0
    path = folder / "out" / "net.build-photos.toml"
    assert "curve_images" in path.read_text()
    minutes = float(capsys.readouterr().out.split("about ")[1].split()[0])
    assert 2 <= minutes <= 5
    assert asked(folder, "--size", "16", "--minutes", "0.5") == 0
    assert "the least; --minutes 0.5 is too short" in capsys.readouterr().out


def test_what_does_not_suit_ends_in_one_line(pair, capsys):
    """A size that nothing tells, a class too many, a radius in grey levels, a file that is no checkpoint."""
    folder, ran = pair
    assert asked(folder) == 2
    assert "give --size in pixels" in capsys.readouterr().err
    assert asked(folder, "--size", "16", "--eps", "4") == 2
    assert "outside [0, 1]" in capsys.readouterr().err
    write_folder(folder / "photos", ("dog",), count=1)
    assert asked(folder, "--size", "16") == 2
    assert "holds 4 classes, but" in capsys.readouterr().err
    (folder / "adv.pt").write_text("no checkpoint")
    assert asked(folder, "--size", "16") == 2
    assert "adv.pt" in capsys.readouterr().err
    assert ran == []


def test_smaller_shares_show_fewer_images():
    """Every reduction shows a model fewer images than the one before, and no measurement has fewer than 20 images where
    there are as many."""
    preset, counts = load_preset("imagenette"), []
    for share in (1, 0.5, 0.25, 0.1, 0.01):
        small = reduced(preset, share, 4000) if share < 1 else preset
        assert min(small.evaluation.curve_images, small.visualize.images, small.corruptions.images) >= 20
        counts.append(sum(forward_passes(small, small.data.test_images or 4000).values()))
    assert counts == sorted(counts, reverse=True)


def test_a_faster_model_is_shown_more(pair):
    """In the same time a model ten times as fast is shown more images; without a limit all samples are taken."""
    folder, _ = pair
    assert asked(folder, "--size", "16") == 0
    preset = load_preset(folder / "out" / "net.build-photos.toml")
    slow, fast = (fitted(preset, 4000, seconds, 600, ["02", "04"])[0] for seconds in (1e-2, 1e-3))
    assert slow.evaluation.curve_images < fast.evaluation.curve_images
    assert fitted(preset, 4000, 1e-2, float("inf"), ["02"])[0] == preset
