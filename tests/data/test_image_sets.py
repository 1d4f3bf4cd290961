"""Image sets: found, decoded, cached, cropped and flipped."""

import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from helpers import image_set, small_preset, write_folder
from PIL import Image

from advlook.core.errors import RequestError
from advlook.data import image_sets, test_bed
from advlook.data.image_sets import ImageSet, load, load_listing, load_set, read_image, to_float
from advlook.data.layouts import IMAGENETTE_CLASSES, Listing, list_images


def config(**changes):
    """A data section for the folders that the tests write."""
    return small_preset(data=changes).data


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def decode(folder, side=16):
    return load_listing(list_images(folder), side, cache=folder.parent / "cache", progress=False)


def refuse(*args, **kwargs):
    raise AssertionError("must not be called")


def test_folder_loads(tmp_path):
    """A folder of class folders becomes uint8 images, labels and the class names in order."""
    folder = write_folder(tmp_path / "set" / "train", ("bee", "ant"), count=3)
    (folder / ".hidden").mkdir()
    (folder / "ant" / "notes.txt").write_text("no image")
    images = decode(folder)
    assert images.images.shape == (6, 3, 16, 16)
    assert images.images.dtype == torch.uint8
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.labels.dtype == torch.int64
    assert images.classes == ("ant", "bee")
    assert np.array_equal(images.images[4].permute(1, 2, 0).numpy(), read_image(folder / "bee" / "1.png", 16, 16))


def test_splits_of_a_named_folder(tmp_path):
    """A preset's own folder gives `train` at the stored size and `test` (or `val`) at the size that models see."""
    write_folder(tmp_path / "mine" / "train")
    write_folder(tmp_path / "mine" / "val", count=1)
    here = config(name=str(tmp_path / "mine"), store=18)
    assert load(here, "train", tmp_path, progress=False).images.shape == (6, 3, 18, 18)
    assert load(here, "test", tmp_path, progress=False).images.shape == (3, 3, 16, 16)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "mine").rename(tmp_path / "datasets" / "mine")
    assert len(load(config(name="mine"), "test", tmp_path, progress=False)) == 3


def test_second_time_comes_from_the_cache(tmp_path, monkeypatch):
    """Nothing is decoded twice: not in the next run either."""
    folder = write_folder(tmp_path / "train")
    first = decode(folder)
    monkeypatch.setattr(image_sets, "read_image", refuse)
    assert torch.equal(decode(folder).images, first.images)
    with pytest.raises(AssertionError):
        decode(folder, side=8)


def test_cache_follows_the_files(tmp_path):
    """A file that is changed, added or removed is seen, and another size has a cache of its own."""
    folder = write_folder(tmp_path / "train")
    before = decode(folder)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "ant" / "0.png")
    os.utime(folder / "ant" / "0.png", ns=(1, 1))
    after = decode(folder)
    assert (after.images[0] == torch.tensor([255, 0, 0]).view(3, 1, 1)).all()
    assert torch.equal(after.images[1:], before.images[1:])
    (folder / "ant" / "0.png").unlink()
    assert len(decode(folder)) == 5
    assert decode(folder, side=8).images.shape == (5, 3, 8, 8)


def test_cache_on_disk_is_not_changed_by_writing(tmp_path):
    """Who writes into the images of a set does not change what the next one reads."""
    folder = write_folder(tmp_path / "train")
    first = decode(folder)
    copy = first.images.clone()
    first.images.zero_()
    assert torch.equal(decode(folder).images, copy)


