"""The public names work as other people's scripts use them: imports, signatures, and a call of each."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import convolutional, random_images

from advlook import attacks, checks, corruptions, sensitivity
from advlook.study import Study

IMAGES, LABELS = random_images(6, 16), torch.arange(6) % 3
REQUIRED = inspect.Parameter.empty
KEYWORDS = {
    attacks.fgsm: {"random_start": False, "targets": None},
    attacks.pgd: {"norm": "linf", "steps": 10, "step_size": None, "restarts": 1, "random_start": True, "targets": None},
    attacks.apgd: {"norm": "linf", "steps": 100, "loss": "ce", "restarts": 1},
}
BENCHMARKS = sorted(Path(__file__).parents[1].glob("benchmarks/*.py"))
MAPS = ("vanilla_gradient", "loss_gradient", "guided_backprop", "smooth_grad", "integrated_gradients")


def parameters(function):
    """Names and defaults of a function's parameters."""
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize("attack", KEYWORDS, ids=lambda attack: attack.__name__)
def test_attacks_have_their_signature(attack):
    """Model, images, labels and eps by position, then the promised keywords with their defaults."""
    found = parameters(attack)
    assert list(found)[:4] == ["model", "images", "labels", "eps"]
    assert KEYWORDS[attack].items() <= found.items()
    kinds = [each.kind for each in inspect.signature(attack).parameters.values()]
    assert set(kinds[4:]) == {inspect.Parameter.KEYWORD_ONLY}


def test_attacks_are_called_by_package():
    """`advlook.attacks.NAME(model, images, labels, eps)` gives images in the ball; so does the suite."""
    model = convolutional().eval()
    for attack in KEYWORDS:
        assert (attack(model, IMAGES, LABELS, 4 / 255) - IMAGES).abs().max() <= 4 / 255 + 1e-6
    result = attacks.attack_suite(model, IMAGES, LABELS, 4 / 255, steps=2)
    assert list(result.accuracy) == ["clean", "pgd", "apgd-ce", "apgd-dlr"]


def test_checks_run_by_their_short_name():
    """`advlook.checks.run_checks` gives the seven checks, in the order of their remedies."""
    found = checks.run_checks(convolutional(), IMAGES, LABELS, 4 / 255, steps=2)
    assert [check.name for check in found] == list(checks.REMEDIES)
    assert all(check.remedy for check in found)


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_called_by_package(name):
    """Every map takes (model, images, labels) and returns one signed value for each pixel and channel."""
    found = getattr(sensitivity, name)(convolutional(), IMAGES, LABELS)
    assert found.shape == IMAGES.shape
    assert found.min() < 0 < found.max()


def test_image_operations_have_their_signature():
    """Blur, median and reversal of colours are called as promised and return images of the same shape."""
    assert list(parameters(corruptions.gaussian_blur)) == ["images", "sigma", "kernel_size"]
    assert parameters(corruptions.median_filter) == {"images": REQUIRED, "times": REQUIRED, "kernel_size": 3}
    assert parameters(corruptions.reverse_colors) == {"images": REQUIRED}
    for changed in (
        corruptions.gaussian_blur(IMAGES, 1.0, 5),
        corruptions.median_filter(IMAGES, 1),
        corruptions.reverse_colors(IMAGES),
    ):
        assert changed.shape == IMAGES.shape


def test_a_study_is_opened_by_the_name_of_a_preset(tmp_path):
    """`Study("smoke")` is that preset's study."""
    assert Study("smoke", output=tmp_path).preset.name == "smoke"


def test_the_command_line_answers():
    """`python -m advlook --help` names every command."""
    shown = subprocess.run([sys.executable, "-m", "advlook", "--help"], capture_output=True, text=True, check=True)
    for command in ("reproduce", "train", "evaluate"):
        assert command in shown.stdout


@pytest.mark.parametrize(
    "script", sorted(Path(__file__).parents[1].glob("benchmarks/*.py")), ids=lambda path: path.stem
)
def test_benchmarks_import_what_there_is(script):
    """No test runs the benchmarks: every name that they take from the package exists."""
    imports = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [(node.module, each.name) for node in imports if node.module.startswith("advlook") for each in node.names]
    for module, name in names:
        owner = importlib.import_module(module)
        assert hasattr(owner, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"
