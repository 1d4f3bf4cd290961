"""What is defined for a network: maps, first filters, and the layers whose units are looked at."""

from types import SimpleNamespace

import pytest
import torch
from helpers import Linear, build_model, convolutional, image_set
from torch import nn

from advlook.experiments.defined import defined_maps, undefined_filters, undefined_maps, unit_layers
from advlook.experiments.visualize import figures, measure
from advlook.sensitivity import METHODS

SIZE = 16
KEY = ("other", "std", 0)


class Blocks(nn.Module):
    """A transformer's outline: a patch embedding, blocks on tokens, and one head or two."""

    def __init__(self, heads=1):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        layers = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(4)]
        self.blocks = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(8, 3) for _ in range(heads))

    def forward(self, images):
        tokens = self.blocks(self.patches(images).flatten(2).transpose(1, 2)).mean(1)
        return sum(head(tokens) for head in self.heads)


def study_of(model):
    """As much of a study as is asked; told from others by identity, as studies are."""

    class Asked(SimpleNamespace):
        __hash__ = object.__hash__

    preset = SimpleNamespace(seeds=(0,), data=SimpleNamespace(size=SIZE))
    return Asked(preset=preset, device="cpu", test=image_set(4, SIZE), model=lambda *key: model.eval())


NETWORKS = {
    "ours": (lambda: build_model("resnet10", 3, stem="tiny", width=8), set(), {}),
    "ReLUs": (convolutional, set(), {}),
    "a transformer": (Blocks, {"guided_backprop"}, {"strength": "LayerNorm normalises what it gives"}),
    "no convolution": (lambda: Linear(3, SIZE), {"guided_backprop"}, {"filters": "no convolution sees the image"}),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_not_defined_is_missing_and_not_fatal(kind):
    """Maps and filters that a network has not are told with the reason; the rest is measured and drawn."""
    build, maps, undefined = NETWORKS[kind]
    study = study_of(build())
    assert set(undefined_maps(study, "other")) == maps
    assert defined_maps(study, "other") == [method for method in METHODS if method not in maps]
    assert undefined_filters(study, "other") == undefined
    found, rows = measure.filters_of(study, KEY), {row["measure"] for row in measure.filters(study, KEY)}
    if "filters" in undefined:
        assert found == undefined["filters"]
    else:
        alike = torch.allclose(found.flatten(1).norm(dim=1), torch.ones(len(found)))
        assert alike is ("strength" in undefined)
    expected = {"filter_norm", "filter_frequency"} - {
        "filters": {"filter_norm", "filter_frequency"},
        "strength": {"filter_norm"},
    }.get(next(iter(undefined), ""), set())
    assert rows == expected
    assert figures.filter_grid({"std": found, "adv": found})


@pytest.mark.parametrize("heads", [1, 2])
def test_units_of_a_transformer_are_of_patches_and_blocks(heads):
    """Heads classify, and their units are classes."""
    names = unit_layers(Blocks(heads).eval(), SIZE)
    assert names == ["patches", "blocks.0", "blocks.1", "blocks.2", "blocks.3"]


class Gated(nn.Module):
    """Squeeze and excite: the convolutions of each gate see the mean over the image, and weight a larger map."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3 if k == 0 else 4, 4, 3, padding=1) for k in range(5))
        self.gates = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(5))

    def forward(self, images):
        for convolution, gate in zip(self.convolutions, self.gates, strict=True):
            images = convolution(images).relu()
            images = images * gate(images.mean((2, 3), keepdim=True)).sigmoid()
        return images.mean((2, 3))


def test_gates_are_no_layers_of_units():
    """What has one value an image, and weights the channels of a map, shows no structure. A network that ends in maps
    of one pixel keeps its last convolutions."""
    assert unit_layers(Gated().eval(), SIZE) == [f"convolutions.{k}" for k in range(5)]
    shrinking = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(7)), nn.Flatten())
    assert unit_layers(shrinking.eval(), SIZE)[-1] == "6"
