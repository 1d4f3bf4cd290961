"""Checkpoints of any origin: the same logits from every layout, and one line for every file that is none of them."""

import argparse

import pytest
import torch
from helpers import small_preset
from safetensors.torch import save_file
from torchvision.models import resnet18
from weight_layouts import IMAGES, MEAN, STD, Malice, known, network, normalisation, robustness

from advlook.core.errors import RequestError
from advlook.models.architectures import Normalized
from advlook.models.checkpoints import save_checkpoint
from advlook.models.external import load_model

WITH_NORMALISATION = {
    "ours, as torch saves it": lambda model: model.state_dict(),
    "robustness": robustness,
    "robustness, a custom architecture": lambda model: {
        "state_dict": network(model, "module.model.model.")
        | normalisation("module.normalizer.", "new_mean", "new_std", (3, 1, 1))
    },
    "RobustBench, a normalizing layer": lambda model: (
        network(model, "model.") | normalisation("normalize.", "mean", "std")
    ),
    "RobustBench, mu and sigma": lambda model: network(model) | normalisation("", "mu", "sigma", (3, 1, 1)),
    "a flat mean": lambda model: network(model) | normalisation("normalizer.", "mean", "std", (3,)),
    "compiled": lambda model: {f"_orig_mod.{name}": value for name, value in model.state_dict().items()},
}
WITHOUT_NORMALISATION = {
    "torchvision": network,
    "DataParallel": lambda model: {"state_dict": network(model, "module."), "best_acc1": 76.1, "arch": "resnet10"},
    "model": lambda model: {"model": network(model, "model.")},
    "model_state_dict": lambda model: {"epoch": 3, "model_state_dict": network(model, "network.")},
    "net, in a list of prefixes": lambda model: {"net": network(model, "module.model.")},
    "ema": lambda model: {"ema": network(model)},
    "nested twice": lambda model: {"model": {"state_dict": network(model, "module.")}},
    "without counters": lambda model: {k: v for k, v in network(model).items() if "num_batches" not in k},
    "doubles": lambda model: {k: v.double() if v.is_floating_point() else v for k, v in network(model).items()},
}


