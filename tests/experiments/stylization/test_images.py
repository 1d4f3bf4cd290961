"""Stylized sets: kept, resumed and drawn by seed; their styles; whether they count as stylized."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import image_set, small_preset, write_folder

from advlook.core.errors import RequestError
from advlook.corruptions.stylization import stylize
from advlook.data.styles import load_styles
from advlook.experiments.stylization import chunks, images, validity
from advlook.experiments.stylization.images import stylized_set
from advlook.study.study import Study

SIDE = 24


@pytest.fixture
def study(tmp_path):
    """Forty noisy images in the styles of a folder of five, in chunks of eight."""
    config = {
        "engine": "optimised",
        "styles": ("pictures",),
        "images": 40,
        "partial_images": 12,
        "cues": 10,
        "steps": 2,
    }
    write_folder(tmp_path / "datasets" / "pictures", ("a",), 5, side=50)
    study = Study(small_preset(stylization=config, data={"size": SIDE}), output=tmp_path, data=tmp_path, progress=False)
    study.__dict__["test"] = image_set(60, SIDE)
    study.__dict__["training_images"] = image_set(60, SIDE, seed=1)
    return study


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(chunks, "worker_count", lambda *_: 1)
    monkeypatch.setattr(chunks, "CHUNK", 8)


# Sets ----------------------------------------------------------------------------------------------------------------


def test_set_records_one_style_an_image(study):
    made = stylized_set(study)
    table = made.table()
    assert list(table.columns) == ["image", "label", "style", "strength"]
    assert len(table) == len(made.images) == 40
    assert set(table["style"]) <= set(load_styles(["pictures"], 2 * SIDE, study.data / "datasets").names)
    assert table["style"].nunique() > 1
    pictures = images.study_styles(study)
    assert pictures.images.shape[-1] == 2 * SIDE
    for name, style in zip(made.names, made.pictures(), strict=True):
        assert torch.equal(style, pictures.images[pictures.names.index(name)])
    assert torch.equal(made.images.labels, made.contents.labels)


def test_set_is_what_the_engine_makes(study):
    made = stylized_set(study)
    images, styles = (some[:8].float().div(255).contiguous() for some in (made.contents.images, made.pictures()))
    direct = stylize(images, styles, steps=2, seeds=range(8)).mul(255).round().to(torch.uint8)
    assert torch.equal(made.images.images[:8], direct)


def test_strengths_share_images_and_styles(study):
    full, half, none = (stylized_set(study, strength) for strength in (1.0, 0.5, 0.0))
    assert len(half.images) == 12
    assert full.names[:12] == half.names
    assert torch.equal(full.contents.images[:12], half.contents.images)
    assert torch.equal(none.images.images, full.contents.images)


def test_smaller_set_is_the_beginning_of_a_larger_one(study):
    assert torch.equal(
        stylized_set(study, chosen=torch.arange(10)).images.images, stylized_set(study).images.images[:10]
    )


def test_chosen_images_are_those_of_the_whole_set(study):
    """To the bit, in any order, without the chunks that hold none of them; their styles and labels too."""
    whole, chosen = stylized_set(study), torch.tensor([30, 3, 28])
    for path in (study.data / "cache" / "stylized").rglob("*.npy"):
        path.unlink()
    some = stylized_set(study, chosen=chosen)
    assert torch.equal(some.images.images, whole.images.images[chosen])
    assert torch.equal(some.images.labels, whole.images.labels[chosen])
    assert some.names == tuple(whole.names[number] for number in chosen)
    assert len(list((study.data / "cache" / "stylized").rglob("*.npy"))) == 2


def test_interrupted_set_goes_on_to_the_same_bits(study, tmp_path, monkeypatch):
    expected = stylized_set(study).images.images.clone()
    for path in (study.data / "cache" / "stylized").rglob("*.npy"):
        path.unlink()
    engine, calls = images.stylize, []

    def failing(*arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return engine(*arguments, **options)

    monkeypatch.setattr(images, "stylize", failing)
    with pytest.raises(KeyboardInterrupt):
        stylized_set(study)
    assert len(list((study.data / "cache" / "stylized").rglob("*"))) == 3  # the folder of the set and two chunks
    assert torch.equal(stylized_set(study).images.images, expected)
    assert calls == [8] * 6  # three before, the third of them in vain; then the third to the fifth
    stylized_set(study)
    assert len(calls) == 6


@pytest.mark.parametrize("change", [{"steps": 3}, {"styles": ("generated",)}])
def test_what_makes_a_set_makes_another(study, change):
    first = stylized_set(study, chosen=slice(8)).images.images
    changed = dataclasses.replace(study.preset.stylization, **change)
    study.preset = dataclasses.replace(study.preset, stylization=changed)
    assert not torch.equal(stylized_set(study, chosen=slice(8)).images.images, first)


# Photographs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def redrawn(photographed, monkeypatch):
    """A study of photographs in generated styles by a network that mixes both, and what that network was given."""
    given = []

    def mix(images, styles, *, strength):
        given.append((images, styles, strength))
        return images + strength * (styles.mean((2, 3), keepdim=True) - images) / 2

    monkeypatch.setattr(images, "style_transfer", mix)
    study = photographed(engine="network", styles=("generated",), images=30, partial_images=12)
    images.large_contents.cache_clear()
    images.contents_of.cache_clear()
    return study, given


def test_the_network_gets_photographs_at_twice_their_size(redrawn):
    """The same photographs as are shown, and styles of 256 pixels; what it makes is reduced to the study's size."""
    study, given = redrawn
    made = stylized_set(study)
    assert made.images.images.shape == made.contents.images.shape == (30, 3, 24, 24)
    shown, styles = (torch.cat([each[place] for each in given]) for place in (0, 1))
    assert shown.shape == (30, 3, 48, 48)
    assert styles.shape == (30, 3, 256, 256)
    reduced = F.interpolate(shown, (24, 24), mode="bilinear", antialias=True)
    assert (reduced - made.contents.images / 255).abs().mean() < 0.02
    wanted = shown + (styles.mean((2, 3), keepdim=True) - shown) / 2
    wanted = F.interpolate(wanted, (24, 24), mode="bilinear", antialias=True)
    torch.testing.assert_close(made.images.images / 255, wanted, atol=0.005, rtol=0)
    # The style is compared with images at the scale at which they show it.
    assert made.pictures(slice(2)).shape == (2, 3, 24, 24)


