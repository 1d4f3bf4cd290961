"""The catalogue and its loaders: on a miniature of every set as it is published, and on the real ones that are here."""

import dataclasses
import os
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from helpers import small_preset, write_folder
from miniatures import LISTED, MINIATURES, SPLITS, TEST, TRAIN, _imagenet_flat, cub200, imagenet_folders, numbers, save

from advlook.core.errors import RequestError
from advlook.data import catalogue, layouts
from advlook.data.catalogue import CATALOGUE, TABLE_3, check, find, get, table_3
from advlook.data.image_sets import fingerprint, load, load_listing, load_set
from advlook.study.folders import ROOT


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, where files need not have the published checksums, and there is no network."""

    def exists(path, md5=None):
        return os.path.isfile(path)

    for module in ("utils", "svhn", "cifar", "stl10", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", exists)

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    (tmp_path / "datasets").mkdir()
    return tmp_path


def shown(name, split, data, **options):
    """The pictures of a split by number, each with its label; and the class names."""
    images = load_set(name, split, 8, data, progress=False, **options)
    assert images.images.dtype == torch.uint8
    assert images.images.shape[1:] == (3, 8, 8)
    return dict(zip(numbers(images.images), images.labels.tolist(), strict=True)), images.classes


@pytest.mark.parametrize("kind", MINIATURES)
def test_a_set_loads_as_it_is_published(data, kind):
    """Of every set each image of a split appears once, upright, with its own label and the name of its class."""
    name, names = kind.split()[0], MINIATURES[kind](data / "datasets")
    for split, chosen in SPLITS.items():
        found, classes = shown(name, split, data)
        assert found == {k: k % 3 for k in chosen}
        assert classes[:3] == tuple(names)
        assert len(classes) == (102 if name == "flowers102" else 3)  # torchvision knows the flowers by heart
    found, _ = shown(name, "train", data, limit=4, seed=1)
    assert len(found) == 4
    assert found.items() <= {k: k % 3 for k in TRAIN}.items()


def test_a_preset_may_name_any_set(data):
    """A preset's data section reads a set of the catalogue, and its images have a hash once they are there."""
    config = small_preset(data={"name": "cub200", "store": 18}).data
    assert fingerprint(config, data) is None
    cub200(data / "datasets")
    assert load(config, "train", data, progress=False).images.shape == (6, 3, 18, 18)
    assert load(config, "test", data, progress=False).images.shape == (3, 3, 16, 16)
    before = fingerprint(config, data)
    save(next(CATALOGUE["cub200"].place(data).rglob("*_0008.jpg")), 8, side=60)
    assert before != fingerprint(config, data) is not None
    with pytest.raises(RequestError, match=r"holds 3 classes, but the preset states 200"):
        load(dataclasses.replace(config, classes=200), "train", data, progress=False)


@pytest.mark.parametrize("name", ["svhn", "cifar10", "cifar100", "stl10"])
def test_exported_sets_need_their_archive_no_more(data, name):
    """After the first use what torchvision reads may be deleted, and an interrupted export is taken up again."""
    names = MINIATURES[name](data / "datasets")
    half = data / "datasets" / f".{name}.partial" / "train" / names[0]
    half.mkdir(parents=True)
    (half / "00000.png").write_bytes(b"cut off")
    find(name, "train", data)
    for entry in (data / "datasets").iterdir():
        if entry.name != name:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert shown(name, "test", data)[0] == {k: k % 3 for k in TEST}