@pytest.mark.parametrize("layout", WITH_NORMALISATION.values(), ids=WITH_NORMALISATION.keys())
def test_a_layout_with_normalisation_gives_the_same_logits(tmp_path, layout):
    """Weights, statistics and normalisation of every layout are all used, and it is said that they were in the file."""
    model = known()
    torch.save(layout(model), tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10")
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert not loaded.model.training
    assert (loaded.normalisation, loaded.stem, loaded.width, loaded.classes) == ("file", "imagenet", 8, 3)
    assert loaded.size is None


@pytest.mark.parametrize("layout", WITHOUT_NORMALISATION.values(), ids=WITHOUT_NORMALISATION.keys())
def test_a_layout_without_normalisation_takes_what_is_given(tmp_path, layout):
    """Given constants are used; without them ImageNet's are, or the caller's own, and both are called assumed."""
    model, path = known(), tmp_path / "theirs.pth"
    torch.save(layout(model), path)
    given = load_model(path, "resnet10", mean=MEAN, std=STD)
    fallen = load_model(path, "resnet10", fallback=(MEAN, STD))
    assert torch.equal(given.model(IMAGES), model(IMAGES))
    assert torch.equal(fallen.model(IMAGES), model(IMAGES))
    assumed = load_model(path, "resnet10")
    expected = known(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert torch.equal(assumed.model(IMAGES), expected(IMAGES))
    assert [found.normalisation for found in (given, fallen, assumed)] == ["given", "assumed", "assumed"]


def test_given_normalisation_goes_before_the_file(tmp_path):
    """Mean and std that the user gives replace those in the file."""
    torch.save(robustness(known()), tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10", mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert torch.equal(loaded.model(IMAGES), known(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))(IMAGES))
    assert loaded.normalisation == "given"


def test_half_a_normalisation_is_completed_by_the_user(tmp_path):
    """A file with a mean alone is of use to whoever gives both."""
    torch.save(network(known()) | {"mean": torch.zeros(3)}, tmp_path / "theirs.pt")
    loaded = load_model(tmp_path / "theirs.pt", "resnet10", mean=MEAN, std=STD)
    assert torch.equal(loaded.model(IMAGES), known()(IMAGES))


def test_torchvision_network_is_ours(tmp_path):
    """A network built by torchvision itself has the logits that torchvision computes."""
    with torch.random.fork_rng():
        theirs = resnet18(num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    loaded = load_model(tmp_path / "resnet18.pth", "resnet18", mean=MEAN, std=STD)
    torch.testing.assert_close(loaded.model(IMAGES), Normalized(theirs, MEAN, STD)(IMAGES))
    assert loaded.width == 64


def test_names_of_cifar_networks_tell_the_stem(tmp_path):
    """`shortcut` and `linear`, as in the robustness library's CIFAR networks, are the stem without pooling."""
    model = known("resnet50", stem="tiny")
    torch.save({"model": network(model, "module.model.", downsample="shortcut", fc="linear")}, tmp_path / "cifar.pt")
    loaded = load_model(tmp_path / "cifar.pt", "resnet50", mean=MEAN, std=STD)
    assert loaded.stem == "tiny"
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    with pytest.raises(RequestError, match=r"cifar\.pt has the stem 'tiny', not 'small'"):
        load_model(tmp_path / "cifar.pt", "resnet50", stem="small")


@pytest.mark.parametrize("arch", ["resnet10", "alexnet_bn"])
@pytest.mark.parametrize("stem", ["small", "tiny"])
def test_stems_that_look_alike_are_asked_for(tmp_path, arch, stem):
    """The tensors of `small` and `tiny` are the same, so that a guess could be wrong without a sign."""
    model = known(arch, stem)
    save_file({name: v.contiguous() for name, v in model.state_dict().items()}, tmp_path / "m.safetensors")
    with pytest.raises(RequestError, match=r"m\.safetensors .*--stem small or --stem tiny"):
        load_model(tmp_path / "m.safetensors", arch)
    loaded = load_model(tmp_path / "m.safetensors", arch, stem=stem)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))


def test_our_own_checkpoint_says_everything(tmp_path):
    """Stem, normalisation and image size of a model trained here are in its file."""
    preset = small_preset()
    model = known("resnet10", "tiny", mean=preset.data.mean, std=preset.data.std)
    key = preset.training_key("resnet10", "std", 0)
    save_checkpoint(tmp_path / "ours.safetensors", model, {"training": key, "test_store": 18})
    loaded = load_model(tmp_path / "ours.safetensors", "resnet10")
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), atol=1e-3, rtol=1e-2)
    assert (loaded.stem, loaded.normalisation, loaded.size, loaded.resize) == ("tiny", "file", 16, 18)


def altered(changes):
    """A layout: the bare state dict with tensors replaced or added, or taken out where the value is None."""

    def layout(model):
        return {name: value for name, value in (network(model) | changes).items() if value is not None}

    return layout


