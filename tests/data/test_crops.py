"""Crops: one distribution, torchvision's, for stored and streamed sets; and pixels cut out of the right place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import small_preset
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from advlook.data import crops
from advlook.data.crops import cut_out, draw_crops, random_resized_crops
from advlook.data.image_sets import ImageSet
from advlook.data.layouts import Listing
from advlook.data.streaming import StreamedImages


def config(**changes):
    """A data section for small images."""
    return small_preset(data=changes).data


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(count, width, height, least):
    """Crops of `count` images of one size: double `(count, 4)`, top, left, height, width."""
    sizes = torch.full((count,), height), torch.full((count,), width)
    return random_resized_crops(*sizes, least, generator()).double()


def distance(one, other):
    """Largest difference of two samples' distribution functions, in units that chance exceeds once in 10,000 times."""
    points = torch.cat([one, other]).sort().values
    steps = [torch.searchsorted(x.sort().values, points, right=True) / len(x) for x in (one, other)]
    return (steps[0] - steps[1]).abs().max() / (2.23 * (1 / len(one) + 1 / len(other)) ** 0.5)


@pytest.mark.parametrize(
    ("width", "height", "least"),
    [(500, 375, 0.08), (224, 224, 0.25), (333, 500, 0.08), (120, 50, 0.4), (50, 120, 0.7)],  # of the last few draws fit
)
def test_crops_are_distributed_as_torchvision_draws_them(width, height, least):
    """Share of the area, aspect and centre have the quantiles of RandomResizedCrop, within what chance allows."""
    image = torch.empty(1).expand(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(image, [least, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    measures = [
        [b[:, 2] * b[:, 3], b[:, 3] / b[:, 2], b[:, 0] + b[:, 2] / 2, b[:, 1] + b[:, 3] / 2]
        for b in (drawn(4000, width, height, least), torch.tensor(boxes).double())
    ]
    for ours, theirs in zip(*measures, strict=True):
        assert distance(ours, theirs) < 1


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (1, 1), (7, 3), (2, 90)])
def test_crops_lie_within_images_of_any_shape(width, height):
    """However thin an image is, its crops are not empty and lie inside; where no drawn one can, the centre is taken."""
    places, sizes = drawn(200, width, height, 0.5).split(2, dim=1)
    whole = torch.tensor([height, width])
    assert (places >= 0).all()
    assert (places + sizes <= whole).all()
    assert (sizes > 0).all()
    if max(width, height) >= 10 * min(width, height):
        assert ((places + sizes / 2) - whole / 2).abs().max() <= 0.5


SIDE = 96


def seen_areas(images):
    """The share of the area that each crop shows of images whose pixels tell where they lie, from its first batch."""
    here = config(store=SIDE, size=16, crop_scale=0.25, flip=True, classes=1)
    (batch, _) = next(iter(images.training_batches(here, len(images), generator(3))))
    batch = batch.double() * 255 / 2
    sides = (batch[:, 0, :, -1] - batch[:, 0, :, 0]).mean(1).abs(), (batch[:, 1, -1] - batch[:, 1, 0]).mean(1).abs()
    return sides[0] * sides[1] * (16 / 15) ** 2 / SIDE**2


def test_stored_and_streamed_sets_draw_alike(tmp_path, monkeypatch):
    """The areas that training shows have one distribution, whether images are kept decoded or read from files."""
    monkeypatch.setenv("ADVLOOK_WORKERS", "0")
    place = torch.arange(SIDE, dtype=torch.uint8)
    image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    image[0], image[1] = 2 * place, 2 * place[:, None]
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "image.png")
    count = 1500
    streamed = StreamedImages(Listing(tmp_path, [tmp_path / "image.png"] * count, [0] * count, ("a",)), 16, 16)
    stored = ImageSet(image.expand(count, 3, SIDE, SIDE), torch.zeros(count, dtype=torch.int64), ("a",))
    ours, theirs = seen_areas(stored), seen_areas(streamed)
    assert distance(ours, theirs) < 1
    assert abs(ours.mean() - 0.565) < 0.015
    assert distance(seen_areas(replace(stored, clipped=True)), theirs) > 1.2


def test_clipped_crops_are_those_of_old():
    """What committed results were trained on is drawn again to the last pixel: larger crops, many with a full side."""
    found = draw_crops(4000, 96, config(crop_scale=0.25, size=16, flip=True), generator(), clipped=True)
    assert found[:3].tolist() == [[24, 8, 70, 81, 1], [0, 8, 91, 84, 0], [8, 3, 48, 60, 1]]
    area, full = found[:, 2:4].double().prod(1).mean() / 96**2, (found[:, 2:4] == 96).any(1).double().mean()
    assert abs(area - 0.619) < 0.01
    assert abs(full - 0.18) < 0.02