@pytest.mark.parametrize("name", ["food101", "flowers102"])
def test_image_files_are_downloaded_whole_or_not_at_all(data, monkeypatch, name):
    """A download that breaks off leaves no half of a set; the next one succeeds."""

    def download(interrupt):
        def extract(url, download_root, md5=None):
            MINIATURES[name](Path(download_root) if name == "food101" else Path(download_root).parent)
            if interrupt:
                raise KeyboardInterrupt

        return extract

    monkeypatch.setattr(f"torchvision.datasets.{name}.download_and_extract_archive", download(True))
    with pytest.raises(KeyboardInterrupt):
        get(name, data)
    assert not CATALOGUE[name].place(data).exists()
    monkeypatch.setattr(f"torchvision.datasets.{name}.download_and_extract_archive", download(False))
    assert get(name, data) == CATALOGUE[name].place(data)
    assert [path.name for path in (data / "datasets").iterdir()] == [CATALOGUE[name].folder]
    assert shown(name, "train", data)[0] == {k: k % 3 for k in TRAIN}


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "synthetic"])
def test_an_absent_set_is_named_with_what_gets_it(data, name):
    """One line says where the set would lie and how it is obtained; `check` says that it is absent, and asks nobody."""
    assert str(check(name, data)) == "absent"
    assert list((data / "datasets").iterdir()) == []
    with pytest.raises(RequestError) as caught:
        find(name, "train", data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{CATALOGUE[name].title} is not at {CATALOGUE[name].place(data)}")
    assert CATALOGUE[name].obtain(data) in message
    assert ("no route to host" in message) == bool(CATALOGUE[name].torchvision)
    assert not CATALOGUE[name].place(data).exists()


@pytest.mark.parametrize(("name", "missing"), [(name, path) for name, paths in LISTED.items() for path in paths])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_a_damaged_set_is_named(data, name, missing, damage):
    """Where a list of a set is missing or broken one line names the set, and `check` reports it as what is there."""
    MINIATURES[name](data / "datasets")
    path = CATALOGUE[name].place(data) / missing
    path.unlink() if damage == "missing" else path.write_text("" if damage == "empty" else "what\n")
    with pytest.raises(RequestError, match=CATALOGUE[name].title) as caught:
        find(name, "train", data)
    assert "\n" not in str(caught.value)
    found = check(name, data)
    assert found.present
    assert str(found) == str(caught.value)


def test_flat_validation_images_need_their_answers(data):
    """ImageNet's `val/` without class folders and without the answers is refused, with the files that are wanted."""
    _imagenet_flat(data / "datasets")
    with pytest.raises(RequestError, match=r"put LOC_val_solution\.csv, or .*ground_truth\.txt"):
        find("imagenet", "test", data)


def test_a_folder_without_a_split_is_split_by_a_seed(data):
    """Of every class a fifth is for testing: always the same images, whatever other classes there are."""
    root = write_folder(data / "datasets" / "dtd10", ("ant", "bee", "cat"), count=10)
    write_folder(root, ("dog",), count=7)
    train, test = (find("dtd10", split, data) for split in ("train", "test"))
    assert {*train.files, *test.files} == set(layouts.list_images(root).files)
    assert len(train) + len(test) == 37
    assert [test.labels.count(label) for label in range(4)] == [2, 2, 2, 2]
    assert all(file.parent.name == test.classes[label] for file, label in zip(test.files, test.labels, strict=True))
    shutil.rmtree(root / "bee")
    again = find(str(root), "test", data)
    assert again.files == [file for file in test.files if file.parent.name != "bee"]
    positions = [int(file.stem) for file in test.files if file.parent.name == "ant"]
    assert positions != [0, 1]


def test_a_split_of_a_class_is_random(data):
    """The images for testing are drawn, and not every fifth or the first ones."""
    write_folder(data / "datasets" / "dtd10", ("ant",), count=100, side=4)
    chosen = sorted(int(file.stem) for file in find("dtd10", "test", data).files)
    assert len(chosen) == 20
    assert len(set(np.diff(chosen))) > 3


def stated(monkeypatch, name, **facts):
    monkeypatch.setitem(CATALOGUE, name, dataclasses.replace(CATALOGUE[name], **facts))


def test_check_compares_what_is_stated(data, monkeypatch):
    """A set as stated has no differences; other numbers, smaller images and lost files are told."""
    cub200(data / "datasets")
    stated(monkeypatch, "cub200", classes=3, train=6, pixels=40)
    found = check("cub200", data)
    assert (found.title, found.classes, found.train, found.pixels) == ("CUB-200-2011", 3, 6, 40)
    assert found.differences == ()
    assert str(found) == "3 classes, 6 training images, 40 px"
    next((CATALOGUE["cub200"].place(data) / "images").rglob("*_0008.jpg")).unlink()
    stated(monkeypatch, "cub200", classes=200, train=5994, pixels=64)
    found = check("cub200", data)
    assert found.title == "CUB-200-2011 (40 px)"
    assert found.differences == (
        "3 classes, not 200",
        "6 training images, not 5,994",
        "40 px, not 64",
        "1 listed files are missing",
    )


def test_splits_with_other_classes_are_told(data):
    """A class that only the training images have is a difference."""
    imagenet_folders(data / "datasets")
    shutil.rmtree(CATALOGUE["imagenet"].place(data) / "val" / "n02")
    assert "the test split has other classes" in check("imagenet", data).differences


@pytest.mark.parametrize(("suffix", "title"), [("jpg", "CIFAR-10 (JPEG)"), ("png", "CIFAR-10")])
def test_jpeg_copies_are_called_so(data, monkeypatch, suffix, title):
    """A set that is published uncompressed is not passed off as the original where its files are JPEG."""
    for split in ("train", "test"):
        write_folder(data / "datasets" / "cifar10" / split, side=32, suffix=suffix)
    stated(monkeypatch, "cifar10", classes=3, train=6)
    found = check("cifar10", data)
    assert found.title == title
    assert len(found.differences) == (suffix == "jpg")


def test_the_embedded_set_is_always_there(data):
    """It is present without a file, and asked for as a folder it says where it comes from."""
    assert str(check("synthetic", data)) == "10 classes, as many images as asked, 40 px"
    with pytest.raises(RequestError, match=r"generated, not loaded: use advlook\.data\.test_bed\.generate"):
        find("synthetic", "train", data)


def test_sets_are_known_by_name_and_folder(data):
    """A set is found by either; a name that is neither is a folder, and no set of the catalogue."""
    assert catalogue.lookup("cub200") is catalogue.lookup("CUB_200_2011") is CATALOGUE["cub200"]
    assert catalogue.set_folder("mine", data) == data / "datasets" / "mine"
    assert catalogue.set_folder(str(data / "cifar10"), data) == data / "cifar10"
    with pytest.raises(RequestError, match=r"'mine' is not in the catalogue; it has svhn, cifar10"):
        check("mine", data)
    with pytest.raises(RequestError, match="split 'val' is unknown"):
        find("cub200", "val", data)


def test_table_3_comes_from_the_catalogue(data):
    """The ten sets of the paper in its order; with a data folder, what is there of each."""
    table = table_3()
    assert list(table.columns) == ["dataset", "pixels", "classes", "train"]
    assert len(TABLE_3) == 10
    assert [tuple(row) for row in table.itertuples(index=False)] == [
        ("SVHN", 32, 10, 73257),
        ("CIFAR-10", 32, 10, 50000),
        ("CIFAR-100", 32, 100, 500 * 100),
        ("Tiny ImageNet", 64, 200, 500 * 200),
        ("STL-10", 96, 10, 500 * 10),
        ("Food-101", 224, 101, 750 * 101),
        ("Flowers-102", 224, 102, 10 * 102),
        ("Stanford Dogs", 224, 120, 100 * 120),
        ("CUB-200-2011", 224, 200, 5994),
        ("ImageNet", 224, 1000, 1281167),
    ]
    cub200(data / "datasets")
    here = table_3(data).set_index("dataset")["here"]
    assert here.pop("CUB-200-2011").startswith("3 classes, not 200")
    assert (here == "absent").all()


def test_every_entry_is_complete():
    """No entry leaves out where a set comes from, its licence, how it lies and how it is obtained."""
    for entry in CATALOGUE.values():
        assert all((entry.title, entry.licence, entry.source, entry.stored, entry.obtain(Path("data"))))
        assert "{" not in entry.obtain(Path("data")).replace("${", "")
    assert len({entry.folder for entry in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "synthetic"])
def test_the_real_set_is_as_stated(name):
    """What lies in the project's data folder has the stated classes and training images; copies may be smaller."""
    found = check(name, ROOT / "data")
    if not found.present:
        pytest.skip(f"{found.title} is not there")
    entry = CATALOGUE[name]
    assert (found.classes, found.train) == (entry.classes, entry.train)
    assert all("px, not" in difference or "JPEG" in difference for difference in found.differences)
    images = load_listing(find(name, "test", ROOT / "data").subset(20), 16, progress=False)
    assert images.images.shape == (20, 3, 16, 16)
    assert images.images.float().std() > 10