REFUSED = {
    "another arch, deeper": ("resnet18", network, ["lacks", "layer1.1", "another architecture"]),
    "another arch, other blocks": ("resnet50", network, ["lacks", "layer1.0.bn3", "another architecture"]),
    "another kind of network": ("alexnet_bn", network, ["lacks 'features.0.weight'", "alexnet_bn"]),
    "torchvision's AlexNet, without batch normalisation": (
        "alexnet_bn",
        lambda model: (
            {
                name: value
                for name, value in network(known("alexnet_bn")).items()
                if name.startswith("classifier") or value.dim() == 4
            }
            | {"features.0.bias": torch.ones(8)}
        ),
        ["'features.0.bias'", "another architecture"],
    ),
    "missing tensor": ("resnet10", altered({"layer2.0.bn1.weight": None}), ["lacks", "layer2.0.bn1.weight"]),
    "missing head": ("resnet10", altered({"fc.weight": None}), ["lacks 'fc.weight'"]),
    "unknown tensor": ("resnet10", altered({"layer5.weight": torch.ones(1)}), ["unknown", "'layer5.weight'"]),
    "unknown width inside": (
        "resnet10",
        altered({"layer3.0.conv1.weight": torch.ones(9, 16, 3, 3)}),
        ["layer3.0.conv1", "(9, 16"],
    ),
    "unknown kernel": ("resnet10", altered({"conv1.weight": torch.ones(8, 3, 5, 5)}), ["'conv1.weight'", "(8, 3, 5"]),
    "two networks": ("resnet10", lambda model: {"model": network(model), "ema": network(model)}, ["model, ema"]),
    "two copies that differ": (
        "resnet10",
        lambda model: network(model, "module.") | network(known(seed=2), "attacker."),
        ["two different"],
    ),
    "mean without std": ("resnet10", altered({"mean": torch.ones(3)}), ["mean and std"]),
    "mean in grey levels": (
        "resnet10",
        altered({"mean": torch.full((3,), 120.0), "std": torch.ones(3)}),
        ["mean 120,120,120", "[0, 1]"],
    ),
    "std of one channel": ("resnet10", altered({"mean": torch.zeros(3), "std": torch.ones(1)}), ["std 1 "]),
    "no tensors": ("resnet10", lambda model: {"epoch": 3}, ["'epoch'", "no tensor"]),
    "a list": ("resnet10", lambda model: [torch.ones(3)], ["no state dict"]),
    "a dictionary in itself": ("resnet10", lambda model: endless(), ["theirs.pt"]),
    "a whole module": ("resnet10", lambda model: model, ["architectures.Normalized", "torch.save(model.state_dict()"]),
    "training's arguments beside the weights": (
        "resnet10",
        lambda model: {"model": network(model), "args": argparse.Namespace(epochs=3)},
        ["argparse.Namespace", "could run code", "torch.save(model.state_dict()"],
    ),
}


def endless():
    content = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(("arch", "content", "names"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, arch, content, names):
    """A file of something else is refused, naming the file and the first thing that is wrong."""
    torch.save(content(known()), tmp_path / "theirs.pt")
    with pytest.raises(RequestError) as caught:
        load_model(tmp_path / "theirs.pt", arch)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["theirs.pt", *names])


@pytest.mark.parametrize("nested", [lambda model, evil: {"model": network(model), "extra": evil}, lambda _, evil: evil])
def test_code_in_a_checkpoint_does_not_run(tmp_path, nested):
    """A pickle with a side effect is refused by name, and the side effect does not happen."""
    torch.save(nested(known(), Malice(tmp_path / "ran")), tmp_path / "evil.pt")
    with pytest.raises(RequestError, match=r"evil\.pt holds the Python object .*exec"):
        load_model(tmp_path / "evil.pt", "resnet10")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", [b"", b"no weights", b"<html>", b"\x80\x02", None])
def test_broken_file_is_named(tmp_path, damage, recwarn):
    """A file that is empty, something else, or cut off ends in one line and no warning."""
    path = tmp_path / "broken.ckpt"
    torch.save(network(known()), path)
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(RequestError, match=r"broken\.ckpt") as caught:
        load_model(path, "resnet10")
    assert "\n" not in str(caught.value)
    assert not recwarn


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"mean": MEAN}, ["mean and std belong together"]),
        ({"mean": (0.5, 0.5), "std": STD}, ["mean 0.5,0.5 ", "three"]),
        ({"mean": (0.5, 0.5, float("nan")), "std": STD}, ["mean 0.5,0.5,nan"]),
        ({"mean": MEAN, "std": (0.2, 0.2, 0.0)}, ["std 0.2,0.2,0 ", "above 0"]),
        ({"mean": (124, 117, 104), "std": (58, 57, 57)}, ["mean 124,117,104", "[0, 1]"]),
        ({"stem": "large"}, ["'large'", "tiny"]),
        ({"stem": "tiny"}, ["has the stem 'imagenet', not 'tiny'"]),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path, options, names):
    """A normalisation that is none, or another stem than the file's, is refused with its value."""
    torch.save(network(known()), tmp_path / "theirs.pt")
    with pytest.raises(RequestError) as caught:
        load_model(tmp_path / "theirs.pt", "resnet10", **options)
    assert all(name in str(caught.value) for name in names)
