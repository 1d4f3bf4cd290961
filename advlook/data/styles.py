"""Styles for stylization: folders of pictures, or textures generated from a seed; and which image gets which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advlook.core import RequestError, digest
from advlook.data.catalogue import find, lookup
from advlook.data.image_sets import load_listing
from advlook.data.layouts import Listing, images_below, sort_files, tell_passed

GENERATED = "generated"  # in a preset, in place of a folder
TEXTURES = 24  # generated ones
PAINTINGS = "paintings"  # a folder that presets on photographs name: the twenty styles published with AdaIN
_SOURCE = "https://github.com/xunhuang1995/AdaIN-style"
_GET_PAINTINGS = f"git clone --depth 1 {_SOURCE} && mkdir -p {{0}} && cp AdaIN-style/input/style/* {{0}}"


@dataclass(frozen=True)
class Styles:
    """Pictures to take textures from: uint8 `(M, 3, side, side)`, and their names."""

    images: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def load_styles(
    sources: Sequence[str], side: int, datasets: Path, *, cache: Path | None = None, progress: bool = False
) -> Styles:
    """The pictures of folders, resized on the short side and cropped to their central square; or generated textures.
    sources: folders, relative to `datasets` or absolute, read with their subfolders, or "generated". cache: where
    decoded pictures are kept. Raises RequestError for a folder without pictures, or a file that is not a picture."""
    found = [_load(source, side, datasets, cache, progress) for source in sources]
    return Styles(torch.cat([each.images for each in found]), tuple(name for each in found for name in each.names))


def _load(source: str, side: int, datasets: Path, cache: Path | None, progress: bool) -> Styles:
    if source == GENERATED:
        return Styles(generate_textures(TEXTURES, side), tuple(f"texture {number}" for number in range(TEXTURES)))
    root = datasets / source
    files, others = sort_files(root)
    if not files:
        if lookup(source):
            find(source, "train", datasets.parent)  # tells how to get it
        lacks = "holds no pictures" if root.is_dir() else "does not exist"
        ours = f"run `{_GET_PAINTINGS.format(root)}`, or " if source == PAINTINGS else ""
        raise RequestError(f"folder of styles {root} {lacks}; {ours}put any pictures in it, or write {GENERATED!r}")
    tell_passed(root, others)
    listing = Listing(root, files, [0] * len(files), (source,))
    pictures = load_listing(listing, side, side, cache=cache, progress=progress)
    return Styles(pictures.images, tuple(str(path.relative_to(root)) for path in files))


def available(datasets: Path) -> str:
    """One line: how many paintings are there, or how to get them."""
    count = len(images_below(datasets / PAINTINGS))
    return f"{count} pictures" if count else f"absent: run `{_GET_PAINTINGS.format(datasets / PAINTINGS)}`"


def fingerprint(sources: Sequence[str], datasets: Path) -> str | None:
    """Hash of the names and sizes of the pictures that `load_styles` reads; None for generated textures alone."""
    roots = [datasets / source for source in sources if source != GENERATED]
    files = [[(str(path.relative_to(root)), path.stat().st_size) for path in images_below(root)] for root in roots]
    return digest(files) if files else None


def assign(count: int, styles: int, seed: int = 0) -> Tensor:
    """The style of each of `count` images, int64 `(count,)`, drawn without replacement: none serves again before all
    have served. A prefix does not depend on the count."""
    generator = torch.Generator().manual_seed(seed)
    decks = [torch.randperm(styles, generator=generator) for _ in range(math.ceil(count / styles))]
    return torch.cat(decks)[:count] if decks else torch.empty(0, dtype=torch.int64)


def generate_textures(count: int, side: int, seed: int = 0) -> Tensor:
    """Textures, uint8 `(count, 3, side, side)`: two colours mixed by noise, whose spectrum is Gaussian around a
    frequency of 0.06 to 0.25 cycles per pixel; its width along and across decides between waves, flakes and spots."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 5, generator=generator)
    dark, light = torch.rand(2, count, 3, 1, 1, generator=generator) / 2
    angle = math.pi * uniform[:, 0, None, None]
    fy, fx = torch.fft.fftfreq(side)[None, :, None], torch.fft.rfftfreq(side)[None, None]
    along, across = fx * angle.cos() + fy * angle.sin(), fy * angle.cos() - fx * angle.sin()
    ranges = enumerate([(0.06, 0.25), (0.02, 0.05), (0.06, 0.3)], 1)
    frequency, narrow, wide = (low * (high / low) ** uniform[:, k, None, None] for k, (low, high) in ranges)
    # The spectrum of real noise is symmetric: a Gaussian at f and one at -f.
    peaks = ((((along - f) / narrow) ** 2 + (across / wide) ** 2) for f in (-frequency, frequency))
    amplitude = sum(torch.exp(-0.5 * peak) for peak in peaks)
    amplitude[:, 0, 0] = 0
    noise = torch.randn(count, *amplitude.shape[1:], 2, generator=generator) * amplitude[..., None]
    field = torch.fft.irfft2(torch.view_as_complex(noise), s=(side, side))
    field = field / field.std((1, 2), keepdim=True)
    share = torch.sigmoid((1 + 5 * uniform[:, 4, None, None]) * field)[:, None]  # from soft to sharp borders
    return (255 * (dark * share + (0.5 + light) * (1 - share))).round().to(torch.uint8)
