"""On-disk layouts of image sets: each is read into a `Listing` of files and labels, and nothing is decoded.

A layout is a function of a set's folder and the split, "train" or "test". What a damaged set makes it raise (a list
that is missing, a line too short) is turned into one line by `catalogue.find`.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from advlook.core.errors import RequestError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
IMAGENETTE_CLASSES = {
    "n01440764": "tench",
    "n02102040": "springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
TEST_SHARE = 5  # of a set without a split, one image in so many is for testing


@dataclass(frozen=True)
class Listing:
    """The images of one split: files, a label for each, and the class names; `root` is what files are named from."""

    root: Path
    files: Sequence[Path]
    labels: Sequence[int]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, places: Iterable[int]) -> "Listing":
        """The images at these places, in the order given; the classes stay."""
        places = list(places)
        return replace(self, files=[self.files[k] for k in places], labels=[self.labels[k] for k in places])

    def subset(self, count: int, seed: int = 0) -> "Listing":
        """The images that `ImageSet.subset` would keep: here before any is decoded."""
        return self.take(shuffled(len(self), seed)[:count]) if 0 < count < len(self) else self


Layout = Callable[[Path, str], Listing]


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers below `count` in an order fixed by `seed`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def list_images(root: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Every image file in a folder of class folders, in a fixed order, with its label; and the class names.

    Raises RequestError for a missing folder, one without class folders, or an empty class.
    """
    if not root.is_dir():
        raise RequestError(f"folder {root} does not exist; put one folder of images per class in it")
    classes = _folders(root)
    if not classes:
        raise RequestError(f"folder {root} has no class folders; put one folder of images per class in it")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_below(root / name)
        if not found:
            raise RequestError(f"class folder {root / name} holds no images; add some or remove the folder")
        files += found
        labels += [label] * len(found)
    return files, labels, tuple(classes)


