"""Presets that name checkpoints and leave out what follows from the rest."""

import dataclasses
import tomllib

import pytest

from advlook.core import RequestError
from advlook.core.preset_files import PRESET_FOLDER, load_preset
from advlook.core.presets import Preset
from advlook.core.short_presets import is_short

SHORT = """title = "My pair"
[data]
name = "photographs"
size = 64
classes = 3
[external.vit]
arch = "timm:vit_tiny_patch16_224"
std = "std.pt"
adv = "adv.pt"
[evaluation]
eps = "4/255"
"""


def load(tmp_path, text=SHORT):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_preset(path)


def test_ten_lines_are_a_preset(tmp_path):
    """Names, files, images and a radius give a whole preset; what the file says is what the preset says."""
    preset = load(tmp_path)
    assert len(SHORT.splitlines()) <= 11
    assert (preset.archs, preset.seeds, preset.models) == (("vit",), (0,), {})
    assert (preset.data.size, preset.data.classes, preset.evaluation.eps) == (64, 3, 4 / 255)
    assert preset.external["vit"].pairs == (("std.pt", "adv.pt"),)


def test_pairs_are_seeds(tmp_path):
    """Several checkpoints of either setting are pairs, numbered as training seeds are."""
    text = SHORT.replace('"std.pt"', '["a.pt", "b.pt"]').replace('"adv.pt"', '["c.pt", "d.pt"]')
    preset = load(tmp_path, text)
    assert preset.seeds == (0, 1)
    assert preset.external["vit"].pairs == (("a.pt", "c.pt"), ("b.pt", "d.pt"))
    assert [preset.run_name("vit", seed) for seed in preset.seeds] == ["pair 0", "pair 1"]
    assert load(tmp_path).run_name("vit", 0) == ""
    assert load_preset("smoke").run_name("resnet10", 0) == "seed 0"


def test_a_key_that_is_given_wins(tmp_path):
    """What a short preset states is not overwritten, whatever section it is in."""
    preset = load(tmp_path, SHORT + "pgd_steps = 3\n[corruptions]\nsigmas = [1.0, 2.0]\n")
    assert preset.evaluation.pgd_steps == 3
    assert preset.corruptions.sigmas == (1.0, 2.0)
    assert preset.corruptions.images == load(tmp_path).corruptions.images


def test_lengths_follow_the_size_of_images(tmp_path):
    """Radii in L2 and strides of frequencies grow with the side: as much a pixel, as many frequencies."""
    small, large = load(tmp_path), load(tmp_path, SHORT.replace("size = 64", "size = 224"))
    assert large.evaluation.l2_eps == pytest.approx(3.5 * small.evaluation.l2_eps)
    assert large.visualize.fourier_eps == pytest.approx(3.5 * small.visualize.fourier_eps)
    assert large.data.size // large.visualize.fourier_stride == small.data.size // small.visualize.fourier_stride
    assert max(large.corruptions.sigmas) > max(small.corruptions.sigmas)
    doubled = load(tmp_path, SHORT.replace('eps = "4/255"', 'eps = "8/255"'))
    assert doubled.evaluation.l2_eps == pytest.approx(2 * small.evaluation.l2_eps)


@pytest.mark.parametrize("missing", ["size = 64", 'eps = "4/255"', 'name = "photographs"', "classes = 3"])
def test_what_nothing_follows_from_is_asked_for(tmp_path, missing):
    """Without its size, radius, images or classes a short preset is refused by the name of the key."""
    with pytest.raises(RequestError, match=f"missing key '[a-z.]*{missing.split()[0]}'"):
        load(tmp_path, SHORT.replace(missing, ""))


@pytest.mark.parametrize("name", ["imagenette", "cifar10", "quick"])
def test_presets_that_train_are_not_short(name):
    """A preset that trains a model states every key."""
    assert not is_short(tomllib.loads((PRESET_FOLDER / f"{name}.toml").read_text()))


def test_the_reference_has_the_samples_of_imagenette(tmp_path):
    """At 64 pixels a pair is measured on as many images as the models of Imagenette are."""
    mine, reference = load(tmp_path), load_preset("imagenette")
    for section in ("visualize", "corruptions", "stylization"):
        own, theirs = (dataclasses.asdict(getattr(preset, section)) for preset in (mine, reference))
        counts = {key for key, value in theirs.items() if isinstance(value, int)} - {"units"}
        assert {key: own[key] for key in counts} == {key: theirs[key] for key in counts}
    assert isinstance(mine, Preset)