def test_strengths_reach_the_network(redrawn):
    study, given = redrawn
    half = stylized_set(study, 0.5)
    assert {strength for *_, strength in given} == {0.5}
    assert len(half.images) == 12
    assert not torch.equal(half.images.images, stylized_set(study, 1.0, slice(12)).images.images)
    given.clear()
    assert torch.equal(stylized_set(study, 0.0, slice(12)).images.images, half.contents.images)
    assert not given


def test_the_embedded_test_bed_has_no_larger_photographs(study):
    data = dataclasses.replace(study.preset.data, name="synthetic")
    config = dataclasses.replace(study.preset.stylization, engine="network")
    study.preset = dataclasses.replace(study.preset, data=data, stylization=config)
    images.large_contents.cache_clear()
    with pytest.raises(RequestError, match='write engine = "optimised"'):
        stylized_set(study)


@pytest.mark.slow
def test_processes_make_the_same_set(study, monkeypatch):
    alone = stylized_set(study, chosen=slice(16)).images.images.clone()
    for path in (study.data / "cache" / "stylized").rglob("*.npy"):
        path.unlink()
    monkeypatch.setattr(chunks, "worker_count", lambda *_: 2)
    assert torch.equal(stylized_set(study, chosen=slice(16)).images.images, alone)


# Styles --------------------------------------------------------------------------------------------------------------


