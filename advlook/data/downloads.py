"""Sets that torchvision downloads, put where the catalogue looks for them, whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from advlook.core.progress import tqdm

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

Fetch = Callable[[Path], None]
DIGITS = tuple("0123456789")  # SVHN names no classes


def unpacked(kind: str, **options: str) -> Fetch:
    """A function that has torchvision's `kind` downloaded and unpacked to the folder it is given."""

    def fetch(root: Path) -> None:
        staging = _staging(root)
        shutil.rmtree(staging / root.name, ignore_errors=True)  # what an interruption left half unpacked
        _open(kind, staging, download=True, **options)
        (staging / root.name).rename(root)
        shutil.rmtree(staging)

    return fetch


def exported(kind: str) -> Fetch:
    """A function that writes torchvision's `kind`, which is no image files, as `{train,test}/<class>/*.png`.

    So one loader serves them all, and a part can be read without the whole. What torchvision downloads lies beside
    the folder, and is used if it is there already; after the export it may be deleted.
    """

    def fetch(root: Path) -> None:
        staging = _staging(root)
        for split in ("train", "test"):
            chosen = {"train": split == "train"} if kind.startswith("CIFAR") else {"split": split}
            data = _open(kind, root.parent, download=True, **chosen)
            classes = getattr(data, "classes", DIGITS)
            for index, (image, label) in enumerate(tqdm(data, f"unpacking {kind} {split}", unit=" images")):
                path = staging / split / classes[label] / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
        staging.rename(root)

    return fetch


def _staging(root: Path) -> Path:
    return root.with_name(f".{root.name}.partial")


def _open(kind: str, folder: Path, **options: object) -> "VisionDataset":
    import torchvision

    return getattr(torchvision.datasets, kind)(str(folder), **options)
