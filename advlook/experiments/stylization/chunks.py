"""Images that take long to make: made in chunks, each kept in a file as soon as it is there."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core import digest, run_all, worker_count, write_atomically
from advlook.data import to_bytes, to_float
from advlook.study import Study

CHUNK = 16  # images made together and kept in one file; what is made again is made in whole chunks

Chosen = slice | Tensor  # numbers of images
Make = Callable[..., Tensor]  # (contents, styles, seeds=numbers, **options): float `(N, 3, H, W)` in [0, 1]
Progress = Callable[[int], object]  # is told how many images were made


@dataclass(frozen=True)
class Kept:
    """How images are made of contents and styles, and where they are kept. make: a function of a module, that other
    processes can import; made_by: all that it depends on but for the images; cost: of an image, in those that a model
    could be shown meanwhile (`worker_count`); title: of the progress bar."""

    make: Make
    options: Mapping[str, object]
    made_by: Sequence[object]
    folder: Path
    cost: int
    title: str

    def images(self, study: Study, contents: Tensor, styles: Tensor, drawn: Tensor, chosen: Chosen) -> Tensor:
        """The chosen uint8 contents `(n, 3, H, W)`, each in the style drawn for it: uint8. A chunk is made whole even
        for one image of it, as a batch may change an image's rounding."""

        def arrays(chunk: Tensor) -> list[np.ndarray]:
            # As arrays: a tensor that goes to another process would drag its whole storage into shared memory.
            return [np.ascontiguousarray(part.numpy()) for part in (contents[chunk], styles[drawn[chunk]], chunk)]

        everything, paths, missing = torch.arange(len(contents)), {}, {}
        numbers = everything[chosen]
        for place in (numbers // CHUNK).unique().tolist():
            chunk = everything[place * CHUNK : (place + 1) * CHUNK]
            key = digest([*self.made_by, *(hashlib.sha256(array).hexdigest() for array in arrays(chunk))])
            paths[place] = self.folder / f"{key}.npy"
            if not paths[place].is_file():
                missing[paths[place]] = chunk
        if missing:
            total = sum(map(len, missing.values()))
            workers = worker_count(len(missing), study.device, total * self.cost)
            # Made as they are taken: the styles of all would not fit.
            jobs = ((path, self.make, arrays(chunk), self.options, study.device) for path, chunk in missing.items())
            run_all(_make, jobs, workers, title=self.title, total=total, progress=study.progress)
        made = torch.empty(len(numbers), *contents.shape[1:], dtype=torch.uint8)
        for place, path in paths.items():
            here = numbers // CHUNK == place
            made[here] = torch.from_numpy(np.load(path))[numbers[here] % CHUNK]
        return made


def _make(
    path: Path, make: Make, arrays: list[np.ndarray], options: Mapping, device: torch.device, progressed: Progress
) -> None:
    """Make and keep one chunk, by one thread, so that its bits do not depend on how many are made beside it."""
    images, styles = (to_float(torch.from_numpy(part).to(device)).contiguous() for part in arrays[:2])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = make(images, styles, seeds=arrays[2].tolist(), **options)
    finally:
        torch.set_num_threads(threads)
    pixels = to_bytes(found).cpu().numpy()
    write_atomically(path, lambda partial: np.save(partial, pixels))
    progressed(len(images))


def resized(images: Tensor, size: int) -> Tensor:
    """Images uint8 `(N, 3, H, W)` at `size` pixels a side, antialiased where that is fewer: uint8."""
    if size == images.shape[-1]:
        return images
    parts = (
        to_bytes(F.interpolate(to_float(part), (size, size), mode="bilinear", antialias=True))
        for part in images.split(16 * CHUNK)
    )
    return torch.cat(list(parts))