def images_below(root: Path) -> list[Path]:
    """Every image file in a folder and those in it, in a fixed order."""
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def class_folders(root: Path, split: str, tests: Sequence[str] = ("test", "val")) -> Listing:
    """`train/<class>/`, and `test/<class>/` or `val/<class>/`: the first of `tests` that is there.

    A folder with neither, but with class folders, is split here: of every class one image in five is for testing, the
    first of a shuffle of its files by seed 0. So a class's split depends on the names of its own files alone.
    """
    for name in ("train",) if split == "train" else tests:
        if (root / name).is_dir():
            return Listing(root / name, *list_images(root / name))
    if not root.is_dir() or not _folders(root) or any((root / name).is_dir() for name in ("train", "test", "val")):
        wanted = root / ("train" if split == "train" else tests[0])
        raise RequestError(f"the {split} split of {root} is missing: put it at {wanted}, a folder per class")
    whole = Listing(root, *list_images(root))
    chosen: list[int] = []
    labels = np.array(whole.labels)
    for label in range(len(whole.classes)):
        places = np.flatnonzero(labels == label)
        order = shuffled(len(places), seed=0)
        tested = -(-len(places) // TEST_SHARE)
        chosen += sorted(places[order[tested:] if split == "train" else order[:tested]].tolist())
    return whole.take(chosen)


def imagenette(root: Path, split: str) -> Listing:
    """Imagenette: `train/<wnid>/` and `val/<wnid>/`, with readable class names."""
    listing = class_folders(root, split, tests=("val",))
    return replace(listing, classes=tuple(IMAGENETTE_CLASSES.get(wnid, wnid) for wnid in listing.classes))


def imagenet(root: Path, split: str) -> Listing:
    """ILSVRC 2012: `train/<wnid>/`, and `val/<wnid>/` or all validation images in `val/`.

    The answers to the latter are read from `LOC_val_solution.csv` (as at Kaggle) or from the development kit. The
    test split of the challenge has no labels, so that of validation is tested on.
    """
    flat = root / "val"
    if split == "train" or not flat.is_dir() or _folders(flat):
        return class_folders(root, split, tests=("val",))
    answers = _imagenet_answers(root)
    classes = tuple(sorted(set(answers.values())))
    files = sorted(p for p in flat.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    return Listing(flat, files, _numbered((answers[p.stem] for p in files), classes), classes)


def _imagenet_answers(root: Path) -> dict[str, str]:
    """The wnid of every validation image, by the name of its file without suffix."""
    solution = root / "LOC_val_solution.csv"
    if solution.is_file():
        with open(solution, newline="") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    for kit in (root, root / "ILSVRC2012_devkit_t12" / "data"):
        truth = kit / "ILSVRC2012_validation_ground_truth.txt"
        if truth.is_file():
            # The kit numbers the classes in an order of its own, which only meta.mat tells.
            synsets = np.atleast_1d(_matlab(kit / "meta.mat")["synsets"])
            wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
            numbers = truth.read_text().split()
            return {f"ILSVRC2012_val_{place:08d}": wnids[int(n)] for place, n in enumerate(numbers, 1)}
    raise RequestError(
        f"{root / 'val'} has no class folders: put LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt and "
        f"meta.mat of the development kit, at {root}"
    )


def tiny_imagenet(root: Path, split: str) -> Listing:
    """Tiny ImageNet: `train/<wnid>/images/`, `val/images/` with `val_annotations.txt`, `wnids.txt`, `words.txt`."""
    wnids = sorted((root / "wnids.txt").read_text().split())
    words = _table(root / "words.txt")
    classes = tuple(words[wnid].split(",")[0] for wnid in wnids)
    if split == "train":
        files, labels, folders = list_images(root / "train")
        return Listing(root / "train", files, _numbered((folders[label] for label in labels), wnids), classes)
    answers = {name: line.split()[0] for name, line in _table(root / "val" / "val_annotations.txt").items()}
    files = [root / "val" / "images" / name for name in answers]
    return Listing(root / "val", files, _numbered(answers.values(), wnids), classes)


def stanford_dogs(root: Path, split: str) -> Listing:
    """Stanford Dogs: `Images/<wnid>-<breed>/`, and `train_list.mat` and `test_list.mat` with files and labels."""
    lists = _matlab(root / f"{split}_list.mat")
    names = [str(name) for name in np.atleast_1d(lists["file_list"])]
    labels = [int(number) - 1 for number in np.atleast_1d(lists["labels"])]
    folders = {label: name.split("/")[0] for label, name in zip(labels, names, strict=True)}
    classes = tuple(_readable(folders[label].partition("-")[2]) for label in range(len(folders)))
    return Listing(root / "Images", [root / "Images" / name for name in names], labels, classes)


def cub(root: Path, split: str) -> Listing:
    """CUB-200-2011: `images/<number>.<bird>/`, and four lists of numbered lines that say the rest."""
    images, numbers, training, birds = (
        _table(root / f"{name}.txt") for name in ("images", "image_class_labels", "train_test_split", "classes")
    )
    chosen = [image for image in images if training[image] == ("1" if split == "train" else "0")]
    order = sorted(birds, key=int)
    classes = tuple(_readable(birds[number].partition(".")[2]) for number in order)
    labels = _numbered((numbers[image] for image in chosen), order)
    return Listing(root / "images", [root / "images" / images[image] for image in chosen], labels, classes)


def through_torchvision(kind: str, root: Path, split: str) -> Listing:
    """The split of a dataset class of torchvision (Food101, Flowers102) that reads image files."""
    import torchvision

    # Loading a file is leaving its path as it is: torchvision says what belongs to the split, and decodes nothing.
    data = getattr(torchvision.datasets, kind)(root.parent, split, loader=Path)
    files, labels = zip(*(data[place] for place in range(len(data))), strict=True)
    return Listing(root, files, labels, tuple(map(_readable, data.classes)))


def _matlab(path: Path) -> Mapping[str, np.ndarray]:
    from scipy.io import loadmat

    return loadmat(path, squeeze_me=True)


def _table(path: Path) -> dict[str, str]:
    """What follows the first word of every line, by that word."""
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {key: value.strip() for key, value in lines}


def _numbered(names: Iterable[str], classes: Sequence[str]) -> list[int]:
    places = {name: place for place, name in enumerate(classes)}
    return [places[name] for name in names]


def _readable(name: str) -> str:
    return name.replace("_", " ")
