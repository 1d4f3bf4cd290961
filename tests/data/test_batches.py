"""Images in memory as batches: floats of their bytes, in the right order and number, with their own labels."""

import pytest
import torch
from helpers import image_set, small_preset

from advlook.data.image_sets import ImageSet, to_bytes, to_float


def config(**changes):
    """A data section for images of 16 pixels."""
    return small_preset(data=changes).data


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textures(count=64, side=16):
    return torch.randint(0, 256, (count, 3, side, side), generator=generator(5)).to(torch.uint8)


def test_to_float_is_exact_and_channels_last():
    """Bytes become their share of 255, in the layout that convolutions want."""
    images = textures()
    floats = to_float(images)
    assert torch.equal(floats, images.float() / 255)
    assert floats.is_contiguous(memory_format=torch.channels_last)


def test_to_bytes_rounds_and_clips():
    """The inverse of `to_float`, of any float type; what lies outside [0, 1] becomes black or white."""
    images = textures()
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert torch.equal(to_bytes(to_float(images).to(dtype)), images)
    assert to_bytes(torch.tensor([-0.2, 0.001, 0.003, 1.004, 7.0])).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_training_images_are_the_chosen_ones(layout):
    """Whatever the layout in memory, a batch pairs images with their own labels."""
    images = textures(40).contiguous(memory_format=layout)
    settings = config(crop_scale=1.0, shift=0, flip=False)
    for batch, labels in ImageSet(images, torch.arange(40), ()).training_batches(settings, 8, generator()):
        assert torch.equal(batch, to_float(images[labels]))


@pytest.mark.parametrize(("train_images", "batches"), [(0, 6), (20, 2), (1000, 6)])
def test_epoch_sees_every_image_at_most_once(train_images, batches):
    """An epoch is made of full batches of different images, in an order of its own."""
    numbers = torch.arange(50)
    images = ImageSet(numbers.view(-1, 1, 1, 1).expand(-1, 3, 16, 16).to(torch.uint8), numbers, ())
    settings = config(crop_scale=1.0, shift=0, flip=False, train_images=train_images)
    epochs = [list(images.training_batches(settings, 8, generator(seed))) for seed in (0, 0, 1)]
    for epoch in epochs:
        assert [len(labels) for _, labels in epoch] == [8] * batches
        seen = torch.cat([labels for _, labels in epoch])
        assert len(seen.unique()) == len(seen)
        pixels = torch.cat([batch[:, 0, 0, 0] for batch, _ in epoch])
        assert torch.equal((pixels * 255).round().long(), seen)
    orders = [torch.cat([labels for _, labels in epoch]).tolist() for epoch in epochs]
    assert orders[0] == orders[1] != orders[2]


def test_batches_cover_everything_in_order():
    """Evaluation sees each image once, in order, as float in [0, 1]."""
    images = image_set(10)
    batches = list(images.batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    floats = torch.cat([batch for batch, _ in batches])
    assert floats.dtype == torch.float32
    assert torch.equal((floats * 255).round().to(torch.uint8), images.images)
    chosen = torch.tensor([7, 0, 3])
    (batch, labels), (last, _) = images.batches(2, chosen=chosen)
    assert torch.equal(torch.cat([batch, last]), floats[chosen])
    assert torch.equal(labels, images.labels[chosen[:2]])


def test_subset_is_deterministic():
    """A subset is the start of one fixed shuffle: smaller ones lie within larger ones, and 0 means all."""
    numbers = torch.arange(100)
    images = ImageSet(torch.zeros(100, 3, 2, 2, dtype=torch.uint8), numbers, ("a",))
    ten, thirty = images.subset(10), images.subset(30)
    assert torch.equal(images.subset(10).labels, ten.labels)
    assert torch.equal(thirty.labels[:10], ten.labels)
    assert not torch.equal(images.subset(10, seed=1).labels, ten.labels)
    assert ten.labels.tolist() != list(range(10))
    assert all(images.subset(count) is images for count in (0, 100, 1000))