def test_corrupt_image_is_named(tmp_path):
    """A file that is no whole image is named, whether it lacks its head or its tail, and no cache remains."""
    folder = write_folder(tmp_path / "train")
    whole = (folder / "bee" / "1.png").read_bytes()
    for content in (b"nothing", b"", whole[: len(whole) // 2]):
        (folder / "bee" / "1.png").write_bytes(content)
        with pytest.raises(RequestError, match=r"bee/1\.png.*replace or remove"):
            decode(folder)
        assert not list(tmp_path.glob("cache/*"))


def test_missing_parts_are_named(tmp_path):
    """An absent folder, one without classes, an empty class, an absent split: each is named with what to put there."""
    with pytest.raises(RequestError, match=r"absent does not exist"):
        decode(tmp_path / "absent")
    (tmp_path / "bare").mkdir()
    with pytest.raises(RequestError, match=r"bare has no class folders"):
        decode(tmp_path / "bare")
    folder = write_folder(tmp_path / "mine" / "train")
    (folder / "dog").mkdir()
    with pytest.raises(RequestError, match=r"train/dog holds no images"):
        decode(folder)
    with pytest.raises(RequestError, match=r"the test split of .*mine is missing: put it at .*mine/test"):
        load(config(name=str(tmp_path / "mine")), "test", tmp_path)
    write_folder(tmp_path / "datasets" / "imagenet" / "train")
    with pytest.raises(RequestError, match=r"imagenet is missing: put it at .*imagenet/val"):
        load(config(name="imagenet"), "test", tmp_path)


def test_class_count_is_checked(tmp_path):
    """A folder with another number of classes than the preset states is refused with both numbers."""
    write_folder(tmp_path / "mine" / "train")
    with pytest.raises(RequestError, match=r"holds 3 classes, but the preset states 7"):
        load(config(name=str(tmp_path / "mine"), classes=7), "train", tmp_path, progress=False)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (200, 100, 50), "png", (200, 100, 50)),
        ("RGB", (200, 100, 50), "jpg", (200, 100, 50)),
        ("RGBA", (200, 100, 50, 255), "png", (200, 100, 50)),
        ("L", 90, "png", (90, 90, 90)),
        ("L", 90, "jpg", (90, 90, 90)),
        ("LA", (90, 255), "png", (90, 90, 90)),
        ("1", 1, "png", (255, 255, 255)),
        ("P", (204, 102, 51), "png", (204, 102, 51)),
        ("CMYK", (0, 128, 255, 0), "jpg", (255, 127, 0)),
        ("CMYK", (0, 128, 255, 0), "tif", (255, 127, 0)),
        ("I;16", 90 * 257, "png", (90, 90, 90)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, colour, suffix, expected):
    """Grey, palette, transparent, CMYK and 16-bit images come out as the RGB colours they show."""
    path = tmp_path / f"image.{suffix}"
    image = Image.new("RGB", (40, 40), colour).convert("P") if mode == "P" else Image.new(mode, (40, 40), colour)
    image.save(path)
    pixels = read_image(path, 16, 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(expected)).max() <= 3


def test_centre_is_cut_out(tmp_path):
    """Of an oblong image the short side fills the square, and of the long one the middle is kept."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.swapaxes(0, 1)).save(tmp_path / "tall.png")
    for side, margin in ((20, 0), (12, 4)):
        wide, tall = (read_image(tmp_path / f"{name}.png", side, 20) for name in ("wide", "tall"))
        assert np.array_equal(wide, pixels[margin : 20 - margin, 15 + margin : 35 - margin])
        assert np.array_equal(tall, wide.swapaxes(0, 1))


@pytest.mark.parametrize(("width", "height"), [(61, 23), (23, 61), (300, 299), (7, 5), (1, 9), (16, 16)])
def test_every_shape_fills_the_square(tmp_path, width, height):
    """Images smaller, larger and thinner than the square fill it, without a border."""
    Image.new("RGB", (width, height), (9, 99, 199)).save(tmp_path / "image.png")
    for short in (16, 19):
        assert (read_image(tmp_path / "image.png", 16, short) == np.array([9, 99, 199])).all()


def textures(count=64, side=16):
    return torch.randint(0, 256, (count, 3, side, side), generator=generator(5)).to(torch.uint8)


def test_to_float_is_exact_and_channels_last():
    """Bytes become their share of 255, in the layout that convolutions want."""
    images = textures()
    floats = to_float(images)
    assert torch.equal(floats, images.float() / 255)
    assert floats.is_contiguous(memory_format=torch.channels_last)


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


def test_a_limit_decodes_no_more_than_it_asks_for(tmp_path, monkeypatch):
    """A limited set is the subset of the whole one by the same seed; nothing else is decoded, and nothing twice."""
    write_folder(tmp_path / "mine" / "train", count=10)
    decoded = []

    def record(path, *sizes):
        decoded.append(path)
        return read_image(path, *sizes)

    monkeypatch.setattr(image_sets, "read_image", record)
    name = str(tmp_path / "mine")
    for _ in range(2):
        few = load_set(name, "train", 16, tmp_path, limit=7, seed=3, progress=False)
        assert len(decoded) == 7
    whole = load_set(name, "train", 16, tmp_path, progress=False)
    assert len(decoded) == 37
    assert torch.equal(few.images, whole.subset(7, seed=3).images)
    assert torch.equal(few.labels, whole.subset(7, seed=3).labels)
    assert few.classes == whole.classes == ("ant", "bee", "cat")
    assert len(load_set(name, "train", 16, tmp_path, limit=100, progress=False)) == 30


def test_of_the_test_images_only_those_asked_for_are_decoded(tmp_path, monkeypatch):
    """A preset's test images are the subset of all of them by the same seed; its training images are all there are."""
    for split in ("train", "test"):
        write_folder(tmp_path / "mine" / split, count=10)
    here = config(name=str(tmp_path / "mine"), test_images=7)
    whole = load(config(name=str(tmp_path / "mine"), test_images=0), "test", tmp_path, progress=False)
    decoded = []

    def record(path, *sizes):
        decoded.append(path)
        return read_image(path, *sizes)

    monkeypatch.setattr(image_sets, "read_image", record)
    few = load(here, "test", tmp_path, progress=False)
    assert len(decoded) == 7
    assert torch.equal(few.images, whole.subset(7).images)
    assert torch.equal(few.labels, whole.subset(7).labels)
    assert len(load(here, "train", tmp_path, progress=False)) == 30


def test_the_embedded_set_comes_by_name_too(tmp_path):
    """The generated set is drawn as large as asked, by the seed; without a number it has no end."""
    images = load_set("synthetic", "train", 24, tmp_path, limit=5, seed=2)
    generated = test_bed.generate(5, 24, seed=2, split="train")
    assert torch.equal(images.images, generated.images)
    assert torch.equal(images.labels, generated.labels)
    with pytest.raises(RequestError, match="limit=0"):
        load_set("synthetic", "train", 24, tmp_path)


def test_a_file_that_is_gone_is_named(tmp_path):
    """A listed image that does not exist ends in one line that names it, with and without a cache."""
    folder = write_folder(tmp_path / "train")
    listing = Listing(folder, [folder / "ant" / "0.png", folder / "ant" / "9.png"], [0, 0], ("ant",))
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(RequestError, match=r"ant/9\.png cannot be read"):
            image_sets.load_listing(listing, 16, cache=cache, progress=False)


def test_imagenette_is_found_where_it_lies(tmp_path, monkeypatch):
    """An Imagenette in the data folder is used as it is, with readable class names, and nothing is downloaded."""
    monkeypatch.setattr("torchvision.datasets.Imagenette", refuse)
    for split in ("train", "val"):
        write_folder(tmp_path / "datasets" / "imagenette2-160" / split, tuple(IMAGENETTE_CLASSES), count=1)
    here = config(name="imagenette", classes=10)
    train, test = (load(here, split, tmp_path, progress=False) for split in ("train", "test"))
    assert len(train) == len(test) == 10
    assert train.classes[0] == "tench"
    assert train.classes[-1] == "parachute"


@pytest.mark.parametrize(
    ("name", "module", "error"),
    [
        ("imagenette", "imagenette", URLError("no route to host")),
        ("imagenette", "imagenette", RuntimeError("File not found or corrupted.\nSecond line")),
        ("cifar10", "cifar", URLError("no route to host")),
        ("cifar100", "cifar", URLError("no route to host")),
        ("stl10", "stl10", URLError("no route to host")),
        ("food101", "food101", URLError("no route to host")),
        ("flowers102", "flowers102", URLError("no route to host")),
    ],
)
def test_failed_download_says_what_to_put_where(tmp_path, monkeypatch, name, module, error):
    """A set that is absent and cannot be downloaded ends in one line with its place and the reason."""

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)
    with pytest.raises(RequestError, match=r"could not be downloaded \(.*(route|corrupted).*put .* there") as caught:
        load(config(name=name, classes=10), "train", tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "datasets") in str(caught.value)
    assert f"advlook data --get {name}" in str(caught.value)


def test_interrupted_unpacking_leaves_no_half_set(tmp_path, monkeypatch):
    """An unpacking that breaks off is not taken for the set; the next one succeeds."""

    def unpack(url, root, md5, count):
        for split in ("train", "val"):
            write_folder(Path(root) / "imagenette2-160" / split, tuple(IMAGENETTE_CLASSES), count, suffix="jpeg")
            if count == 1:
                raise KeyboardInterrupt

    target = "torchvision.datasets.imagenette.download_and_extract_archive"
    here = config(name="imagenette", classes=10)
    monkeypatch.setattr(target, lambda url, root, md5: unpack(url, root, md5, 1))
    with pytest.raises(KeyboardInterrupt):
        load(here, "train", tmp_path, progress=False)
    assert not (tmp_path / "datasets" / "imagenette2-160").exists()
    monkeypatch.setattr(target, lambda url, root, md5: unpack(url, root, md5, 2))
    assert len(load(here, "train", tmp_path, progress=False)) == 20
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["imagenette2-160"]
