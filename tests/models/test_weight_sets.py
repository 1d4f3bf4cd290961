"""Several sets of weights in one file: which there are is said, and the one that is named is taken."""

import dataclasses

import pytest
import torch
from helpers import random_images, small_preset, write_folder
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.core.presets import ExternalConfig
from advlook.models.architectures import build_model
from advlook.models.external import load_model
from advlook.models.weight_sets import weights_in
from advlook.study.study import Study

IMAGES = random_images(3, 32)


def model(seed, arch="resnet10"):
    return build_model(arch, 3, stem="imagenet", width=8, seed=seed).eval()


RAW, AVERAGE = model(1), model(2)


def state(model, prefix=""):
    return {prefix + name: value for name, value in model.network.state_dict().items()}


def logits(path, weights=None, arch="resnet10"):
    return load_model(path, arch, weights=weights).model(IMAGES)


SETS = {
    "timm": (lambda: {"epoch": 3, "state_dict": state(RAW), "state_dict_ema": state(AVERAGE)}, "state_dict_ema"),
    "EMA": (lambda: {"state_dict": state(RAW), "ema_state_dict": state(AVERAGE)}, "ema_state_dict"),
    "model": (lambda: {"model": state(RAW), "ema_model": state(AVERAGE, "module.")}, "ema_model"),
    "SWA": (lambda: {"state_dict": state(RAW, "module."), "swa_state_dict": state(AVERAGE)}, "swa_state_dict"),
    "an EMA with its settings": (
        lambda: {"model": state(RAW), "ema": {"decay": 0.999, "shadow": state(AVERAGE)}},
        "ema",
    ),
    "its inner name": (lambda: {"model": state(RAW), "ema": {"updates": 7, "module": state(AVERAGE)}}, "ema.module"),
    "callbacks": (
        lambda: {"state_dict": state(RAW, "model."), "callbacks": {"EMA": {"weights": state(AVERAGE, "model.")}}},
        "callbacks.EMA.weights",
    ),
    "any name": (lambda: {"student": state(RAW), "teacher": state(AVERAGE)}, "teacher"),
    "numbers": (lambda: {0: state(RAW), 1: state(AVERAGE)}, "1"),
    "two prefixes": (lambda: state(RAW, "model.") | state(AVERAGE, "ema_model.module."), "ema_model"),
    "two prefixes, within": (
        lambda: {"state_dict": state(RAW, "online_model.") | state(AVERAGE, "ema_model.")},
        "ema_model",
    ),
    "with and without a prefix": (lambda: state(RAW) | state(AVERAGE, "ema."), "ema"),
    "a training state of ours": (
        lambda: {"key": "0", "model": RAW.state_dict(), "average": AVERAGE.state_dict(), "history": [{"epoch": 1}]},
        "average",
    ),
}


@pytest.mark.parametrize(("content", "name"), SETS.values(), ids=SETS.keys())
def test_the_set_that_is_named_is_taken(tmp_path, content, name):
    """Without a name both sets are told and none is taken; by its name the average is loaded, not the raw weights."""
    path = tmp_path / "both.pt"
    torch.save(content(), path)
    with pytest.raises(RequestError, match=r"both\.pt holds several sets of weights.*--weights NAME") as caught:
        logits(path)
    assert name.partition(".")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(logits(path, name), AVERAGE(IMAGES))


def test_the_other_set_is_taken_as_well(tmp_path):
    """Each of two prefixes, and the bare names beside a prefix, can be meant."""
    torch.save(state(RAW) | state(AVERAGE, "ema."), tmp_path / "both.pt")
    assert torch.equal(logits(tmp_path / "both.pt", "bare"), RAW(IMAGES))
    torch.save({"state_dict": state(RAW), "state_dict_ema": state(AVERAGE)}, tmp_path / "timm.pt")
    assert torch.equal(logits(tmp_path / "timm.pt", "state_dict"), RAW(IMAGES))


ALONE = {
    "an EMA set": lambda: {"state_dict_ema": state(AVERAGE), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "another name": lambda: {"swa_state_dict": state(AVERAGE), "epoch": 3},
    "an unusual prefix": lambda: state(AVERAGE, "ema_model.backbone."),
}


@pytest.mark.parametrize("content", ALONE.values(), ids=ALONE.keys())
@pytest.mark.parametrize("arch", ["resnet10", "alexnet_bn"])
def test_a_set_that_is_alone_is_loaded(tmp_path, content, arch, monkeypatch):
    """A file with the average alone needs no name."""
    average = model(2, arch)
    monkeypatch.setitem(globals(), "AVERAGE", average)
    torch.save(content(), tmp_path / "ema.pt")
    found = load_model(tmp_path / "ema.pt", arch).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in average.state_dict().items())


def test_an_averaged_model_of_torch_loads(tmp_path):
    """AveragedModel counts its averages beside the network, which is no other architecture."""
    averaged = AveragedModel(RAW.network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    averaged.update_parameters(AVERAGE.network)
    averaged.update_parameters(AVERAGE.network)
    torch.save(averaged.state_dict(), tmp_path / "averaged.pt")
    assert "n_averaged" in averaged.state_dict()
    loaded = load_model(tmp_path / "averaged.pt", "resnet10").model.network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in averaged.module.state_dict().items())