def textures(count=64, side=16):
    return torch.randint(0, 256, (count, 3, side, side), generator=generator(5)).to(torch.uint8)


def augment(images, here, chance):
    return cut_out(images, draw_crops(len(images), images.shape[-1], here, chance), here)


def test_nothing_to_augment():
    """With everything switched off images pass through untouched."""
    images = textures()
    assert torch.equal(augment(images, config(crop_scale=1.0, shift=0, flip=False), generator()), images)


@pytest.mark.parametrize(
    ("store", "shift", "flip"),
    [(16, 0, True), (16, 3, False), (16, 3, True), (20, 0, True), (19, 0, False), (19, 2, True)],
)
def test_shifts_and_flips_move_whole_pixels(store, shift, flip):
    """Without scaling every result is a window of the reflected image or its mirror image, and every window occurs."""
    images = textures(512, store)
    found = augment(images, config(store=store, crop_scale=1.0, shift=shift, flip=flip), generator())
    assert found.shape == (512, 3, 16, 16)
    wide = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (shift, shift), (shift, shift)), "reflect"))
    places = range(store - 16 + 2 * shift + 1)
    windows = {(y, x): wide[:, :, y : y + 16, x : x + 16] for y in places for x in places}
    windows = {(*k, mirror): w.flip(3) if mirror else w for k, w in windows.items() for mirror in {False, flip}}
    matches = torch.stack([(found == window).flatten(1).all(1) for window in windows.values()])
    assert (matches.sum(0) == 1).all()
    occurred = [list(windows)[k] for k in set(matches.int().argmax(0).tolist())]
    assert {y for y, _, _ in occurred} == {x for _, x, _ in occurred} == set(places)
    assert {mirror for _, _, mirror in occurred} == {False, flip}


def test_random_crops_equal_a_reference(monkeypatch):
    """Crops are windows of the image of a share and aspect within bounds, resized as Pillow does it, half mirrored."""
    side, size, count = 60, 16, 300
    images, place = textures(count, side), torch.arange(side)
    images[:, 0], images[:, 1] = place, place[:, None]  # every pixel tells where it lies
    windows, interpolate = [], crops.F.interpolate

    def record(crop, *args, **kwargs):
        windows.append(crop[0])
        return interpolate(crop, *args, **kwargs)

    monkeypatch.setattr(crops.F, "interpolate", record)
    found = augment(images, config(store=side, size=size, crop_scale=0.3, flip=True), generator())
    assert found.shape == (count, 3, size, size)
    mirrored, areas = 0, []
    for image, window, crop in zip(images, windows, found, strict=True):
        left, top, (height, width) = int(window[0, 0, 0]), int(window[1, 0, 0]), window.shape[1:]
        assert torch.equal(window, image[:, top : top + height, left : left + width])
        areas.append(height * width / side**2)
        assert 3 / 4 - 0.03 < width / height < 4 / 3 + 0.03
        box = (left, top, left + width, top + height)
        resized = (
            Image.fromarray(image.permute(1, 2, 0).numpy()).crop(box).resize((size, size), Image.Resampling.BILINEAR)
        )
        flips = [
            np.abs(np.asarray(resized).astype(int) - c.permute(1, 2, 0).numpy()).max() for c in (crop, crop.flip(2))
        ]
        assert min(flips) <= 1
        mirrored += flips[1] < flips[0]
    assert 0.4 * count < mirrored < 0.6 * count
    assert 0.28 < min(areas) < 0.33
    assert max(areas) > 0.95
    assert 0.55 < np.mean(areas) < 0.62


@pytest.mark.parametrize("crop_scale", [0.08, 1.0])
def test_augmented_images_stay_bytes(crop_scale):
    """Augmented black and white noise neither overflows nor wraps around: its mean stays in the middle."""
    images = torch.randint(0, 2, (64, 3, 20, 20), generator=generator()).to(torch.uint8) * 255
    found = augment(images, config(store=20, crop_scale=crop_scale, shift=4), generator())
    assert found.dtype == torch.uint8
    assert abs(found.float().mean() - 127.5) < 10


def test_small_sizes_are_served():
    """Progressive resizing asks for smaller crops of the same images."""
    found = augment(textures(4, 40), config(store=40, size=12, crop_scale=0.3), generator())
    assert found.shape == (4, 3, 12, 12)
