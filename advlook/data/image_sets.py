"""Image sets in memory: decoded once into a uint8 cache, then cropped and flipped in batches."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from advlook.core import ALONE, DataConfig, Device, Group, RequestError, digest, tqdm, write_atomically
from advlook.data import test_bed
from advlook.data.catalogue import find, set_folder
from advlook.data.class_names import readable
from advlook.data.crops import cut_out, draw_crops
from advlook.data.decoding import VERSION, read_image
from advlook.data.layouts import Labelled, Listing, list_images

Batch = tuple[Tensor, Tensor]  # images and labels


@dataclass(frozen=True)
class ImageSet(Labelled):
    """Decoded images: uint8 `(N, 3, S, S)`, labels int64 `(N,)`, and the name of every class."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    clipped: bool = False  # whether training crops are those of old (`crops.draw_crops`)

    def __getitem__(self, chosen: slice | Tensor) -> "ImageSet":
        return replace(self, images=_take(self.images, chosen), labels=self.labels[chosen])

    def batches(self, batch_size: int, device: Device = "cpu", chosen: Tensor | None = None) -> Iterator[Batch]:
        """Every image once, in order, or those of the numbers `chosen`: float32 in [0, 1], with labels."""
        every = (slice(k, k + batch_size) for k in range(0, len(self), batch_size))
        for part in every if chosen is None else chosen.split(batch_size):
            yield to_float(_take(self.images, part).to(device)), self.labels[part].to(device)

    def training_batches(
        self, config: DataConfig, batch_size: int, generator: Generator, device: Device = "cpu", group: Group = ALONE
    ) -> Iterator[Batch]:
        """One epoch: shuffled, augmented, full batches only, of which each process of a group cuts out its share."""
        for chosen in shuffled_batches(len(self), config.train_images, batch_size, generator):
            crops = draw_crops(len(chosen), self.images.shape[-1], config, generator, self.clipped)
            share = group.share(len(chosen))
            images = cut_out(_take(self.images, chosen[share]), crops[share], config)
            yield to_float(images.to(device)), self.labels[chosen[share]].to(device)


def _take(images: Tensor, chosen: slice | Tensor) -> Tensor:
    """Images by index: whole rows of memory are copied, ten times as fast as indexing four dimensions."""
    if isinstance(chosen, slice) or not images.is_contiguous(memory_format=torch.channels_last):
        return images[chosen]  # without channels last, rows would have to be made first
    rows = images.permute(0, 2, 3, 1).flatten(1).index_select(0, chosen)
    return rows.unflatten(1, (*images.shape[2:], images.shape[1])).permute(0, 3, 1, 2)


def to_float(images: Tensor) -> Tensor:
    """uint8 `(N, 3, H, W)` to float32 in [0, 1], channels last."""
    return images.contiguous(memory_format=torch.channels_last).float().div_(255)


