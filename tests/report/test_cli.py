"""The command line: exit codes, one line for every bad request, help with examples."""

from pathlib import Path

import pytest
from helpers import convolutional, small_preset, write_folder

from advlook.__main__ import main
from advlook.attacks.suite import NAMED_ATTACKS
from advlook.core import preset_files
from advlook.data import catalogue
from advlook.data.catalogue import CATALOGUE
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint

SMOKE = (preset_files.PRESET_FOLDER / "smoke.toml").read_text()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with an empty data folder, some images, and checkpoints good and bad."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVLOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ADVLOOK_OUTPUT", str(tmp_path / "figures"))
    write_folder(Path("photos"))
    write_folder(Path("two"), ("ant", "bee"))
    write_folder(Path("corrupt"))
    Path("corrupt/bee/0.png").write_bytes(b"no image")
    write_folder(Path("hollow"))
    Path("hollow/void").mkdir()
    Path("empty").mkdir()
    Path("unknown.toml").write_text(SMOKE + "\n[extra]\nkey = 1\n")
    Path("missing.toml").write_text(SMOKE.replace("momentum = 0.9\n", ""))
    Path("wrong.toml").write_text(SMOKE.replace("momentum = 0.9", 'momentum = "much"'))
    Path("unit.toml").write_text(SMOKE.replace('eps = "8/255"', 'eps = "8"'))
    Path("broken.toml").write_text("title = ")
    Path("absent.toml").write_text(SMOKE.replace('"synthetic"', '"nowhere"'))
    trained = SMOKE[: SMOKE.index("[controls.")]  # what is external has no controls
    Path("pair.toml").write_text(trained.replace("[external]", '[external.resnet10]\nstd = "a.pt"\nadv = "b.pt"'))
    Path("garbage.safetensors").write_bytes(b"garbage")
    preset = small_preset()
    model = preset_model(preset, "resnet10", 0)
    save_checkpoint(Path("good.safetensors"), model, {"training": preset.training_key("resnet10", "std", 0)})
    save_checkpoint(Path("alien.safetensors"), convolutional(), {"training": preset.training_key("resnet10", "std", 0)})
    save_checkpoint(Path("silent.safetensors"), model, {})
    return tmp_path