def test_a_normalisation_beside_the_networks_is_kept(tmp_path):
    """Mean and std that lie beside two networks belong to either."""
    beside = {"normalizer.mean": torch.tensor([0.1, 0.2, 0.3]), "normalizer.std": torch.ones(3)}
    torch.save(state(RAW, "student.") | state(AVERAGE, "teacher.") | beside, tmp_path / "pair.pt")
    loaded = load_model(tmp_path / "pair.pt", "resnet10", weights="teacher")
    assert loaded.normalisation == "file"
    assert torch.equal(loaded.model.network.state_dict()["conv1.weight"], state(AVERAGE)["conv1.weight"])


def test_what_is_no_set_is_refused(tmp_path):
    """A name that the file lacks is told with those that it has, also where it has one set without a name."""
    torch.save({"model": state(RAW), "ema": state(AVERAGE)}, tmp_path / "both.pt")
    with pytest.raises(RequestError, match="no set of weights 'swa'; it has model, ema"):
        logits(tmp_path / "both.pt", "swa")
    torch.save(state(RAW), tmp_path / "one.pt")
    with pytest.raises(RequestError, match=r"no set of weights 'ema'; it has one set, without a name"):
        logits(tmp_path / "one.pt", "ema")


def test_an_average_without_names_is_not_passed_over(tmp_path):
    """A list of tensors, as torch_ema keeps it, is told; states of random generators are no weights."""
    averages = {"decay": 0.9, "shadow_params": [value.detach() for value in AVERAGE.parameters()]}
    torch.save({"model": state(RAW), "ema": averages, "rng": [torch.get_rng_state()]}, tmp_path / "both.pt")
    with pytest.raises(RequestError, match=r"several sets of weights \(model, ema\.shadow_params\)"):
        logits(tmp_path / "both.pt")
    with pytest.raises(RequestError, match="tensors without names"):
        logits(tmp_path / "both.pt", "ema")
    assert torch.equal(logits(tmp_path / "both.pt", "model"), RAW(IMAGES))


def test_what_lies_beside_a_network_is_named(tmp_path):
    """The weights of a loss are not taken for a sign of another architecture."""
    torch.save({"state_dict": state(RAW, "model.") | {"criterion.weight": torch.ones(3)}}, tmp_path / "lightning.ckpt")
    with pytest.raises(RequestError, match=r"has 'criterion\.weight' beside the network"):
        logits(tmp_path / "lightning.ckpt")


def test_only_the_set_that_is_taken_needs_to_be_whole(tmp_path):
    """What lies in another set is not looked at; in the one taken everything is a tensor."""
    torch.save({"model": state(RAW) | {"epoch": 3}, "ema": state(AVERAGE)}, tmp_path / "both.pt")
    assert torch.equal(logits(tmp_path / "both.pt", "ema"), AVERAGE(IMAGES))
    with pytest.raises(RequestError, match="'epoch' among its weights, which is no tensor"):
        logits(tmp_path / "both.pt", "model")


def test_heads_of_other_networks_are_no_sets(tmp_path):
    """An auxiliary classifier is a part of its network."""
    content = state(RAW) | {"aux.fc.weight": torch.ones(3, 4)}
    own, beside = weights_in(content, "conv1", ("fc", "linear"), tmp_path)
    assert set(own) == set(content)
    assert not beside


def test_the_command_takes_a_name(tmp_path, capsys):
    """`advlook evaluate --weights` is what the line advises."""
    torch.save({"state_dict": state(RAW), "state_dict_ema": state(AVERAGE)}, tmp_path / "timm.pt")
    photos = write_folder(tmp_path / "photos", side=40)
    command = f"evaluate --checkpoint {tmp_path / 'timm.pt'} --arch resnet10 --data {photos} --size 32"
    assert main(command.split()) == 2
    assert "state_dict, state_dict_ema" in capsys.readouterr().err
    assert main([*command.split(), "--weights", "state_dict_ema"]) == 0


def test_a_preset_takes_a_name(tmp_path):
    """A preset says which set of each file is meant; one that says nothing keeps its digest."""
    torch.save({"state_dict": state(RAW), "state_dict_ema": state(AVERAGE)}, tmp_path / "timm.pt")
    preset = small_preset(model={"stem": "imagenet"})
    path = str(tmp_path / "timm.pt")

    def study(**named):
        external = {"resnet10": ExternalConfig(std=path, adv=path, **named)}
        opened = dataclasses.replace(preset, archs=("resnet10",), seeds=(0,), external=external)
        return Study(opened, output=tmp_path / "figures", data=tmp_path, progress=False)

    with pytest.raises(RequestError, match="std_weights or adv_weights in a preset"):
        study().model("resnet10", "std", 0)
    both = study(std_weights="state_dict", adv_weights="state_dict_ema")
    for setting, expected in (("std", RAW), ("adv", AVERAGE)):
        found = both.model("resnet10", setting, 0).network.state_dict()
        assert torch.equal(found["fc.weight"], state(expected)["fc.weight"])
    assert both.preset.digest != study().preset.digest
