"""The embedded test-bed: what it says about its cues is true of the pixels."""

import dataclasses
import itertools
import math

import pytest
import torch

from advlook.core.errors import RequestError
from advlook.data import test_bed
from advlook.data.test_bed import CLASSES, CONTRAST, SPLITS, TEXTURE_LEVELS, FreshImages, SyntheticSet, generate

SIZE = 40
COUNT = 1200


@pytest.fixture(scope="module")
def splits() -> dict[str, SyntheticSet]:
    return {split: generate(COUNT, SIZE, seed=7, split=split) for split in SPLITS}


def tensors(images: SyntheticSet) -> list[torch.Tensor]:
    return [getattr(images, field.name) for field in dataclasses.fields(images)]


def identical(a: SyntheticSet, b: SyntheticSet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


@pytest.mark.parametrize("split", SPLITS)
def test_one_seed_gives_one_set(split):
    """The seed decides every bit, whatever was drawn before, and leaves the global random state alone."""
    first = generate(70, SIZE, 3, split)
    torch.rand(5)
    state = torch.get_rng_state()
    assert identical(first, generate(70, SIZE, 3, split))
    assert torch.equal(state, torch.get_rng_state())
    other = generate(70, SIZE, 4, split)
    assert not (first.images == other.images).flatten(1).all(1).any()


def test_training_images_are_no_test_images(splits):
    same = (splits["train"].images == splits["test"].images).flatten(1).all(1)
    assert not same.any()


@pytest.mark.parametrize("size", [16, 25, 40, 64])
@pytest.mark.parametrize("split", SPLITS)
def test_types_and_shapes(size, split):
    drawn = generate(3, size, 0, split)
    assert len(drawn) == 3
    assert drawn.images.shape == (3, 3, size, size)
    assert drawn.images.dtype == torch.uint8
    assert drawn.masks.shape == (3, size, size)
    assert drawn.masks.dtype == torch.bool
    for classes in (drawn.labels, drawn.shapes, drawn.textures):
        assert classes.shape == (3,)
        assert classes.dtype == torch.int64


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(RequestError, match=r"'validation'.*cue_conflict"):
        generate(1, SIZE, 0, "validation")
    with pytest.raises(RequestError, match="count=0"):
        generate(0, SIZE, 0)
    with pytest.raises(RequestError, match="size=8"):
        generate(1, 8, 0)


def test_ten_distinct_names():
    assert len(set(CLASSES)) == len(CLASSES) == 10


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_occurs_evenly(splits, split):
    """Each class has 120 of 1200 images, give or take four standard deviations."""
    counts = torch.bincount(splits[split].labels, minlength=10)
    assert len(counts) == 10
    assert (counts - COUNT / 10).abs().max() < 4 * math.sqrt(COUNT * 0.1 * 0.9)


@pytest.mark.parametrize("split", ["train", "test"])
def test_texture_is_always_right_and_silhouette_in_four_of_five(splits, split):
    drawn = splits[split]
    assert torch.equal(drawn.labels, drawn.textures)
    right = (drawn.shapes == drawn.labels).double().mean().item()
    assert abs(right - 0.8) < 4 * math.sqrt(0.8 * 0.2 / COUNT)


def test_a_wrong_silhouette_is_any_of_the_nine_others(splits):
    drawn = splits["cue_conflict"]
    away = torch.bincount((drawn.shapes - drawn.textures) % 10, minlength=10)
    assert away[0] == 0
    assert (away[1:] - COUNT / 9).abs().max() < 4 * math.sqrt(COUNT / 9)


def test_the_splits_say_which_cue_they_lack(splits):
    assert torch.equal(splits["cue_conflict"].labels, splits["cue_conflict"].textures)
    shape_only, texture_only = splits["shape_only"], splits["texture_only"]
    assert torch.equal(shape_only.labels, shape_only.shapes)
    assert (shape_only.textures == -1).all()
    assert torch.equal(texture_only.labels, texture_only.textures)
    assert (texture_only.shapes == -1).all()


def test_texture_is_exactly_eps_inside_and_nothing_outside(splits):
    """`test` and `shape_only` of one seed differ by the texture: 8/255 up or down inside, in all channels alike."""
    difference = splits["test"].images.int() - splits["shape_only"].images.int()
    inside = splits["test"].masks[:, None].expand_as(difference)
    assert TEXTURE_LEVELS == 8
    assert (difference[inside].abs() == TEXTURE_LEVELS).all()
    assert (difference[~inside] == 0).all()
    up = (difference[:, 0] > 0).sum((1, 2)) / splits["test"].masks.sum((1, 2))
    assert up.min() > 0.25
    assert up.max() < 0.75
    assert abs(up.mean() - 0.5) < 0.01


def test_cue_conflict_has_the_texture_of_test_in_another_silhouette(splits):
    conflict, test = splits["cue_conflict"], splits["test"]
    assert torch.equal(conflict.textures, test.textures)
    both = conflict.masks & test.masks
    assert both.sum() > 0.6 * test.masks.sum()
    right = test.shapes == test.labels
    assert not (conflict.masks == test.masks).flatten(1).all(1)[right].any()


def test_gratings_have_the_stated_orientation_and_period():
    """The strongest frequency of every texture is that of its class."""
    waves = test_bed._gratings(torch.arange(10), 60, torch.full((10,), 0.3))
    spectrum = torch.fft.rfft2(waves - waves.mean((1, 2), keepdim=True)).abs()
    row, column = spectrum.flatten(1).argmax(1).div(31, rounding_mode="floor"), spectrum.flatten(1).argmax(1) % 31
    fy, fx = torch.fft.fftfreq(60)[row], torch.fft.rfftfreq(60)[column]
    for label in range(10):
        angle, period = math.pi / 5 * (label % 5), (3, 6)[label // 5]
        assert torch.hypot(fy[label], fx[label]).item() == pytest.approx(1 / period, abs=0.012)
        direction = math.atan2(fy[label].item(), fx[label].item())
        assert abs(math.remainder(direction - angle, math.pi)) < 0.1


def test_without_a_texture_its_frequencies_are_as_faint_as_the_background_makes_them(splits):
    """The fine contrast inside silhouettes grows many times with the texture, and is small without one."""

    def fine_contrast(drawn: SyntheticSet) -> float:
        brightness = drawn.images.float().mean(1)
        steps = (brightness[:, :, 1:] - brightness[:, :, :-1]).square()
        kernel = torch.ones(1, 1, 5, 5)
        # Well inside: the soft edge must not count.
        core = torch.nn.functional.conv2d(drawn.masks[:, None].float(), kernel, padding=2)[:, 0] == 25
        return steps[core[:, :, 1:] & core[:, :, :-1]].mean().sqrt().item()

    without, textured = fine_contrast(splits["shape_only"]), fine_contrast(splits["test"])
    assert without < TEXTURE_LEVELS / 4
    assert textured > 4 * without


def test_contrast_is_in_the_stated_range(splits):
    """Mean brightness inside against outside, up to the noise of the background and the clipping of colours."""
    drawn = splits["shape_only"]
    brightness, inside = drawn.images.float().mean(1) / 255, drawn.masks
    contrast = (brightness * inside).sum((1, 2)) / inside.sum((1, 2))
    contrast = (contrast - (brightness * ~inside).sum((1, 2)) / (~inside).sum((1, 2))).abs()
    assert CONTRAST[0] - 0.08 < contrast.min()
    assert contrast.max() < CONTRAST[1] + 0.06
    assert contrast.mean() == pytest.approx(sum(CONTRAST) / 2, abs=0.03)
    lighter = ((brightness * inside).sum((1, 2)) / inside.sum((1, 2)) > brightness.mean((1, 2))).double().mean()
    assert abs(lighter - 0.5) < 4 * math.sqrt(0.25 / COUNT)


@pytest.mark.parametrize("split", ["test", "cue_conflict", "shape_only", "texture_only"])
def test_silhouettes_lie_within_the_image_and_cover_a_fair_part(splits, split):
    masks = splits[split].masks
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not (masks & border).any()
    share = masks.double().mean((1, 2))
    assert share.min() > 0.15
    assert share.max() < 0.45


def test_area_tells_no_class(splits):
    """Every outline, the disc included, covers about the same area on average."""
    drawn = splits["test"]
    area = drawn.masks.double().mean((1, 2))
    means = torch.stack([area[drawn.shapes == k].mean() for k in range(10)])
    disc = splits["texture_only"].masks.double().mean()
    assert (means / disc - 1).abs().max() < 0.1


@pytest.mark.parametrize("shape", range(10))
def test_outlines_have_as_many_lobes_as_their_class_says(shape):
    """Walking around the centre, the distance to the outline waves as often as the class has lobes."""
    uniform = (torch.tensor([0.5]), torch.tensor([0.1]), torch.tensor([0.5]), torch.tensor([0.5]))
    size = 120
    inside = test_bed._silhouettes(torch.tensor([shape]), size, uniform)[0]
    angles = torch.arange(360) * 2 * math.pi / 360
    reach = torch.arange(size / 2)
    x = (size - 1) / 2 + reach[None] * angles.cos()[:, None]
    y = (size - 1) / 2 + reach[None] * angles.sin()[:, None]
    outline = inside[y.round().long().clamp(0, size - 1), x.round().long().clamp(0, size - 1)].sum(1)
    waves = torch.fft.rfft(outline - outline.mean()).abs()
    assert waves.argmax() == 2 + shape % 5
    depth = 2 * waves.max() / len(angles) / outline.mean()
    assert depth.item() == pytest.approx(test_bed.DEPTHS[shape // 5], abs=0.03)


def test_the_background_falls_like_one_over_f():
    """The amplitude halves with each octave."""
    fields = test_bed._pink_noise(400, 64, torch.Generator().manual_seed(0))
    power = torch.fft.rfft2(fields).abs().square().mean((0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None])
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].mean() for low in (0.04, 0.08, 0.16)]
    for coarse, fine in itertools.pairwise(octaves):
        assert math.sqrt(coarse / fine) == pytest.approx(2, abs=0.25)
    assert fields.mean().abs() < 0.02
    assert fields.std().item() == pytest.approx(1, abs=0.15)


def epoch(seed: int, count: int = 120, batch_size: int = 50) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = FreshImages(count, SIZE)
    return list(images.training_batches(None, batch_size, torch.Generator().manual_seed(seed)))


def test_fresh_images_come_from_the_generator_alone():
    """Equal generators give equal epochs, whatever the global random state; others give other images."""
    first = epoch(1)
    torch.rand(7)
    again, other = epoch(1), epoch(2)
    assert all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(first, again, strict=True))
    assert all(not (a == b).flatten(1).all(1).any() for (a, _), (b, _) in zip(first, other, strict=True))
    assert not (first[0][0] == first[1][0]).flatten(1).all(1).any()


def test_fresh_images_come_in_full_batches_ready_for_a_model():
    batches = epoch(0)
    assert len(FreshImages(120, SIZE)) == 120
    assert len(batches) == 2
    for images, labels in batches:
        assert images.shape == (50, 3, SIZE, SIZE)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.shape == (50,)
        assert labels.dtype == torch.int64
        assert images.min() >= 0
        assert images.max() <= 1
        levels = images * 255
        assert (levels - levels.round()).abs().max() < 1e-4  # whole levels, like the test images


def test_fresh_images_look_like_the_train_split(splits):
    """Channel means and spreads agree: training and testing see one distribution."""
    fresh = torch.cat([images for images, _ in epoch(5, 1200)])
    test = splits["test"].images.float() / 255
    assert (fresh.mean((0, 2, 3)) - test.mean((0, 2, 3))).abs().max() < 0.03
    assert (fresh.std((0, 2, 3)) - test.std((0, 2, 3))).abs().max() < 0.02