EVALUATE = "evaluate --checkpoint good.safetensors --arch resnet10 --data photos"
BAD = {
    "no command": ("", "command"),
    "unknown command": ("dance", "dance"),
    "unknown option": ("reproduce --fast", "--fast"),
    "unknown preset": ("reproduce --preset tiny", "tiny"),
    "absent preset file": ("reproduce --preset none.toml", "none.toml"),
    "preset is no TOML": ("reproduce --preset broken.toml", "broken.toml"),
    "unknown key in a preset": ("reproduce --preset unknown.toml", "extra"),
    "missing key in a preset": ("reproduce --preset missing.toml", "momentum"),
    "wrong type in a preset": ("reproduce --preset wrong.toml", "much"),
    "eps of a preset in grey levels": ("reproduce --preset unit.toml", "eps=8"),
    "unknown notebook": ("reproduce --preset smoke --notebooks 99", "99"),
    "unknown arch": ("train --preset smoke --arch vgg --setting std", "vgg"),
    "arch that the preset lacks": ("train --preset smoke --arch resnet101 --setting std", "resnet101"),
    "unknown setting": ("train --preset smoke --arch resnet10 --setting robust", "robust"),
    "seed is no number": ("train --preset smoke --arch resnet10 --setting std --seed x", "'x'"),
    "external arch": ("train --preset pair.toml --arch resnet10 --setting std", "[external.resnet10]"),
    "images of a preset are absent": ("train --preset absent.toml --arch resnet10 --setting std", "nowhere"),
    "absent checkpoint": (EVALUATE.replace("good", "none"), "none.safetensors"),
    "checkpoint is garbage": (EVALUATE.replace("good", "garbage"), "garbage.safetensors"),
    "checkpoint of another arch": (EVALUATE.replace("resnet10", "alexnet_bn"), "resnet10"),
    "checkpoint of another shape": (EVALUATE.replace("good", "alien"), "alien.safetensors"),
    "checkpoint without configuration": (EVALUATE.replace("good", "silent"), "--stem"),
    "absent image folder": (EVALUATE.replace("photos", "nothing"), "nothing"),
    "image folder without classes": (EVALUATE.replace("photos", "empty"), "empty"),
    "empty class": (EVALUATE.replace("photos", "hollow"), "void"),
    "corrupt image": (EVALUATE.replace("photos", "corrupt"), "0.png"),
    "other number of classes": (EVALUATE.replace("photos", "two"), "2 classes"),
    "unknown attack": (EVALUATE + " --attack carlini", "carlini"),
    "eps in grey levels": (EVALUATE + " --attack pgd --eps 4", "4/255"),
    "eps is no number": (EVALUATE + " --attack pgd --eps four", "four"),
    "set to be got by hand": ("data --get cub200", "CUB_200_2011.tgz"),
    "unknown set": ("data --get mnist", "mnist"),
    "no steps": (EVALUATE + " --attack pgd --steps 0", "--steps: 0"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_ends_in_one_line_and_code_2(place, capsys, arguments, named):
    """The line names the thing and no traceback or usage text buries it; no result appears."""
    try:
        code = main(arguments.split())
    except SystemExit as stop:
        code = stop.code
    lines = [line for line in capsys.readouterr().err.splitlines() if "%|" not in line and line.strip()]
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("advlook: ")
    assert named in lines[0]
    assert not list((place / "figures").rglob("*.*"))


def test_evaluate_prints_one_table(place, capsys):
    """A good request prints the clean and the robust accuracy of the checkpoint and ends with 0."""
    assert main([*EVALUATE.split(), "--attack", "pgd", "--eps", "4/255", "--steps", "2"]) == 0
    header, row = capsys.readouterr().out.strip().splitlines()
    assert "top1" in header
    assert "pgd, eps 4/255, 2 steps" in header
    assert row.split()[:2] == ["good.safetensors", "6"]


def test_data_lists_the_catalogue(place, capsys):
    """`advlook data` says of every set whether it is there, and how it is obtained; it downloads nothing."""
    assert main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*CATALOGUE, "paintings"]
    assert [line.split()[0] for line in lines if "absent: " not in line] == ["synthetic"]
    assert any(line.startswith("dtd10          DTD-10, textures, part of DTD: absent: ") for line in lines)
    assert not (place / "data").exists()


def test_data_gets_a_set(place, capsys, monkeypatch):
    """`--get` downloads a set that is absent, once, and says where it lies."""
    fetched = []

    def export(entry, root):
        fetched.append(root)
        root.mkdir(parents=True)

    monkeypatch.setattr(catalogue, "_export", export)
    for _ in range(2):
        assert main(["data", "--get", "svhn"]) == 0
        assert str(place / "data" / "datasets" / "svhn") in capsys.readouterr().out
    assert fetched == [place / "data" / "datasets" / "svhn"]


@pytest.mark.parametrize("command", ["", "reproduce", "train", "evaluate", "data"])
def test_help_shows_an_example(command, capsys):
    """Help of the program and of every command ends with something to copy."""
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert not stop.value.code
    assert f"advlook {command}".strip() in capsys.readouterr().out.split("example")[1]


def test_help_names_every_attack(capsys):
    """The help of `evaluate` lists the attacks that there are."""
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"none, {', '.join(list(NAMED_ATTACKS)[:-1])}, or suite" in text


def test_interrupt_is_told_in_one_line(place, capsys, monkeypatch):
    """Ctrl-C ends with the shell's code for it and says how to go on."""

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("advlook.data.catalogue.check", interrupted)
    assert main(["data"]) == 130
    assert "goes on" in capsys.readouterr().err
