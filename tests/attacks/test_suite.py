"""The suite: each attack on what the ones before left; attacks by name."""

from itertools import pairwise

import pytest
import torch
from helpers import Linear, Recorder, convolutional, random_images

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.margin import margin_attack
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.attacks.square import square
from advlook.attacks.suite import NAMED_ATTACKS, attack_suite
from advlook.core.errors import RequestError


def suite_case():
    """A model, images and labels of which some are wrong and some are lost to each attack."""
    model, images = convolutional(classes=5).eval(), random_images(60, 8)
    labels = model(images).argmax(1)
    labels[:6] = (labels[:6] + 1) % 5
    return model, images, labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_suite_counts_what_is_left(norm):
    """Every attack of a suite loses only what was left, and the images bear out the result."""
    model, images, labels = suite_case()
    eps = 0.01 if norm == "linf" else 0.1
    result = attack_suite(model, images, labels, eps, norm=norm, steps=10, attacks=("pgd", "apgd-ce", "apgd-t"))
    stages = list(result.survived.values())
    assert list(result.survived) == ["clean", "pgd", "apgd-ce", "apgd-t"]
    assert torch.equal(stages[0], model(images).argmax(1) == labels)
    assert all((before | ~after).all() for before, after in pairwise(stages))
    assert 0 < stages[-1].sum() < stages[0].sum()
    assert torch.equal(model(result.attacked).argmax(1) == labels, stages[-1])
    assert list(result.accuracy.values()) == [100 * left.double().mean().item() for left in stages]


def test_suite_works_on_survivors_alone():
    """An attack is only shown images that all before it left right, the first only those that are right as they are."""
    model, images, labels = suite_case()
    recorder = Recorder(model)
    result = attack_suite(recorder, images, labels, 0.01, attacks=("apgd-ce", "pgd"), steps=10)
    assert recorder.sizes[:2] == [60, 54]
    assert max(recorder.sizes[-12:]) <= result.survived["apgd-ce"].sum()


def test_suite_is_never_weaker_than_its_parts():
    """What the suite leaves is at most what its first attack alone leaves."""
    model, images, labels = suite_case()
    alone = pgd(model, images, labels, 0.01, generator=torch.Generator().manual_seed(0))
    result = attack_suite(model, images, labels, 0.01, generator=torch.Generator().manual_seed(0))
    assert result.survived["apgd-dlr"].sum() <= (model(alone).argmax(1) == labels).sum()


def test_suite_edge_cases():
    """No images give an empty result; an unknown attack is named."""
    empty = attack_suite(convolutional().eval(), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64), 0.01)
    assert empty.attacked.shape == (0, 3, 8, 8)
    with pytest.raises(RequestError, match=r"'circle'.*apgd-ce"):
        attack_suite(Linear(), random_images(), torch.zeros(8, dtype=torch.int64), 0.01, attacks=["circle"])


def test_named_attacks_are_those_with_their_settings():
    """A name gives what a call of the attack with its settings gives, from the same draws."""
    model, images, labels = suite_case()
    arguments = (model, images, labels, 0.01)
    expected = {
        "noise": lambda g: random_noise(*arguments, generator=g),
        "fgsm": lambda g: fgsm(*arguments),
        "pgd": lambda g: pgd(*arguments, steps=3, generator=g, precision="auto"),
        "mi-fgsm": lambda g: mi_fgsm(*arguments, steps=3),
        "apgd-ce": lambda g: apgd(*arguments, steps=3, generator=g),
        "apgd-dlr": lambda g: apgd(*arguments, steps=3, loss="dlr", generator=g),
        "margin": lambda g: margin_attack(*arguments, steps=3, generator=g, precision="auto"),
        "square": lambda g: square(*arguments, generator=g),
        "suite": lambda g: attack_suite(*arguments, steps=3, generator=g).attacked,
    }
    assert list(NAMED_ATTACKS) == list(expected)
    for name, attack in NAMED_ATTACKS.items():
        found, direct = (
            run(torch.Generator().manual_seed(0))
            for run in (lambda g, attack=attack: attack(*arguments, 3, g), expected[name])
        )
        assert torch.equal(found, direct), name


def test_a_suite_is_of_its_parts():
    """A suite begins with ten steps of PGD; APGD has the steps asked for, and its targeted form nine restarts."""
    model, images, labels = suite_case()
    parts = {
        "pgd": lambda g: pgd(model, images[6:], labels[6:], 0.001, steps=10, generator=g),
        "apgd-ce": lambda g: apgd(model, images[6:], labels[6:], 0.001, steps=3, generator=g),
        "apgd-t": lambda g: apgd(
            model, images[6:], labels[6:], 0.001, steps=3, loss="dlr-targeted", restarts=9, generator=g
        ),
    }
    for name, attack in parts.items():
        generators = [torch.Generator().manual_seed(0) for _ in range(2)]
        result = attack_suite(model, images, labels, 0.001, attacks=[name], steps=3, generator=generators[0])
        assert torch.equal(result.attacked[6:], attack(generators[1])), name


def test_a_suite_leaves_a_model_in_train_mode_as_it_was():
    """Running statistics are not moved by what attacks show to a model."""
    model, labels = convolutional().train(), torch.zeros(8, dtype=torch.int64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attack_suite(model, random_images(side=8), labels, 0.1, attacks=("pgd", "apgd-ce"), steps=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
