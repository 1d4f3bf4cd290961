"""`advlook evaluate` of checkpoints whose accuracy would mean nothing, or of which a part is not defined."""

import pytest
import torch
from helpers import small_preset, write_folder

from advlook.__main__ import main
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint


def evaluated(tmp_path, capsys, classes, attack, broken=False):
    """Exit code and what is printed of a network at 16 px, on photographs of as many classes."""
    preset = small_preset(data={"classes": classes})
    model = preset_model(preset, "resnet10", 0)
    if broken:
        torch.nn.init.constant_(model.network.conv1.weight, torch.nan)
    path, names = tmp_path / "model.safetensors", ("ant", "bee", "cat", "dog")[:classes]
    save_checkpoint(path, model, {"training": preset.training_key("resnet10", "std", 0)})
    folder = write_folder(tmp_path / "photos", names, count=3)
    options = ["--checkpoint", str(path), "--arch", "resnet10", "--data", str(folder)]
    code = main(["evaluate", *options, "--attack", attack, "--eps", "1/255", "--steps", "2"])
    return code, capsys.readouterr()


@pytest.mark.parametrize("attack", ["none", "pgd"])
def test_weights_of_nan_have_no_accuracy(tmp_path, capsys, attack):
    """A checkpoint with nan among its weights would be right about class 0: it ends in one line and exit code 2."""
    code, printed = evaluated(tmp_path, capsys, 3, attack, broken=True)
    assert code == 2
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("advlook: ")]
    assert "the answer of the model is not finite" in line


@pytest.mark.parametrize(("classes", "title"), [(2, "suite, eps 1/255, 2 steps, without apgd-dlr"), (3, "2 steps\n")])
def test_the_table_names_what_the_suite_leaves_out(tmp_path, capsys, classes, title):
    """On two classes the suite runs without DLR, and its column says so; on three it is whole."""
    code, printed = evaluated(tmp_path, capsys, classes, "suite")
    assert code == 0
    assert title in printed.out
    assert ("without" in printed.out) == (classes == 2)


def test_an_attack_that_is_not_defined_is_refused_before_any_work(tmp_path, capsys):
    """DLR on two classes is refused by a line that names an attack of the command in its place."""
    code, printed = evaluated(tmp_path, capsys, 2, "apgd-dlr")
    assert code == 2
    assert printed.err == "advlook: apgd-dlr needs 3 classes, and the model has 2; take pgd or apgd-ce\n"
