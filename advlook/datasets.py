"""Image sets: decoded once into a uint8 cache, then cropped and flipped in batches.

Every set becomes an `ImageSet`: images uint8 `(N, 3, S, S)` and labels int64 `(N,)`. `load` finds a set by the name
in the preset: the embedded one, Imagenette and CIFAR-10 through torchvision, or any folder of class folders.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

from advlook import synthetic
from advlook.config import DataConfig, digest
from advlook.errors import RequestError
from advlook.files import write_atomically

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

    def subset(self, count: int, seed: int = 0) -> "ImageSet":
        """The first `count` images of a shuffle fixed by `seed`; all of them for 0 or more than there are."""
        if not 0 < count < len(self):
            return self
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return ImageSet(self.images[chosen], self.labels[chosen], self.classes)

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
                images = to_float(self.images[chosen].to(device))
                yield augment(images, config, generator), self.labels[chosen].to(device)


def to_float(images: Tensor) -> Tensor:
    """uint8 `(N, 3, H, W)` to float32 in [0, 1], channels last."""
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Random resized crop, shift and flip of a batch, each image by its own draw, in one bilinear sampling.

    images: float `(N, 3, store, store)`; returns `(N, 3, size, size)`. The crop keeps a share of the area uniform in
    [crop_scale, 1], of aspect 3/4 to 4/3 where crop_scale < 1; what lies outside the image is reflected.
    """
    n, side = len(images), images.shape[-1]
    if config.crop_scale == 1 and not config.shift and not config.flip and side == config.size:
        return images

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    scale = torch.ones(n, 2)
    if config.crop_scale < 1:
        area, aspect = uniform(config.crop_scale, 1), torch.exp(uniform(np.log(3 / 4), np.log(4 / 3)))
        scale = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp(max=1)
        centre = (1 - scale) * torch.stack([uniform(-1, 1), uniform(-1, 1)], 1)
    else:
        # Whole pixels, so that an unscaled image is moved and not blurred.
        margin = config.shift + (side - config.size) // 2
        offsets = torch.randint(-margin, margin + 1, (n, 2), generator=generator)
        scale = scale * config.size / side
        centre = offsets * 2 / side + ((side - config.size) % 2) / side
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0] * flip, scale[:, 1], centre
    grid = F.affine_grid(theta.to(images.device), [n, 3, config.size, config.size], align_corners=False)
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return crops.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def load(config: DataConfig, split: str, folder: Path, progress: bool = True) -> ImageSet:
    """The "train" or "test" split of the preset's image set, from `folder` (usually `data/`).

    Training images are kept at `config.store` pixels, test images at `config.size`. Raises RequestError where the set
    is absent and cannot be downloaded, a file is corrupt, a class is empty, or the classes are not as many as stated.
    """
    if config.name == "synthetic":
        raise RequestError("the synthetic set is generated, not loaded: use advlook.synthetic.generate")
    root, names = _split_folder(config, split, folder)
    side = config.store if split == "train" else config.size
    images = load_folder(root, side, folder / "cache" / "images", progress)
    if len(images.classes) != config.classes:
        raise RequestError(f"{root} holds {len(images.classes)} classes, but the preset states {config.classes}")
    return ImageSet(images.images, images.labels, tuple(names.get(c, c) for c in images.classes))


def load_folder(root: Path, side: int, cache: Path, progress: bool = True) -> ImageSet:
    """Any folder of class folders, each image's short side resized to `side` and the centre cut out.

    Decoded in parallel into a memory-mapped uint8 cache, named by the files (path, size, date) and `side`.
    Raises RequestError for a missing folder, an empty class, or a file that is no readable image (naming it).
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
    stats = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    path = cache / f"{root.parent.name}-{root.name}-{side}px-{digest(stats)}.npy"
    if not path.is_file():
        description = f"decoding {root.parent.name}/{root.name}"
        write_atomically(path, lambda partial: _decode(files, side, partial, description if progress else None))
    # Copy-on-write mapping: torch asks for writable memory, and pages are read only as they are used.
    return ImageSet(torch.from_numpy(np.load(path, mmap_mode="c")), torch.tensor(labels), tuple(classes))


def read_image(path: Path, side: int) -> np.ndarray:
    """One image file as uint8 `(3, side, side)`: short side resized to `side`, centre cut out."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))  # JPEG: decode no finer than needed
            image = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"image {path} cannot be read ({error}); replace or remove it") from None
    factor = side / min(image.size)
    width, height = (max(side, round(length * factor)) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side))).transpose(2, 0, 1)


def _decode(files: list[Path], side: int, target: Path, description: str | None) -> None:
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(files), 3, side, side))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: read_image(path, side), files)
        for index, image in enumerate(tqdm(decoded, description, len(files), unit=" images", disable=description is None)):
            array[index] = image
    array.flush()


def _split_folder(config: DataConfig, split: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """Where a split lies on disk, after downloading it where torchvision can, and readable class names."""
    sets = folder / "datasets"
    if config.name == "imagenette":
        root = sets / "imagenette2-160"
        if not root.is_dir():
            from torchvision.datasets import Imagenette

            _download("Imagenette", root, lambda: Imagenette(str(sets), "train", size="160px", download=True))
        return root / {"train": "train", "test": "val"}[split], IMAGENETTE_CLASSES
    if config.name == "cifar10":
        root = sets / "cifar10"
        if not root.is_dir():
            _download("CIFAR-10", root, lambda: _export_cifar10(sets, root))
        return root / split, {}
    if config.name == "imagenet":
        return sets / "imagenet" / {"train": "train", "test": "val"}[split], {}
    root = Path(config.name)
    root = root if root.is_absolute() else sets / root
    candidates = [root / name for name in {"train": ("train",), "test": ("test", "val")}[split]]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate, {}
    raise RequestError(f"the {split} split of {config.name} is missing: put it at {candidates[0]}, a folder per class")


def _download(name: str, root: Path, download: Callable[[], object]) -> None:
    try:
        download()
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{name} is not at {root} and could not be downloaded ({reason}); put its train and test folders there"
        ) from None


def _export_cifar10(sets: Path, root: Path) -> None:
    """Write torchvision's CIFAR-10 as PNG files in class folders, so that one loader serves both layouts."""
    from torchvision.datasets import CIFAR10

    staging = root.with_name(".cifar10.partial")
    for split, train in (("train", True), ("test", False)):
        data = CIFAR10(str(sets), train=train, download=True)
        for index, (image, label) in enumerate(tqdm(data, f"unpacking CIFAR-10 {split}", unit=" images")):
            path = staging / split / data.classes[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    staging.rename(root)
