"""Stylized sets: kept, resumed and drawn by seed; their styles; whether they count as stylized."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import image_set, random_images, small_preset, smooth, write_folder

from advlook.core.errors import RequestError
from advlook.corruptions.stylization import stylize
from advlook.data import styles
from advlook.data.styles import assign, generate_textures, load_styles
from advlook.experiments.stylization import chunks, images, validity
from advlook.experiments.stylization.images import stylized_set
from advlook.study.study import Study

SIDE = 24


def patch_distance(images, others):
    """Of images in place of their quantiles."""
    return validity.patch_distance(*map(validity.patch_quantiles, (images, others)))


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
    assert len(list((study.data / "cache" / "stylized").rglob("*"))) == 3  # the preset's folder and two chunks
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


def test_styles_of_a_folder(tmp_path):
    write_folder(tmp_path / "pictures", ("a", "b"), 2, side=40)
    found = load_styles(["pictures"], 32, tmp_path)
    assert found.names == ("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    assert found.images.shape == (4, 3, 32, 32)
    assert found.images.dtype == torch.uint8


def test_folders_without_styles_end_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, says in (("nowhere", "does not exist"), ("empty", "holds no pictures")):
        with pytest.raises(RequestError, match=says) as refused:
            load_styles([name], 32, tmp_path)
        assert "\n" not in str(refused.value)


def test_our_paintings_come_with_the_command_that_gets_them(tmp_path):
    """The line that refuses, and the one that lists, say what to run; once they are there, how many they are."""
    with pytest.raises(RequestError, match=r"run `git clone .*paintings`, or put any pictures in it"):
        load_styles(["paintings"], 32, tmp_path)
    assert styles.available(tmp_path).startswith("absent: run `git clone")
    write_folder(tmp_path / "paintings", count=2, side=16)
    assert styles.available(tmp_path) == "6 pictures"


def test_generated_textures_differ_and_are_fixed_by_their_seed(tmp_path):
    found = load_styles(["generated"], 32, tmp_path)
    assert torch.equal(found.images, load_styles(["generated"], 32, tmp_path).images)
    assert len({image.numpy().tobytes() for image in found.images}) == len(found)
    assert (found.images.float().std((2, 3)).amax(1) > 5).all()


def test_generated_textures_are_as_coarse_as_they_were_chosen():
    """Twenty-four of them, whose mean frequencies are 0.2 cycles per pixel on average, and from 0.10 to 0.29."""
    found = load_styles(["generated"], 64, None).images.float().div(255)
    power = torch.fft.rfft2(found - found.mean((2, 3), keepdim=True)).abs().square().sum(1)
    radius = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None])
    frequencies = (power * radius).sum((1, 2)) / power.sum((1, 2))
    assert len(found) == 24
    assert frequencies.mean().item() == pytest.approx(0.2014, rel=0.004)
    assert [frequencies.min().item(), frequencies.max().item()] == pytest.approx([0.1036, 0.2874], rel=0.004)
    assert found.std((2, 3)).mean().item() == pytest.approx(0.1811, rel=0.004)


def test_styles_of_several_folders(tmp_path):
    """One after the other, as they are named; of one folder more, another hash."""
    for name, side in (("pictures", 40), ("others", 30)):
        write_folder(tmp_path / name, ("a",), 2, side=side)
    found = load_styles(["others", "generated", "pictures"], 32, tmp_path)
    parts = [load_styles([name], 32, tmp_path) for name in ("others", "generated", "pictures")]
    assert torch.equal(found.images, torch.cat([part.images for part in parts]))
    assert found.names == tuple(name for part in parts for name in part.names)
    hashes = [styles.fingerprint(some, tmp_path) for some in (["others"], ["others", "pictures"], ["generated"])]
    assert len(set(hashes)) == 3
    assert hashes[2] is None


def test_a_set_of_the_catalogue_says_how_to_get_it(tmp_path):
    """Sets of textures serve as styles; one that is absent ends in the line that tells how to get it."""
    with pytest.raises(RequestError, match=r"dtd10.*curl"):
        load_styles(["dtd10"], 32, tmp_path / "datasets")


def test_assignment_does_not_change_with_the_count():
    assert torch.equal(assign(100, 7)[:20], assign(20, 7))
    assert not torch.equal(assign(20, 7), assign(20, 7, seed=1))
    assert assign(0, 7).shape == (0,)


@pytest.mark.parametrize(("count", "styles"), [(5, 7), (7, 7), (20, 7)])
def test_no_style_serves_again_before_all_have_served(count, styles):
    served = assign(count, styles).bincount(minlength=styles)
    assert served.sum() == count
    assert served.max() - served.min() <= 1


# Measurements --------------------------------------------------------------------------------------------------------


def test_patch_distance_of_known_cases():
    """Of a grey by d: every projection moves by d times the direction's sum. Of a shift in space: nothing."""
    grey = torch.full((2, 3, 16, 16), 0.4)
    directions = torch.randn(64, 75, generator=torch.Generator().manual_seed(0))
    sums = F.normalize(directions, dim=1).sum(1)
    found = patch_distance(grey, grey + 0.2)
    torch.testing.assert_close(found, torch.full((2,), 0.2 * sums.square().mean().sqrt().item()), rtol=1e-4, atol=0)
    noise = random_images(1, 64)
    another = patch_distance(noise, random_images(1, 64, seed=1))
    assert patch_distance(noise, noise).item() == 0
    assert another.item() < 0.02  # two draws of one texture
    assert patch_distance(noise, noise.mean((2, 3), keepdim=True).expand_as(noise)).item() > 0.2


