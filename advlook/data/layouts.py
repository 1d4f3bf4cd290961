"""On-disk layouts of image sets: functions of a folder and a split, "train" or "test", to a `Listing`."""

import csv
import logging
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.data.decoding import image_suffixes

IMAGENETTE_CLASSES = tomllib.loads(Path(__file__).with_name("imagenette.toml").read_text(encoding="utf-8"))
TEST_SHARE = 5  # of a set without a split, one image in so many is for testing


class Labelled:
    """Images with labels, of which slices and tensors of numbers select some."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, count: int, seed: int = 0) -> Self:
        """The first `count` images of a shuffle fixed by `seed`; all, in their order, for 0 or more than there are."""
        return self[torch.tensor(shuffled(len(self), seed)[:count])] if 0 < count < len(self) else self


@dataclass(frozen=True)
class Listing(Labelled):
    """The images of one split: files, a label for each, and the class names; `root` is what files are named from."""

    root: Path
    files: Sequence[Path]
    labels: Sequence[int]
    classes: tuple[str, ...]

    def __getitem__(self, chosen: slice | Tensor) -> "Listing":
        places = torch.arange(len(self))[chosen].tolist()
        return replace(self, files=[self.files[k] for k in places], labels=[self.labels[k] for k in places])


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers below `count` in an order fixed by `seed`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def list_images(root: Path, tell: bool = True) -> Listing:
    """Every image file in a folder of class folders; RequestError for an empty one. tell: log once how many other files
    there are, by suffix."""
    classes = _folders(root) if root.is_dir() else []
    if not classes:
        lacks = "has no class folders" if root.is_dir() else "does not exist"
        raise RequestError(f"folder {root} {lacks}; put one folder of images per class in it")
    found, passed = zip(*(sort_files(root / name) for name in classes), strict=True)
    for name, files, others in zip(classes, found, passed, strict=True):
        if not files:
            instead = f" but {_counted(others)}" if others else ""
            raise RequestError(f"class folder {root / name} holds no images{instead}; add some or remove the folder")
    if tell:
        tell_passed(root, sum(passed, Counter()))
    labels = [label for label, files in enumerate(found) for _ in files]
    return Listing(root, [path for files in found for path in files], labels, tuple(classes))


def sort_files(root: Path) -> tuple[list[Path], Counter[str]]:
    """Every image file in a folder and those in it, in a fixed order; and how many other files, by suffix. Names that
    begin with a dot, and `__MACOSX`, are what systems and editors leave behind: they are neither."""
    suffixes, images, others = image_suffixes(), [], Counter()
    for place, folders, files in os.walk(root):
        folders[:] = filter(_shown, folders)
        for name in filter(_shown, files):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes:
                images.append(Path(place, name))
            else:
                others[suffix] += 1
    return sorted(images), others


def images_below(root: Path) -> list[Path]:
    """Every image file in a folder and those in it, in a fixed order."""
    return sort_files(root)[0]


def tell_passed(root: Path, others: Counter[str]) -> None:
    """Log, once in a process, which files of a folder were passed over, as no image format that Pillow reads."""
    if others:
        _tell(f"{root.parent.name}/{root.name}: passed over {_counted(others)}, which are not read as images")


@cache  # a set is listed many times in a run
def _tell(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # the first of the processes that torchrun starts
        logging.getLogger("advlook").warning(line)


def _counted(others: Counter[str]) -> str:
    """How many files there are of the five most frequent suffixes, and of all others."""
    ranked = sorted(others.items(), key=lambda each: (-each[1], each[0]))
    parts = [f"{count} {suffix or 'without suffix'}" for suffix, count in ranked[:5]]
    rest = [f"{sum(count for _, count in ranked[5:])} others"] if ranked[5:] else []
    return ", ".join(parts + rest) + (" (`pip install pillow-heif` reads .heic)" if ".heic" in others else "")


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and _shown(entry.name))


def _shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def class_folders(root: Path, split: str, tests: Sequence[str] = ("test", "val")) -> Listing:
    """`train/<class>/`, and `test/<class>/` or `val/<class>/`: the first of `tests` that is there. Class folders alone
    are split: of every class one image in five is for testing, the first of a shuffle of its own files by seed 0."""
    for name in ("train",) if split == "train" else tests:
        if (root / name).is_dir():
            return list_images(root / name)
    if not root.is_dir() or not _folders(root) or any((root / name).is_dir() for name in ("train", "test", "val")):
        wanted = root / ("train" if split == "train" else tests[0])
        raise RequestError(f"the {split} split of {root} is missing: put it at {wanted}, a folder per class")
    whole, chosen = list_images(root), []
    for label in range(len(whole.classes)):
        places = (torch.tensor(whole.labels) == label).nonzero()[:, 0]
        order, tested = shuffled(len(places), seed=0), -(-len(places) // TEST_SHARE)
        chosen.append(places[order[tested:] if split == "train" else order[:tested]].sort().values)
    return whole[torch.cat(chosen)]


def imagenette(root: Path, split: str) -> Listing:
    """Imagenette: `train/<wnid>/` and `val/<wnid>/`, with readable class names."""
    listing = class_folders(root, split, tests=("val",))
    return replace(listing, classes=tuple(IMAGENETTE_CLASSES.get(wnid, wnid) for wnid in listing.classes))


def imagenet(root: Path, split: str) -> Listing:
    """ILSVRC 2012: `train/<wnid>/`, and for testing `val/<wnid>/`, or all of `val/` with a list of answers."""
    flat = root / "val"
    if split == "train" or not flat.is_dir() or _folders(flat):
        return class_folders(root, split, tests=("val",))
    answers = _imagenet_answers(root)
    classes = tuple(sorted(set(answers.values())))
    files = images_below(flat)
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
            synsets = np.atleast_1d(loadmat(kit / "meta.mat", squeeze_me=True)["synsets"])
            wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
            numbers = truth.read_text().split()
            return {f"ILSVRC2012_val_{place:08d}": wnids[int(n)] for place, n in enumerate(numbers, 1)}
    kit = "ILSVRC2012_validation_ground_truth.txt and meta.mat of the development kit"
    raise RequestError(f"{root / 'val'} has no class folders: put LOC_val_solution.csv, or {kit}, at {root}")


def tiny_imagenet(root: Path, split: str) -> Listing:
    """Tiny ImageNet: `train/<wnid>/images/`, `val/images/` with `val_annotations.txt`, `wnids.txt`, `words.txt`."""
    wnids = sorted((root / "wnids.txt").read_text().split())
    words = _table(root / "words.txt")
    classes = tuple(words[wnid].split(",")[0] for wnid in wnids)
    if split == "train":
        found = list_images(root / "train", tell=False)  # where lists of boxes lie beside the images
        labels = _numbered((found.classes[label] for label in found.labels), wnids)
        return replace(found, labels=labels, classes=classes)
    answers = {name: line.split()[0] for name, line in _table(root / "val" / "val_annotations.txt").items()}
    files = [root / "val" / "images" / name for name in answers]
    return Listing(root / "val", files, _numbered(answers.values(), wnids), classes)


def stanford_dogs(root: Path, split: str) -> Listing:
    """Stanford Dogs: `Images/<wnid>-<breed>/`, and `train_list.mat` and `test_list.mat` with files and labels."""
    lists = loadmat(root / f"{split}_list.mat", squeeze_me=True)
    names = [str(name) for name in np.atleast_1d(lists["file_list"])]
    labels = [int(number) - 1 for number in np.atleast_1d(lists["labels"])]
    folders = {label: name.split("/")[0] for label, name in zip(labels, names, strict=True)}
    classes = tuple(folders[label].partition("-")[2].replace("_", " ") for label in range(len(folders)))
    return Listing(root / "Images", [root / "Images" / name for name in names], labels, classes)


def cub(root: Path, split: str) -> Listing:
    """CUB-200-2011: `images/<number>.<bird>/`, and four lists of numbered lines that say the rest."""
    lists = ("images", "image_class_labels", "train_test_split", "classes")
    images, numbers, training, birds = (_table(root / f"{name}.txt") for name in lists)
    chosen = [image for image in images if training[image] == ("1" if split == "train" else "0")]
    order = sorted(birds, key=int)
    classes = tuple(birds[number].partition(".")[2].replace("_", " ") for number in order)
    labels = _numbered((numbers[image] for image in chosen), order)
    return Listing(root / "images", [root / "images" / images[image] for image in chosen], labels, classes)


def through_torchvision(kind: str, root: Path, split: str) -> Listing:
    """The split of a dataset class of torchvision (Food101, Flowers102) that reads image files."""
    # Loading a file is leaving its path as it is: torchvision says what belongs to the split, and decodes nothing.
    data = of_torchvision(kind)(root.parent, split, loader=Path)
    files, labels = zip(*(data[place] for place in range(len(data))), strict=True)
    return Listing(root, files, labels, tuple(name.replace("_", " ") for name in data.classes))


def of_torchvision(kind: str) -> Callable[..., Any]:
    """The dataset class of that name in torchvision, whose import takes seconds."""
    import torchvision

    return getattr(torchvision.datasets, kind)


def _table(path: Path) -> dict[str, str]:
    """What follows the first word of every line, by that word."""
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {key: value.strip() for key, value in lines}


def _numbered(names: Iterable[str], classes: Sequence[str]) -> list[int]:
    places = {name: place for place, name in enumerate(classes)}
    return [places[name] for name in names]
