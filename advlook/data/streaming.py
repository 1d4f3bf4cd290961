"""Images read from their files whenever they are shown: for sets too large to keep decoded (ImageNet: 252 GB).

Worker processes decode and crop a few batches ahead; bytes go to the device, where they become floats. A crop depends
on the epoch's draw and the image's number alone, not on the number of workers or of processes that train together.
OpenCV decodes faster than Pillow, to which it leaves what is no plain, upright JPEG (`benchmarks/input.py`). Where the
cores are too few for the GPU, NVIDIA DALI's `decoders.image_random_crop` could decode there and draws such crops."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from advlook.core import ALONE, DataConfig, Device, Group, RequestError, mixed_seed
from advlook.data import image_sets
from advlook.data.crops import random_resized_crops, resized
from advlook.data.decoding import read_image, read_rgb, turn_of, unreadable
from advlook.data.image_sets import Batch, ImageSet, shuffled_batches, to_float
from advlook.data.layouts import Labelled, Listing
from advlook.data.test_bed import FreshImages

Make = Callable[[Path, int], np.ndarray]  # (file, number) -> uint8 (side, side, 3)
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


@dataclass(frozen=True)
class StreamedImages(Labelled):
    """The images of a listing, decoded anew whenever they are shown: whole ones as by `decoding.read_image`, training
    images as crops of the files. A file that cannot be read raises RequestError when its batch is due."""

    listing: Listing
    side: int
    short: int

    @cached_property
    def labels(self) -> Tensor:
        """Labels, int64 `(N,)`."""
        return torch.tensor(self.listing.labels, dtype=torch.int64)

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every class."""
        return self.listing.classes

    def __getitem__(self, chosen: slice | Tensor) -> "StreamedImages":
        return replace(self, listing=self.listing[chosen])

    def batches(self, batch_size: int, device: Device = "cpu", chosen: Tensor | None = None) -> Iterator[Batch]:
        """Every image once, in order, or those of the numbers `chosen`: float32 in [0, 1], with labels."""
        numbers = torch.arange(len(self)) if chosen is None else chosen
        return self._read(partial(_whole, self.side, self.short), numbers.split(batch_size), device)

    def training_batches(
        self, config: DataConfig, batch_size: int, generator: Generator, device: Device = "cpu", group: Group = ALONE
    ) -> Iterator[Batch]:
        """One epoch: shuffled random resized crops, full batches only, of which each process is given its share."""
        batches = shuffled_batches(len(self), config.train_images, batch_size, generator)
        shares = [chosen[group.share(len(chosen))] for chosen in batches]
        draw = int(torch.randint(2**62, (), generator=generator))
        return self._read(partial(_cropped, config, draw), shares, device)

    def _read(self, make: Make, batches: Sequence[Tensor], device: Device) -> Iterator[Batch]:
        """Batches of these numbers, every image made by a worker."""
        loader = DataLoader(
            [chosen.tolist() for chosen in batches],
            batch_size=None,
            collate_fn=partial(_made, self.listing, make),
            num_workers=min(worker_count(), len(batches)),
            pin_memory=torch.device(device).type == "cuda",
            generator=torch.Generator(),  # else it draws from torch's own, as dropout does
        )
        for read in loader:
            if isinstance(read, RequestError):
                raise read
            images, labels = (part.to(device, non_blocking=True) for part in read)
            yield to_float(images.permute(0, 3, 1, 2)), labels


Images = ImageSet | StreamedImages  # what a model is evaluated on
TrainingImages = Images | FreshImages


def training_images(config: DataConfig, folder: Path) -> StreamedImages:
    """A preset's training images, decoded as they are shown (`data.store = 0`); a corrupt file is met only then."""
    return StreamedImages(image_sets.listed(config, "train", folder), config.size, config.test_store)


def worker_count() -> int:
    """Processes that decode for this one: its share of the machine's cores, or what ADVLOOK_WORKERS says (0: none)."""
    if asked := os.environ.get("ADVLOOK_WORKERS"):
        if not asked.isdecimal():
            raise RequestError(f"ADVLOOK_WORKERS={asked!r} is not a number of processes; give 0, 1, 2, ...")
        return int(asked)
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _made(listing: Listing, make: Make, numbers: list[int]) -> Batch | RequestError:
    """What a worker does with the numbers of a batch: images uint8 `(n, side, side, 3)` and labels int64 `(n,)`."""
    try:
        images = torch.from_numpy(np.stack([make(listing.files[k], k) for k in numbers]))
    except RequestError as error:
        return error  # what a worker raises reaches the user behind a traceback
    return images, torch.tensor([listing.labels[k] for k in numbers], dtype=torch.int64)


def _whole(side: int, short: int, path: Path, number: int) -> np.ndarray:
    return read_image(path, side, short)


def _cropped(config: DataConfig, draw: int, path: Path, number: int) -> np.ndarray:
    return random_crop(path, config, torch.Generator().manual_seed(mixed_seed(draw, number)))


def random_crop(path: Path, config: DataConfig, generator: torch.Generator) -> np.ndarray:
    """A random resized crop of an image file, half of them mirrored where the preset flips: uint8 `(size, size, 3)`. A
    large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, where that leaves twice the pixels that are shown, and its
    crop begins and ends with a pixel of that size. Raises RequestError naming a file that cannot be read."""
    size = config.size
    with unreadable(path), Image.open(path) as header:
        width, height = header.size
        plain = header.format == "JPEG" and header.mode in ("L", "RGB") and turn_of(header) is None
        content = path.read_bytes() if plain else b""
    plain = content.rstrip(b"\0").endswith(b"\xff\xd9")  # of a JPEG that was cut off OpenCV shows the rest unsaid
    if not plain:
        pixels = np.array(read_rgb(path))
        height, width = pixels.shape[:2]
    sizes = torch.tensor([height]), torch.tensor([width])
    crop = random_resized_crops(*sizes, config.crop_scale, generator)[0].tolist()
    factor = max((k for k in REDUCED if plain and min(crop[2:]) >= 2 * k * size), default=1)
    if plain:
        flag = REDUCED.get(factor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION  # which `turn_of` has read
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        if pixels is None:
            raise RequestError(f"image {path} cannot be read (OpenCV cannot decode it); replace or remove it")
    top, left, high, wide = (round(length / factor) for length in crop)
    window = torch.from_numpy(pixels[top : top + high, left : left + wide]).permute(2, 0, 1)[None]
    shown = resized(window, size)[0].permute(1, 2, 0).numpy()
    if plain:
        shown = shown[..., ::-1]  # OpenCV has blue first
    return shown[:, ::-1] if config.flip and torch.rand((), generator=generator) < 0.5 else shown