def to_bytes(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8: rounded, and clipped where they lie outside."""
    return images.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)


def luminance(images: Tensor) -> Tensor:
    """Weighted sums `(N, H, W)` of red, green and blue of images `(N, 3, H, W)` (ITU-R BT.601)."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor((0.299, 0.587, 0.114)))


def shuffled_batches(count: int, wanted: int, batch_size: int, generator: Generator) -> Iterator[Tensor]:
    """The numbers below `count`, shuffled, in full batches; only the first `wanted` of them where that is not 0."""
    order = torch.randperm(count, generator=generator)[: wanted or count]
    return (chosen for chosen in order.split(batch_size) if len(chosen) == min(batch_size, count))


def load(config: DataConfig, split: str, folder: Path, progress: bool = True) -> ImageSet:
    """The "train" or "test" split of the preset's image set, from `folder` (usually `data/`). Training images are kept
    at `config.store` pixels, test images at `config.size`; of the latter only those that the preset asks for are
    decoded. Raises RequestError as `find` does, for a corrupt file, and for another number of classes."""
    listing = listed(config, split, folder)
    side, short = (config.store, config.store) if split == "train" else (config.size, config.test_store)
    return load_listing(listing, side, short, cache=folder / "cache" / "images", progress=progress)


def listed(config: DataConfig, split: str, folder: Path) -> Listing:
    """The files of a split: all for training, of the test images those that the preset asks for. Errors: see `load`."""
    listing = _tested(config, folder) if split == "test" else find(config.name, split, folder)
    if (found := len(listing.classes)) != config.classes:
        raise RequestError(f"{listing.root} holds {found} classes, but the preset states {config.classes}")
    listing = replace(listing, classes=readable(listing.classes))
    return listing.subset(config.test_images) if split == "test" else listing


def load_set(
    name: str, split: str, side: int, folder: Path, *, short: int = 0, limit: int = 0, seed: int = 0, **options: Any
) -> ImageSet:
    """The "train" or "test" split of any set of the catalogue, or of any folder of class folders, at `side` pixels.
    folder: the data folder. limit: as `ImageSet.subset(limit, seed)`, but the other images are never decoded; generated
    sets need it, and are drawn by `seed`. short, options: as of `load_listing`; errors also as of `catalogue.find`."""
    if name == "synthetic":
        if limit < 1:
            raise RequestError(f"limit={limit}: the embedded set is generated; say how many images, at least 1")
        generated = test_bed.generate(limit, side, seed, split)
        return ImageSet(generated.images, generated.labels, test_bed.CLASSES)
    listing = find(name, split, folder).subset(limit, seed)
    return load_listing(listing, side, short, cache=folder / "cache" / "images", **options)


def load_listing(
    listing: Listing, side: int, short: int = 0, *, cache: Path | None = None, progress: bool = True
) -> ImageSet:
    """The listed images: short sides resized to `short` pixels (0: `side`), the central `side` cut out. Decoded in
    parallel, with `cache` into a memory-mapped file there. Raises RequestError naming an unreadable file."""
    root, files, short = listing.root, listing.files, short or side
    decode = partial(_decode, files, side, short, f"decoding {root.parent.name}/{root.name}" if progress else None)
    if cache is None:
        pixels = torch.from_numpy(np.stack(list(decode()))).permute(0, 3, 1, 2)
    else:
        stats = [(str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns) for path, stat in _stats(files)]
        path = cache / f"{root.parent.name}-{root.name}-{side}of{short}px-{digest([VERSION, stats])}.npy"
        pixels = mapped_pixels(path, len(files), side, decode)
    return ImageSet(pixels, torch.tensor(listing.labels), listing.classes)


def mapped_pixels(path: Path, count: int, side: int, make: Callable[[], Iterable[np.ndarray]]) -> Tensor:
    """Images uint8 `(count, 3, side, side)` kept in a file; `make()` yields them, `(..., side, side, 3)` at a time."""

    def write(target: Path) -> None:
        # Written in order, not through a memory map: on a full disk that would end in SIGBUS and not in an error.
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
        with open(target, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in make():
                file.write(part.tobytes())

    if not path.is_file():
        write_atomically(path, write)
    # Copy-on-write mapping: torch asks for writable memory, and pages are read only as they are used.
    return torch.from_numpy(np.load(path, mmap_mode="c")).permute(0, 3, 1, 2)


def _stats(files: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in files:
        try:
            yield path, path.stat()
        except OSError as error:
            raise RequestError(f"image {path} cannot be read ({error.strerror}); get the set again") from None


def fingerprint(config: DataConfig, folder: Path) -> str | None:
    """Hash of the names and sizes of a set's test images; None for a generated set, or one that is not there yet."""
    if config.name == "synthetic" or not set_folder(config.name, folder).is_dir():
        return None
    return listing_digest(_tested(config, folder))


def _tested(config: DataConfig, folder: Path) -> Listing:
    """The test split of the preset's image set; of a folder of class folders that is `whole` all of it."""
    if config.whole:
        return list_images(set_folder(config.name, folder))
    return find(config.name, "test", folder)


def listing_digest(listing: Listing) -> str:
    """Hash of the names and sizes of the listed files."""
    return digest([(str(path.relative_to(listing.root)), stat.st_size) for path, stat in _stats(listing.files)])


def _decode(files: Sequence[Path], side: int, short: int, description: str | None) -> Iterator[np.ndarray]:
    """The images of all files, in order, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda path: read_image(path, side, short), files)
        try:
            yield from tqdm(decoded, description, len(files), unit=" images", disable=not description)
        finally:
            pool.shutdown(cancel_futures=True)  # one corrupt file: do not decode the rest first
