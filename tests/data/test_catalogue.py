"""The catalogue and its loaders: on a miniature of every set as it is published, and on the real ones that are here."""

import csv
import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from helpers import small_preset, write_folder
from PIL import Image
from scipy.io import savemat

from advlook.core.errors import RequestError
from advlook.data import catalogue, layouts
from advlook.data.catalogue import CATALOGUE, TABLE_3, check, find, get, table_3
from advlook.data.image_sets import fingerprint, load, load_listing, load_set
from advlook.study.folders import ROOT

LEVELS = 6  # of a channel that tells the number of a picture


def picture(number, side=40):
    """A picture that tells its number by its colour, and its orientation by a black quarter at the top right."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = [20 + 40 * (number // LEVELS**channel % LEVELS) for channel in range(3)]
    pixels[: side // 2, side // 2 :] = 0
    return pixels


def numbers(images):
    """The numbers of pictures `(N, 3, 8, 8)`, after a look at their orientation."""
    images = images.float()
    assert (images[:, :, 1:3, 5:7] < 16).all(), "the top right is not black"
    assert (images[:, :, 1:3, 1:3].flatten(1).amin(1) > 8).all()
    levels = ((images[:, :, 5:7, 1:7].mean((2, 3)) - 20) / 40).round().long()
    return (levels * torch.tensor([1, LEVELS, LEVELS**2])).sum(1).tolist()


def save(path, number, side=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number, side)).save(path, quality=95)


# Miniatures: each writes a set as it is published into the folder of data sets. Picture k has label k % 3; pictures
# 0 to 5 are for training and 6 to 8 for testing. Each returns the names of the three classes.
TRAIN, TEST = range(6), range(6, 9)
SPLITS = {"train": TRAIN, "test": TEST}


def svhn(datasets):
    for split, chosen in SPLITS.items():
        pixels = np.stack([picture(k, 32) for k in chosen], axis=3)
        digits = np.array([k % 3 or 10 for k in chosen], np.uint8)[:, None]  # the digit 0 is stored as 10
        savemat(datasets / f"{split}_32x32.mat", {"X": pixels, "y": digits})
    return "0", "1", "2"


def _cifar_batch(path, chosen, labels):
    path.parent.mkdir(exist_ok=True)
    pixels = np.stack([picture(k, 32).transpose(2, 0, 1).reshape(-1) for k in chosen])
    path.write_bytes(pickle.dumps({"data": pixels, labels: [k % 3 for k in chosen]}))


def cifar10(datasets):
    folder, names = datasets / "cifar-10-batches-py", ["airplane", "bird", "cat"]
    for number, chosen in enumerate(([0], [1], [2], [3], [4, 5]), 1):
        _cifar_batch(folder / f"data_batch_{number}", chosen, "labels")
    _cifar_batch(folder / "test_batch", TEST, "labels")
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return names


def cifar100(datasets):
    folder, names = datasets / "cifar-100-python", ["apple", "baby", "clock"]
    for split, chosen in SPLITS.items():
        _cifar_batch(folder / split, chosen, "fine_labels")
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    return names


def stl10(datasets):
    folder, names = datasets / "stl10_binary", ["airplane", "bird", "car"]
    folder.mkdir()
    for split, chosen in SPLITS.items():
        np.stack([picture(k, 96).transpose(2, 1, 0) for k in chosen]).tofile(folder / f"{split}_X.bin")
        np.array([k % 3 + 1 for k in chosen], np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    return names


def food101(datasets):
    root, names = datasets / "food-101", ["apple_pie", "beignets", "ceviche"]
    (root / "meta").mkdir(parents=True)
    for split, chosen in SPLITS.items():
        stems = {name: [f"{name}/{k}" for k in chosen if names[k % 3] == name] for name in names}
        (root / "meta" / f"{split}.json").write_text(json.dumps(stems))
        for k in chosen:
            save(root / "images" / names[k % 3] / f"{k}.jpg", k)
    return "apple pie", "beignets", "ceviche"


def flowers102(datasets):
    root = datasets / "flowers-102"
    for k in range(12):  # the last three are the validation split
        save(root / "jpg" / f"image_{k + 1:05d}.jpg", k)
    savemat(root / "imagelabels.mat", {"labels": np.array([[k % 3 + 1 for k in range(12)]], np.uint8)})
    splits = {"trnid": TRAIN, "tstid": TEST, "valid": range(9, 12)}
    savemat(root / "setid.mat", {name: np.array([[k + 1 for k in ks]], np.uint16) for name, ks in splits.items()})
    return "pink primrose", "hard-leaved pocket orchid", "canterbury bells"


WNIDS = ("n01", "n02", "n03")


def tiny_imagenet(datasets):
    root = datasets / "tiny-imagenet-200"
    for k in TRAIN:
        save(root / "train" / WNIDS[k % 3] / "images" / f"{WNIDS[k % 3]}_{k}.JPEG", k, 64)
        (root / "train" / WNIDS[k % 3] / f"{WNIDS[k % 3]}_boxes.txt").write_text("0\t0\t9\t9\n")
    for k in TEST:
        save(root / "val" / "images" / f"val_{k}.JPEG", k, 64)
    lines = "".join(f"val_{k}.JPEG\t{WNIDS[k % 3]}\t0\t0\t62\t62\n" for k in TEST)
    (root / "val" / "val_annotations.txt").write_text(lines)
    (root / "wnids.txt").write_text("n03\nn01\nn02")
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tbison\nn03\tsports car\n")
    return "goldfish", "bison", "sports car"


def stanford_dogs(datasets):
    root, breeds = datasets / "stanford-dogs", ("n01-Chihuahua", "n02-toy_terrier", "n03-whippet")
    for split, chosen in SPLITS.items():
        names = [f"{breeds[k % 3]}/n0{k % 3 + 1}_{k}.jpg" for k in chosen]
        for k, name in zip(chosen, names, strict=True):
            save(root / "Images" / name, k)
        cells = np.array(names, dtype=object)[:, None]
        labels = np.array([[k % 3 + 1] for k in chosen], np.uint8)
        savemat(root / f"{split}_list.mat", {"file_list": cells, "annotation_list": cells, "labels": labels})
    return "Chihuahua", "toy terrier", "whippet"


def cub200(datasets):
    root = datasets / "CUB_200_2011"
    birds = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    names = [f"{birds[k % 3]}/{birds[k % 3][4:]}_{k:04d}.jpg" for k in range(9)]
    for k, name in enumerate(names):
        save(root / "images" / name, k)
    lists = {
        "images": names,
        "image_class_labels": [k % 3 + 1 for k in range(9)],
        "train_test_split": [int(k in TRAIN) for k in range(9)],
        "classes": birds,
    }
    for name, values in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{place} {value}\n" for place, value in enumerate(values, 1)))
    return "Black footed Albatross", "Laysan Albatross", "Sooty Albatross"


def _imagenet_train(datasets):
    for k in TRAIN:
        save(datasets / "imagenet" / "train" / WNIDS[k % 3] / f"{WNIDS[k % 3]}_{k}.JPEG", k)
    return datasets / "imagenet"


def imagenet_folders(datasets):
    root = _imagenet_train(datasets)
    for k in TEST:
        save(root / "val" / WNIDS[k % 3] / f"ILSVRC2012_val_{k - 5:08d}.JPEG", k)
    return WNIDS


def _imagenet_flat(datasets):
    root = _imagenet_train(datasets)
    for k in TEST:
        save(root / "val" / f"ILSVRC2012_val_{k - 5:08d}.JPEG", k)
    return root


def imagenet_kaggle(datasets):
    root = _imagenet_flat(datasets)
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for k in reversed(TEST):
            box = f"{WNIDS[k % 3]} 85 1 499 272 "
            rows.writerow([f"ILSVRC2012_val_{k - 5:08d}", box * 2])
    return WNIDS


def imagenet_kit(datasets):
    root = _imagenet_flat(datasets)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    order = ("n02", "n03", "n01", "n99")  # not that of the wnids; the last has children, and no images
    synsets = np.array(
        [[(number, wnid, "words, of it", int(wnid == "n99"))] for number, wnid in enumerate(order, 1)],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)],
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    truth = "".join(f"{order.index(WNIDS[k % 3]) + 1}\n" for k in TEST)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return WNIDS


def imagenette(datasets):
    wnids = list(layouts.IMAGENETTE_CLASSES)[:3]
    for k in range(9):
        save(datasets / "imagenette2-160" / ("train" if k in TRAIN else "val") / wnids[k % 3] / f"{k}.JPEG", k)
    return "tench", "springer", "cassette player"


MINIATURES = {
    "svhn": svhn,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "tiny-imagenet": tiny_imagenet,
    "stl10": stl10,
    "food101": food101,
    "flowers102": flowers102,
    "stanford-dogs": stanford_dogs,
    "cub200": cub200,
    "imagenet": imagenet_folders,
    "imagenet as at Kaggle": imagenet_kaggle,
    "imagenet with its kit": imagenet_kit,
    "imagenette": imagenette,
}
LISTED = {  # the lists that each of the layouts needs
    "food101": ("meta/train.json",),
    "flowers102": ("setid.mat", "imagelabels.mat"),
    "tiny-imagenet": ("wnids.txt", "words.txt"),
    "stanford-dogs": ("train_list.mat",),
    "cub200": ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"),
}


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
