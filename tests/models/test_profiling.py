"""The profile of a training: rates, shares, and what is said to hold it back."""

import time

import pytest
import torch
from helpers import image_set, small_preset

from advlook.core.errors import RequestError
from advlook.models.architectures import preset_model
from advlook.models.profiling import WARM_UP, Profile, Stopwatch, operations, profile

CPU = torch.device("cpu")


class Slow:
    """Images that come one batch in `seconds`."""

    def __init__(self, images, seconds):
        self.images, self.seconds = images, seconds

    def __len__(self):
        return len(self.images)

    def training_batches(self, *args):
        for batch in self.images.training_batches(*args):
            time.sleep(self.seconds)
            yield batch


def profiled(setting="adv", images=None, **training):
    preset = small_preset(training=training)
    images = image_set(8 * (WARM_UP + 3)) if images is None else images
    return profile(preset, "resnet10", setting, images, CPU, steps=3)


@pytest.mark.parametrize("setting", ["std", "adv"])
def test_shares_are_of_the_whole(setting):
    """All stretches of a step are told, the attack only where there is one, and they make up the time."""
    found = profiled(setting, accumulate=2)
    assert list(found.shares) == ["data", *(["attack"] if setting == "adv" else []), "forward", "backward", "update"]
    assert sum(found.shares.values()) == pytest.approx(100)
    assert min(found.rate, found.step_rate, found.operations, found.peak, found.memory) > 0
    assert f"resnet10 {setting.upper()}: 8 images of 16 px a step, float32" in str(found)


def test_a_slow_input_pipeline_is_found():
    """Where images come slowly, they take most of the time, and the pipeline is named, at about its own rate."""
    found = profiled(images=Slow(image_set(8 * (WARM_UP + 3)), 0.4))
    assert "input pipeline" in found.held_back_by
    assert found.shares["data"] > 50
    assert found.rate < 8 / 0.4 < found.step_rate


def test_what_holds_back():
    """With a pipeline that keeps up it is the longest stretch, however long the wait for data seemed."""
    shares = {"data": 50.0, "forward": 20.0, "backward": 30.0}
    assert Profile("", 96.0, 100.0, shares, 1e12, 2e12, 2**30).held_back_by == "backward"
    assert Profile("", 80.0, 100.0, shares | {"data": 1.0}, 1e12, 2e12, 2**30).held_back_by == "backward"
    assert "input pipeline" in Profile("", 80.0, 100.0, shares, 1e12, 2e12, 2**30).held_back_by
    text = str(Profile("title", 1234.4, 1250.0, shares, 1e12, 2e12, 2**30))
    assert text.splitlines()[1:4] == [
        "  1,234 images/s; 1,250 with one batch again and again, which needs no input",
        "  data 50%, forward 20%, backward 30%",
        "  1 TFLOP/s, 50% of a large matrix product's 2; 1.0 GiB at most",
    ]


def test_nothing_is_left_behind():
    """The images and the global random state are as before: a profile is no part of a training."""
    images = image_set(8 * (WARM_UP + 3))
    before = images.images.clone()
    profiled(images=images)
    assert torch.equal(images.images, before)


def test_too_few_images():
    """What cannot be measured is refused with the numbers."""
    with pytest.raises(RequestError, match=r"3 steps of 8 images takes 64; there are 63"):
        profiled(images=image_set(63))


def test_operations_of_a_known_network():
    """Twice the multiplications of every convolution and of the linear layer, counted by hand for the first width."""
    one, other = (preset_model(small_preset(model={"width": width}), "resnet10", 0) for width in (8, 16))
    first = 2 * 16 * 16 * 8 * 3 * 9
    assert operations(one, 16) > first
    # But for the first and last layer, work grows with the square of the width.
    assert 3.5 < operations(other, 16) / operations(one, 16) < 4


def test_stopwatch_adds_up():
    """Stretches of one name are added, in the order in which names came."""
    watch = Stopwatch(CPU)
    for phase in ("b", "a", "b"):
        with watch(phase):
            time.sleep(0.01)
    assert list(watch.shares()) == ["b", "a"]
    assert watch.seconds["b"] > watch.seconds["a"] >= 0.01
