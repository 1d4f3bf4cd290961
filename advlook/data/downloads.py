"""Sets that torchvision downloads, put where the catalogue looks for them, whole or not at all."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from advlook.core.progress import tqdm
from advlook.data.layouts import of_torchvision

Fetch = Callable[[Path], None]  # puts a set at the folder it is given
DIGITS = tuple("0123456789")  # SVHN names no classes


def unpack(kind: str, options: Mapping[str, str], root: Path) -> None:
    """Have torchvision's `kind` downloaded and unpacked to the folder `root`. options: of the class in torchvision."""
    staging = _beside(root)
    shutil.rmtree(staging / root.name, ignore_errors=True)  # what an interruption left half unpacked
    of_torchvision(kind)(staging, download=True, **options)
    (staging / root.name).rename(root)
    shutil.rmtree(staging)


def export(kind: str, options: Mapping[str, str], root: Path) -> None:
    """Write torchvision's `kind`, downloaded to beside `root`, to `{train,test}/<class>/*.png` there."""
    staging = _beside(root)
    for split in ("train", "test"):
        chosen = {"train": split == "train"} if kind.startswith("CIFAR") else {"split": split}
        data = of_torchvision(kind)(root.parent, download=True, **chosen, **options)
        classes = getattr(data, "classes", DIGITS)
        for index, (image, label) in enumerate(tqdm(data, f"unpacking {kind} {split}", unit=" images")):
            path = staging / split / classes[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    staging.rename(root)


def _beside(root: Path) -> Path:
    return root.with_name(f".{root.name}.partial")
