"""Networks of any origin by name: built, filled, evaluated and trained."""

from pathlib import Path

import pytest
import torch
from helpers import small_preset, write_folder
from torch import nn
from torchvision.models import squeezenet1_1

from advlook.__main__ import main
from advlook.core import RequestError
from advlook.models.architectures import Normalized, preset_model
from advlook.models.builders import builder, is_built
from advlook.models.checkpoints import save_checkpoint
from advlook.models.external import load_model, untrained
from advlook.study.study import Study

OWN = """from torch import nn

def build(num_classes=4):
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, num_classes))

def broken():
    raise KeyError("weights")

def seven():
    return 7
"""

NORMALISED = """from advlook.models.architectures import Normalized
from torchvision.models import squeezenet1_1

def net(num_classes=3):
    return Normalized(squeezenet1_1(num_classes=num_classes), (0.5,) * 3, (0.5,) * 3)
"""


@pytest.fixture
def own(tmp_path) -> Path:
    """A file of Python with functions that build networks."""
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_what_names_a_builder(own):
    """A colon divides where a network comes from and its name; the five architectures have none."""
    assert is_built("timm:resnet18")
    assert not is_built("resnet18")
    assert isinstance(builder(f"{own}:build")(5)[-1], nn.Linear)
    assert builder("torchvision:squeezenet1_1").about.startswith("torchvision 0")
    assert builder("torchvision.models:squeezenet1_1")(3).num_classes == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{own}:bulid", "has no function 'bulid'; it has build"),
        ("{own}:broken", "cannot be built (KeyError: 'weights')"),
        ("{own}:seven", "gives a int; it has to return an nn.Module"),
        ("missing.py:build", "missing.py does not exist"),
        ("no_such_package:build", "cannot be imported"),
        ("torchvision:resnet19", "has no classifier 'resnet19'; it has resnet"),
        ("resnet18", "is unknown; give timm:NAME"),
    ],
)
def test_names_that_build_nothing_end_in_one_line(own, name, words):
    """What is wrong with the name, the file or the function is told, and what is there."""
    with pytest.raises(RequestError) as raised:
        builder(name.format(own=own))()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_network_is_filled_with_as_many_classes_as_its_file(own, tmp_path):
    """A classifier of six classes is filled into a network that has four by default, and answers as it did."""
    torch.manual_seed(0)
    model, images = builder(f"{own}:build")(6), torch.rand(2, 3, 16, 16)
    torch.save(model.state_dict(), tmp_path / "six.pt")
    loaded = load_model(tmp_path / "six.pt", f"{own}:build", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert (loaded.classes, loaded.normalisation) == (6, "given")
    assert torch.equal(loaded.model(images), model((images - 0.5) / 0.5))


def test_normalisation_of_a_source_is_taken_where_the_file_has_none(tmp_path):
    """Of torchvision's networks it is ImageNet's and called the builder's; a network that holds a mean and a std of its
    own is not normalised twice."""
    torch.manual_seed(0)
    model = squeezenet1_1(num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    loaded = load_model(tmp_path / "plain.pt", "torchvision:squeezenet1_1")
    assert loaded.normalisation == "builder"
    assert loaded.model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    (tmp_path / "net.py").write_text(NORMALISED)
    torch.save(Normalized(model, (0.4,) * 3, (0.3,) * 3).state_dict(), tmp_path / "own.pt")
    found, images = load_model(tmp_path / "own.pt", f"{tmp_path}/net.py:net"), torch.rand(1, 3, 32, 32)
    assert found.normalisation == "network"
    torch.testing.assert_close(found.model(images), model((images - 0.4) / 0.3))


def test_untrained_networks_are_drawn_by_their_seed(own, tmp_path):
    """Two seeds give two networks, one seed the same, and the global random state stays as it was."""
    torch.save(builder(f"{own}:build")().state_dict(), tmp_path / "m.pt")
    loaded, before = load_model(tmp_path / "m.pt", f"{own}:build"), torch.get_rng_state()
    first, again, other = (untrained(f"{own}:build", loaded, 16, seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_of_another_network_is_refused(own, tmp_path):
    """Weights of another architecture end in one line that names both."""
    torch.save(squeezenet1_1(num_classes=3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(RequestError, match=r"other\.pt"):
        load_model(tmp_path / "other.pt", f"{own}:build")


def test_evaluate_takes_a_builder(own, tmp_path, capsys):
    """`advlook evaluate --arch FILE:FUNCTION` tells the accuracy, and what it assumed of the normalisation."""
    torch.save(builder(f"{own}:build")(3).state_dict(), tmp_path / "m.pt")
    photos = write_folder(tmp_path / "photos", ("ant", "bee", "cat"), count=3)
    command = ["evaluate", "--checkpoint", str(tmp_path / "m.pt"), "--arch", f"{own}:build", "--data", str(photos)]
    assert main(command) == 2  # neither file nor builder says a size
    assert "does not say the size of its images; give --size" in capsys.readouterr().err
    assert main([*command, "--size", "16", "--attack", "fgsm"]) == 0
    printed = capsys.readouterr()
    assert "9 16 of 18       assumed  3 of 3" in printed.out
    assert "does not say its normalisation; taken: mean 0.485,0.456,0.406" in printed.err


def test_a_preset_trains_what_a_builder_makes(own, tmp_path):
    """`[models.NAME]` with a builder makes its network, normalised as the preset says; what is trained is loaded again
    under the builder's name, with the size and normalisation of its training."""
    preset = small_preset(model={"builder": f"{own}:build", "stem": "", "width": 0})
    model = preset_model(preset, "resnet10", 0).eval()
    assert isinstance(model.network[0], nn.Conv2d)
    assert torch.equal(model.network[0].weight, preset_model(preset, "resnet10", 0).network[0].weight)
    save_checkpoint(tmp_path / "m.safetensors", model, {"training": preset.training_key("resnet10", "std", 0)})
    loaded = load_model(tmp_path / "m.safetensors", f"{own}:build")
    assert (loaded.normalisation, loaded.size) == ("file", preset.data.size)
    with pytest.raises(RequestError, match=r"give --arch .*mine\.py:build"):
        load_model(tmp_path / "m.safetensors", "resnet18")


def test_results_rest_on_the_code_that_builds(own, tmp_path):
    """The hashes of a study's weights change with the file of Python that builds its networks."""
    preset = small_preset(model={"builder": f"{own}:build", "stem": "", "width": 0})
    study = Study(preset, output=tmp_path / "out", data=tmp_path / "data")
    before = study.weights
    assert {name: found for name, found in before.items() if found}.keys() == {
        f"{arch} is built by mine.py" for arch in preset.archs
    }
    own.write_text(f"{OWN}\n# changed\n")
    assert study.weights != before
