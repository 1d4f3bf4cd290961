"""Image sets: found, decoded, cached, cropped and flipped."""

import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from helpers import small_preset, write_folder
from PIL import Image

from advlook.core.errors import RequestError
from advlook.data import image_sets, test_bed
from advlook.data.decoding import read_image
from advlook.data.image_sets import load, load_listing, load_set
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


def test_images_decoded_by_an_earlier_version_are_decoded_anew(tmp_path, monkeypatch):
    """What was kept before a file gave other pixels (photographs on their side, say) is not shown again."""
    folder = write_folder(tmp_path / "train")
    monkeypatch.setattr(image_sets, "VERSION", image_sets.VERSION - 1)
    decode(folder)
    monkeypatch.undo()
    monkeypatch.setattr(image_sets, "read_image", refuse)
    with pytest.raises(AssertionError):
        decode(folder)


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
