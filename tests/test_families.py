"""Networks of all families of torchvision, and of many of timm, asked of everything: each answer is right, as a plain
definition, captum or torchattacks has it, or a few words say that there is none."""

import os

import pytest
import torch
from captum.attr import GuidedBackprop
from families import TIMM, TORCHVISION, build
from questions import QUESTIONS, Asked, close, outcome
from torch import nn

from advlook.attacks import fgsm, pgd
from advlook.core.copies import copied
from advlook.sensitivity import guided_backprop

# By question, what is not defined of which family, and words of the reason.
UNDEFINED = {
    "guided": {
        "ConvNeXt": "3 GELU, no ReLU",
        "EfficientNet": "SiLU",
        "EfficientNet v2": "9 SiLU, 2 Sigmoid, no ReLU",
        "MaxViT": "9 GELU, 2 SiLU, 2 Sigmoid, 1 Tanh, no ReLU",
        "MobileNet v3": "19 Hardswish, 9 Hardsigmoid, 14 ReLU",
        "Swin": "5 GELU, no ReLU",
        "Swin v2": "5 GELU, no ReLU",
        "ViT": "3 GELU, no ReLU",
    },
    "strength": {"ConvNeXt": "LayerNorm2d normalises", "Swin": "LayerNorm normalises", "Swin v2": "LayerNorm"},
}
UNDEFINED_TIMM = {
    "guided": {
        "BEiT": "3 GELU, no ReLU",
        "CaiT": "4 GELU, no ReLU",
        "CoAtNet": "7 SiLU, 3 GELU, 2 Sigmoid, no ReLU",
        "ConvMixer": "7 GELU, no ReLU",
        "ConvNeXt": "9 GELU, no ReLU",
        "DeiT III": "3 GELU, no ReLU",
        "DeiT, distilled": "3 GELU, no ReLU",
        "EdgeNeXt": "12 GELU, no ReLU",
        "EfficientFormer": "5 GELU, 2 ReLU",
        "EfficientNet": "11 SiLU, 2 Sigmoid, no ReLU",
        "EVA-02": "3 SiLU, no ReLU",
        "FastViT": "GELU",
        "LeViT": "25 Hardswish, no ReLU",
        "MambaOut": "7 SiLU, 1 GELU, no ReLU",
        "MaxViT": "13 SiLU, 8 GELU, 4 Sigmoid, no ReLU",
        "MLP-Mixer": "4 GELU, no ReLU",
        "MobileViT": "34 SiLU, no ReLU",
        "NFNet": "20 SiLU, 4 Sigmoid, 4 ReLU",
        "PoolFormer": "GELU, no ReLU",
        "PVT v2": "8 GELU, no ReLU",
        "TinyViT": "GELU",
        "ViT": "6 GELU, no ReLU",
        "XCiT": "GELU",
    },
    "strength": {
        "ConvMixer": "BatchNorm2d normalises",
        "ConvNeXt": "LayerNorm2d normalises",
        "EdgeNeXt": "LayerNorm2d normalises",
        "NFNet": "the layer standardises its weights",
        "PVT v2": "LayerNorm normalises",
        "ResNet v2": "BatchNormAct2d normalises",
    },
}
# What is behind the last layer of these: a ReLU and a mean over pixels, or a mean with another head.
MORE_BEHIND = {"SqueezeNet", "DeiT, distilled", "LeViT", "EfficientFormer"}


def asked_of(table, family):
    """A network of a family, the same in every run, and images."""
    made, size, *options = table[family]
    torch.manual_seed(0)
    return Asked(build(made, size, **(options[0] if options else {})), size)


def check(asked, family, undefined):
    """Every answer is right, or not defined where that is known, by its own words."""
    for question in QUESTIONS:
        said, why = outcome(question, asked), undefined.get(question, {}).get(family)
        if question == "head" and family in MORE_BEHIND:
            assert said.startswith("wrong")
        elif why is None:
            assert said == "right", question
        else:
            assert said.startswith("not defined: "), question
            assert why in said


@pytest.mark.parametrize("family", TORCHVISION)
def test_families_of_torchvision(family):
    """Every public function answers a network of torchvision rightly, or says why that is not defined for it."""
    check(asked_of(TORCHVISION, family), family, UNDEFINED)


@pytest.mark.parametrize("family", TIMM)
def test_families_of_timm(family):
    """So it does a network of timm."""
    if not os.environ.get("ADVLOOK_PEERS"):
        pytest.importorskip("timm", reason="timm is absent; pip install 'advlook[timm]'")
    check(asked_of(TIMM, family), family, UNDEFINED_TIMM)


@pytest.mark.parametrize("family", ["AlexNet", "MnasNet", "RegNet", "SqueezeNet", "VGG"])
def test_guided_maps_are_those_of_captum(family):
    """Of networks that captum takes, which has to see every ReLU as a module of its own that copies."""
    asked = asked_of(TORCHVISION, family)
    theirs = copied(asked.model)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    expected = GuidedBackprop(theirs).attribute(asked.images.clone().requires_grad_(), asked.labels)
    close(guided_backprop(asked.model, asked.images, asked.labels), expected.detach())


@pytest.mark.parametrize("family", ["ConvNeXt", "DenseNet", "EfficientNet v2", "ViT"])
def test_attacks_are_those_of_torchattacks(family):
    """FGSM and PGD give the same images, but for single pixels whose gradients round to either side of 0."""
    if not os.environ.get("ADVLOOK_PEERS"):
        pytest.importorskip("torchattacks")
    import torchattacks

    asked, eps = asked_of(TORCHVISION, family), 0.1 / 255  # so little that some stay right: where not, ours stops
    given = asked.model, asked.images, asked.labels
    ours = fgsm(*given, eps), pgd(*given, eps, steps=3, step_size=eps / 2, random_start=False)
    named = torchattacks.FGSM(asked.model, eps), torchattacks.PGD(asked.model, eps, eps / 2, 3, random_start=False)
    for found, attack in zip(ours, named, strict=True):
        expected = attack(asked.images, asked.labels)
        stayed = asked.answers(expected).argmax(1) == asked.labels
        assert stayed.any()
        assert (found - expected)[stayed].abs().gt(eps / 100).float().mean() < 0.005
        assert (found - asked.images).abs().max() > 0.9 * eps