def test_patch_distance_looks_as_closely_as_was_chosen():
    """5x5 pixels, in 64 directions and at 256 quantiles; edges at 1.5 pixels. Others give other numbers."""
    one, other = smooth(4, 32), generate_textures(4, 32).float().div(255)
    assert validity.patch_quantiles(one).shape == (4, 64, 256)
    assert patch_distance(one, other).mean().item() == pytest.approx(0.17388, rel=0.002)
    assert validity.edge_agreement(one, other).mean().item() == pytest.approx(-0.0111, abs=0.001)


def test_patch_distance_sees_more_than_second_moments():
    """Noise with the mean and variance of dots on a ground is further from them than other such dots are."""
    generator = torch.Generator().manual_seed(0)
    share = 0.01
    dots, others = (torch.rand(2, 8, 3, 64, 64, generator=generator) < share).float()
    noise = share + (share * (1 - share)) ** 0.5 * torch.randn(8, 3, 64, 64, generator=generator)
    assert (patch_distance(dots, noise) > 1.5 * patch_distance(dots, others)).all()


def test_patch_distance_of_a_sample_is_near_that_of_all(monkeypatch):
    """Of large images some patches stand for all: the distance of other pictures hardly changes."""
    one, other = generate_textures(4, 128).float().div(255), generate_textures(4, 96, seed=1).float().div(255)
    whole = patch_distance(one, other)
    monkeypatch.setattr(validity, "_PATCHES", 2**12)
    torch.testing.assert_close(patch_distance(one, other), whole, rtol=0.05, atol=0)
    assert not torch.equal(patch_distance(one, other), whole)


def test_edge_agreement_of_known_cases():
    images = smooth(6)
    same, paler, other = (validity.edge_agreement(images, some) for some in (images, 0.5 * images, smooth(6, seed=9)))
    torch.testing.assert_close(same, torch.ones(6, dtype=torch.float64))
    assert (paler > 0.99).all()
    assert (other < 0.7).all()
    with pytest.raises(RequestError, match="same shape"):
        validity.edge_agreement(images, images[..., 1:])


def test_patch_classifier_sees_what_it_says():
    """A place changes with each of its 9x9 pixels and with no other.

    Without negative weights no path to a pixel ends in a dead unit, nor do two cancel.
    """
    model = validity.PatchClassifier(3, width=8).eval()
    for weight in model.parameters():
        weight.detach().abs_()
    image = random_images(1, 33, low=0.6).requires_grad_(True)
    place = model.places(2 * image - 1)[0, :, 3, 2].sum()
    (gradient,) = torch.autograd.grad(place, image)
    seen = gradient[0].abs().sum(0) > 0
    expected = torch.zeros_like(seen)
    expected[12 : 12 + validity.RECEPTIVE_FIELD, 8 : 8 + validity.RECEPTIVE_FIELD] = True
    assert torch.equal(seen, expected)


def test_patch_classifier_answers_by_the_mean_of_its_places():
    """Logits are the mean of the logits of all places, though these are never all there."""
    model, images = validity.PatchClassifier(5, width=8).eval(), random_images(3, 40)
    torch.testing.assert_close(model(images), model.places(2 * images - 1).mean((2, 3)))


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