# Measurements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train_images", "steps"), [(0, 12), (6, 4)])
def test_patch_classifier_is_trained_on_windows_for_as_long_as_the_set_allows(study, monkeypatch, train_images, steps):
    """So many steps a class, of which there are three; or the epochs that a small set has, and be it of one batch."""
    for name, value in {"_STEPS": 4, "_BATCH": 6, "_EPOCHS": 4, "_WINDOW": 16}.items():
        monkeypatch.setattr(validity, name, value)
    data = dataclasses.replace(study.preset.data, train_images=train_images)
    study.preset = dataclasses.replace(study.preset, data=data)
    shown, forward = [], validity.PatchClassifier.forward

    def recording(model, images):
        shown.append(images)
        return forward(model, images)

    monkeypatch.setattr(validity.PatchClassifier, "forward", recording)
    validity.patch_classifier(study)
    assert [images.shape for images in shown] == [(6, 3, 16, 16)] * steps


def test_patch_classifier_is_trained_as_was_chosen(study, monkeypatch):
    """40 steps a class on 64 windows of 64 pixels, at most 20 epochs; from a rate of 0.01 down along a cosine."""
    shown, optimizers, forward = [], [], validity.PatchClassifier.forward

    def recording(model, images):
        shown.append(images.shape)
        return forward(model, images[:2, :, :9, :9])

    class Batches:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def training_batches(self, data, batch_size, *arguments, **options):
            return iter(
                [(torch.zeros(batch_size, 3, 66, 66), torch.zeros(batch_size).long())] * (len(self) // batch_size)
            )

    class Recorded(torch.optim.AdamW):
        def step(self, *arguments):
            optimizers.append(dict(self.param_groups[0]))
            return super().step(*arguments)

    monkeypatch.setattr(validity.PatchClassifier, "forward", recording)
    monkeypatch.setattr(validity.F, "cross_entropy", lambda logits, labels: logits.square().mean())
    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    for count, steps in ((640, 120), (64, 20)):
        study.__dict__["training_images"] = Batches(count)
        validity._fit(validity.PatchClassifier(3), study)
        assert shown == [(64, 3, 64, 64)] * steps
        rates = [each["lr"] for each in optimizers]
        assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)])
        assert {each["weight_decay"] for each in optimizers} == {0.01}
        shown.clear()
        optimizers.clear()
    assert validity.PatchClassifier(3).places[0].out_channels == 64


def test_checks_in_batches_are_those_of_all(study, monkeypatch):
    """How many images are measured at once changes rounding alone."""
    monkeypatch.setattr(validity, "_STEPS", 1)
    made = stylized_set(study, 1.0, slice(7))
    whole = validity.checks(study, made)
    monkeypatch.setattr(validity, "_HELD", 3 * made.styles.images[0].numel())
    pd.testing.assert_frame_equal(validity.checks(study, made), whole, rtol=1e-4)


def test_patch_classifier_learns_and_is_kept(study, monkeypatch):
    monkeypatch.setattr(validity, "_STEPS", 10)  # a class, of three
    model = validity.patch_classifier(study)
    images = study.test.images.float().div(255)
    assert (model(images).argmax(1) == study.test.labels).float().mean() > 0.8  # brightness tells the class
    monkeypatch.setattr(validity, "_fit", None)
    again = validity.patch_classifier(study)
    torch.testing.assert_close(model(images), again(images))


def test_checks_tell_stylized_from_content(study, monkeypatch):
    monkeypatch.setattr(validity, "_STEPS", 5)
    table = validity.checks(study, stylized_set(study, 0.0, slice(6)))
    assert len(table) == 6
    assert (table["patches_to_content"] == 0).all()
    assert table["patches_to_style"].tolist() == table["patches_before"].tolist()
    assert table["gram_after"].tolist() == table["gram_before"].tolist()
    assert (table["edges_content"] > 0.999).all()
    assert (table["patch_right"] == table["patch_right_before"]).all()
    made = validity.checks(study, stylized_set(study, 1.0, slice(6)))
    assert (made["gram_after"] < made["gram_before"]).all()
    assert (made["patches_to_content"] > 0).all()
