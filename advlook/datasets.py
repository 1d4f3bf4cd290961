"""Image sets: decoded once into a uint8 cache, then cropped and flipped in batches.

Every set becomes an `ImageSet`: images uint8 `(N, 3, S, S)` and labels int64 `(N,)`. `load` finds a set by the name
in the preset: the embedded one, Imagenette and CIFAR-10 through torchvision, or any folder of class folders.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from advlook.config import DataConfig, digest
from advlook.errors import RequestError
from advlook.files import write_atomically
from advlook.progress import tqdm

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
IMAGENETTE_CLASSES = {
    "n01440764": "tench", "n02102040": "springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip


@dataclass(frozen=True)
class ImageSet:
    """Decoded images: uint8 `(N, 3, S, S)`, labels int64 `(N,)`, and the name of every class."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> "ImageSet":
        if isinstance(chosen, slice):
            return ImageSet(self.images[chosen], self.labels[chosen], self.classes)
        return ImageSet(_take(self.images, chosen), self.labels[chosen], self.classes)

    def subset(self, count: int, seed: int = 0) -> "ImageSet":
        """The first `count` images of a shuffle fixed by `seed`; all, in their order, for 0 or more than there are."""
        if not 0 < count < len(self):
            return self
        return self[torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]]

    def batches(self, batch_size: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in order, as float32 in [0, 1] with its labels."""
        for images, labels in zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True):
            yield to_float(images.to(device)), labels.to(device)

    def training_batches(
        self, config: DataConfig, batch_size: int, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: shuffled, augmented, full batches only (a last batch of one would break batch normalisation)."""
        order = torch.randperm(len(self), generator=generator)
        count = config.train_images or len(self)
        for chosen in order[: min(count, len(self))].split(batch_size):
            if len(chosen) == min(batch_size, len(self)):
                images = augment(_take(self.images, chosen), config, generator)
                yield to_float(images.to(device)), self.labels[chosen].to(device)


def _take(images: Tensor, chosen: Tensor) -> Tensor:
    """Images by index: whole rows of memory are copied, ten times as fast as indexing four dimensions."""
    if not images.is_contiguous(memory_format=torch.channels_last):  # then rows would have to be made first
        return images[chosen]
    n, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(n, -1).index_select(0, chosen)
    return rows.view(len(chosen), height, width, channels).permute(0, 3, 1, 2)


def to_float(images: Tensor) -> Tensor:
    """uint8 `(N, 3, H, W)` to float32 in [0, 1], channels last."""
    return images.contiguous(memory_format=torch.channels_last).float().div_(255)


def augment(images: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Random resized crop or shift, and flip, of a batch, each image by its own draw.

    images: uint8 `(N, 3, store, store)`; returns uint8 `(N, 3, size, size)`. Where crop_scale < 1 the crop keeps a
    share of the area uniform in [crop_scale, 1], of aspect 3/4 to 4/3, and is resized with antialiasing (bytes stay
    bytes: that is several times faster than sampling floats). Otherwise the image is moved by whole pixels, edges
    reflected.
    """
    n, side, size = len(images), images.shape[-1], config.size
    if config.crop_scale < 1:
        area = torch.rand(n, generator=generator) * (1 - config.crop_scale) + config.crop_scale
        aspect = torch.exp((torch.rand(n, generator=generator) * 2 - 1) * np.log(4 / 3))
        lengths = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1).clamp(max=1)
        lengths = (lengths * side).round().long()
        starts = (torch.rand(n, 2, generator=generator) * (side + 1 - lengths)).long()
        crops = [
            images[i : i + 1, :, top : top + height, left : left + width]
            for i, ((top, left), (height, width)) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True))
        ]
        images = torch.cat([F.interpolate(crop, (size, size), mode="bilinear", antialias=True) for crop in crops])
    elif config.shift or side > size:
        starts = torch.randint(-config.shift, side - size + config.shift + 1, (n, 2, 1), generator=generator)
        places = (starts + torch.arange(size)).abs()  # reflects at the near edge, the next line at the far one
        places = (side - 1) - ((side - 1) - places).abs()
        rows, columns = places[:, 0, :, None], places[:, 1, None, :]
        images = images.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows, columns].permute(0, 3, 1, 2)
    if config.flip:
        flipped = torch.rand(n, generator=generator) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
    return images


def load(config: DataConfig, split: str, folder: Path, progress: bool = True) -> ImageSet:
    """The "train" or "test" split of the preset's image set, from `folder` (usually `data/`).

    Training images are kept at `config.store` pixels, test images at `config.size`. Raises RequestError where the set
    is absent and cannot be downloaded, a file is corrupt, a class is empty, or the classes are not as many as stated.
    """
    if config.name == "synthetic":
        raise RequestError("the synthetic set is generated, not loaded: use advlook.synthetic.generate")
    root, names = _split_folder(config, split, folder)
    side, short = (config.store, config.store) if split == "train" else (config.size, config.test_store)
    images = load_folder(root, side, short, cache=folder / "cache" / "images", progress=progress)
    if len(images.classes) != config.classes:
        raise RequestError(f"{root} holds {len(images.classes)} classes, but the preset states {config.classes}")
    return ImageSet(images.images, images.labels, tuple(names.get(c, c) for c in images.classes))


def load_folder(
    root: Path, side: int, short: int | None = None, *, cache: Path | None = None, progress: bool = True
) -> ImageSet:
    """Any folder of class folders: short sides resized to `short` pixels (None: `side`), the central `side` cut out.

    Decoded in parallel, with `cache` into a memory-mapped file there, named by the files (path, size, date) and sizes.
    Raises RequestError for a missing folder, an empty class, or a file that is no readable image (naming it).
    """
    short = short or side
    files, labels, classes = list_images(root)
    description = f"decoding {root.parent.name}/{root.name}" if progress else None
    if cache is None:
        pixels = np.stack(list(_decode(files, side, short, description)))
        return ImageSet(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor(labels), classes)
    stats = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    path = cache / f"{root.parent.name}-{root.name}-{side}of{short}px-{digest(stats)}.npy"
    if not path.is_file():
        write_atomically(path, lambda partial: _decode_to_file(partial, files, side, short, description))
    # Copy-on-write mapping: torch asks for writable memory, and pages are read only as they are used.
    pixels = torch.from_numpy(np.load(path, mmap_mode="c"))
    return ImageSet(pixels.permute(0, 3, 1, 2), torch.tensor(labels), classes)


def list_images(root: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Every image file in a folder of class folders, in a fixed order, with its label; and the class names.

    Raises RequestError for a missing folder, one without class folders, or an empty class.
    """
    if not root.is_dir():
        raise RequestError(f"folder {root} does not exist; put one folder of images per class in it")
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise RequestError(f"folder {root} has no class folders; put one folder of images per class in it")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise RequestError(f"class folder {root / name} holds no images; add some or remove the folder")
        files += found
        labels += [label] * len(found)
    return files, labels, tuple(classes)


def fingerprint(config: DataConfig, folder: Path) -> str | None:
    """Hash of the names and sizes of a set's test images; None for a generated set, or one that is not there yet."""
    if config.name == "synthetic" or not set_folder(config, folder).is_dir():
        return None
    root, _ = _split_folder(config, "test", folder)
    return digest([(str(path.relative_to(root)), path.stat().st_size) for path in list_images(root)[0]])


def read_image(path: Path | BinaryIO, side: int, short: int) -> np.ndarray:
    """One image file as uint8 `(side, side, 3)`: the short side resized to `short`, the central `side` cut out."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * short, 2 * short))  # JPEG: decode no finer than needed
            if image.mode.startswith("I;16"):  # 16-bit grey, which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"image {path} cannot be read ({error}); replace or remove it") from None
    factor = short / min(image.size)
    width, height = (max(short, round(length * factor)) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _decode_to_file(target: Path, files: list[Path], side: int, short: int, description: str | None) -> None:
    # Written in order, not through a memory map: on a full disk that would end in SIGBUS and not in an error.
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), side, side, 3)}
    with open(target, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in _decode(files, side, short, description):
            file.write(image.tobytes())


def _decode(files: list[Path], side: int, short: int, description: str | None) -> Iterator[np.ndarray]:
    """The images of all files, in order, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: read_image(path, side, short), files)
        try:
            yield from tqdm(decoded, description, len(files), unit=" images", disable=not description)
        finally:
            pool.shutdown(cancel_futures=True)  # one corrupt file: do not decode the rest first


def set_folder(config: DataConfig, folder: Path) -> Path:
    """Where a preset's set of image files lies, or would lie."""
    known = {"imagenette": "imagenette2-160", "cifar10": "cifar10", "imagenet": "imagenet"}
    return folder / "datasets" / known.get(config.name, config.name)  # an absolute name stays as it is


def status(config: DataConfig, folder: Path) -> str:
    """One line on whether the preset's set is there, and how it comes if not; nothing is downloaded or decoded."""
    if config.name == "synthetic":
        return "embedded: generated from a seed, nothing to get"
    root = set_folder(config, folder)
    if root.is_dir():
        return f"present at {root}"
    if config.name in ("imagenette", "cifar10"):
        return f"absent: downloaded by torchvision to {root} when first used"
    return f"absent: put its train and test (or val) folders, a folder of images per class, at {root}"


def _split_folder(config: DataConfig, split: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """Where a split lies on disk, after downloading the set where torchvision can, and readable class names."""
    root = set_folder(config, folder)
    if config.name == "imagenette" and not root.is_dir():
        _download("Imagenette", root, lambda: _unpack_imagenette(root))
    if config.name == "cifar10" and not root.is_dir():
        _download("CIFAR-10", root, lambda: _export_cifar10(root))
    tests = ("val",) if config.name in ("imagenet", "imagenette") else ("test", "val")  # ImageNet's test has no labels
    candidates = [root / name for name in (("train",) if split == "train" else tests)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate, IMAGENETTE_CLASSES if config.name == "imagenette" else {}
    raise RequestError(f"the {split} split of {config.name} is missing: put it at {candidates[0]}, a folder per class")


def _download(name: str, root: Path, download: Callable[[], object]) -> None:
    try:
        download()
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{name} is not at {root} and could not be downloaded ({reason}); put its train and test folders there"
        ) from None


def _unpack_imagenette(root: Path) -> None:
    """Let torchvision download and unpack beside `root`, so that an interruption leaves no half of the set there."""
    from torchvision.datasets import Imagenette

    staging = root.with_name(".imagenette.partial")
    shutil.rmtree(staging / root.name, ignore_errors=True)
    Imagenette(str(staging), "train", size="160px", download=True)
    (staging / root.name).rename(root)
    shutil.rmtree(staging)


def _export_cifar10(root: Path) -> None:
    """Write torchvision's CIFAR-10 as PNG files in class folders, so that one loader serves both layouts."""
    from torchvision.datasets import CIFAR10

    staging = root.with_name(".cifar10.partial")
    for split, train in (("train", True), ("test", False)):
        data = CIFAR10(str(root.parent), train=train, download=True)
        for index, (image, label) in enumerate(tqdm(data, f"unpacking CIFAR-10 {split}", unit=" images")):
            path = staging / split / data.classes[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    staging.rename(root)
