"""What a report is about."""

import dataclasses

import pandas as pd
import pytest
import torch
import torchvision
from helpers import small_preset

from advlook.core import ARCH_NAMES, file_hash, read_json
from advlook.core.errors import RequestError
from advlook.core.preset_files import load_preset
from advlook.core.presets import ExternalConfig
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.report import about
from advlook.report.gallery import write_gallery
from advlook.study import Study

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def study(tmp_path):
    """A pair of models from elsewhere, of a network that a user named, on ten black images."""
    preset = small_preset(data={"name": "cifar10", "classes": 10})
    paths = [tmp_path / "models" / f"{setting}.safetensors" for setting in ("std", "adv")]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        save_checkpoint(path, preset_model(preset, "resnet10", seed), {"classes": CLASSES})
    pair = ExternalConfig(*map(str, paths), arch="resnet10", stem="small")
    preset = dataclasses.replace(preset, archs=("my_net",), seeds=(0,), external={"my_net": pair}, models={})
    opened = Study(preset, data=tmp_path, output=tmp_path / "out", progress=False)
    images = torch.zeros(10, 3, 16, 16, dtype=torch.uint8)
    opened.__dict__["test"] = ImageSet(images, torch.arange(10), tuple(CLASSES))
    return opened


def facts(study):
    return dict(about.about(study.output, study.preset).facts)


def test_files_are_named_with_what_they_hold(study):
    """Each model with its hash, network, classes and normalisation; no folder of the machine but the last."""
    about.record_models(study)
    std, adv = about.about(study.output, study.preset).models
    assert (std["file"], adv["file"]) == ("models/std.safetensors", "models/adv.safetensors")
    assert [each["sha256"] for each in (std, adv)] == list(study.weights.values())
    assert (std["network"], std["from"], std["classes"]) == ("resnet10", "this project", 10)
    assert (std["names"], std["normalisation"]) == ("the checkpoint", "stored in the checkpoint")
    assert std["mean"] == pytest.approx(study.preset.data.mean)
    assert str(study.data) not in (study.output / about.FILE).read_text()


def test_models_are_looked_at_once(study, monkeypatch):
    """While files, images and preset are as they were; another file is looked at anew."""
    about.record_models(study)
    monkeypatch.setattr(about, "checkpoint_of", lambda *given: pytest.fail("loaded again"))
    about.record_models(study)
    monkeypatch.undo()
    path = study.checkpoint("my_net", "adv", 0)
    save_checkpoint(path, preset_model(small_preset(data={"classes": 10}), "resnet10", 7), {"classes": CLASSES})
    before = read_json(study.output / about.FILE)["models"][1]["sha256"]
    about.record_models(study)
    assert read_json(study.output / about.FILE)["models"][1]["sha256"] != before


def test_one_pair_is_said_and_several_are_not(study):
    """Images, sizes, radius and samples are told; of one pair, that a training's chance may have made a finding."""
    about.record_models(study)
    found = facts(study)
    assert found["Models"].startswith("my_net: one pair")
    assert found["Images"].startswith("10 images, all of cifar10; 10 classes: airplane")
    assert found["Shown at"].startswith("16 px: the short side is resized to 16 px")
    assert "4/255 in L-infinity" in found["Radius"]
    assert found["Samples"].startswith("At most: attacks 10; maps 10;")
    assert "pairs of hybrid images 5;" in found["Samples"]
    assert "Not defined" not in found
    several = dataclasses.replace(study.preset, seeds=(0, 1))
    assert "2 pairs" in dict(about.about(study.output, several).facts)["Models"]


def test_what_is_not_defined_is_told_once(study):
    """Notebooks 03 and 07 both say it."""
    (study.output / "tables").mkdir(parents=True)
    for number in ("03", "07"):
        table = pd.DataFrame({"arch": ["my_net"], "method": ["guided_backprop"], "reason": ["17 GELUs"]})
        table.to_csv(study.output / "tables" / f"{number}_undefined.csv", index=False)
    assert facts(study)["Not defined"] == "Guided Backprop of my_net (17 GELUs)"


def test_the_gallery_begins_with_it(study):
    """Before the claims; of models that are trained here there is no table of files."""
    about.record_models(study)
    page = write_gallery(study.output, study.preset).read_text()
    assert 0 < page.index('id="about"') < page.index("models/adv.safetensors") < page.index('id="claims"')
    for preset in map(load_preset, ("quick", "imagenette")):
        page = write_gallery(study.output.parent / "other", preset).read_text()
        assert ARCH_NAMES["resnet10"] in page
        assert "SHA-256" not in page[page.index('id="about"') : page.index('id="claims"')]


def test_a_file_that_does_not_suit_the_images_is_refused(study):
    """In the words of the models that are opened later."""
    path = study.checkpoint("my_net", "std", 0)
    other = [*CLASSES[:-1], "lorry"]
    save_checkpoint(path, preset_model(small_preset(data={"classes": 10}), "resnet10", 0), {"classes": other})
    with pytest.raises(RequestError, match="none of the model's classes: truck"):
        about.record_models(study)


def test_a_network_in_a_users_file_is_named_by_its_hash(tmp_path):
    """Not by its folder, which is the machine's; a library's by its version."""
    path = tmp_path / "net.py"
    path.write_text("make = 1")
    assert about._network(f"{path}:make") == ("net.py:make", f"net.py, SHA-256 {file_hash(path)}")
    assert about._network("torchvision:resnet18") == ("torchvision:resnet18", f"torchvision {torchvision.__version__}")
    assert about._network("resnet10") == ("resnet10", "this project")
