"""Where styles come from: a folder of pictures, or textures generated from a seed; and which image gets which."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.data.image_sets import load_listing
from advlook.data.layouts import Listing, images_below

GENERATED = "generated"  # in a preset, in place of a folder
TEXTURES = 24  # generated ones
PAINTINGS = "paintings"  # the folder that our presets on photographs name: the twenty styles that come with AdaIN
_SOURCE = "https://github.com/xunhuang1995/AdaIN-style"
_GET_PAINTINGS = f"git clone --depth 1 {_SOURCE} && mkdir -p {{0}} && cp AdaIN-style/input/style/* {{0}}"


@dataclass(frozen=True)
class Styles:
    """Pictures to take textures from: uint8 `(M, 3, side, side)`, and a name of each."""

    images: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def load_styles(source: str, side: int, datasets: Path, *, cache: Path | None = None, progress: bool = False) -> Styles:
    """The pictures of a folder, short sides resized to `side` and the middle cut out; or generated textures.

    source: "generated", or a folder, seen from `datasets` unless it is absolute; folders in it are read as well. cache:
    where they are kept decoded, and read from as they are used: 80,000 paintings of 448 px would take 48 GB of memory.
    Raises RequestError for a folder that is absent or holds no pictures, or a file that is none.
    """
    if source == GENERATED:
        return Styles(generate_textures(TEXTURES, side), tuple(f"texture {number}" for number in range(TEXTURES)))
    root = datasets / source
    if not root.is_dir():
        ours = f"run `{_GET_PAINTINGS.format(root)}`, or " if source == PAINTINGS else ""
        raise RequestError(
            f"folder of styles {root} does not exist; {ours}put any pictures in it, or write {GENERATED!r}"
        )
    files = images_below(root)
    if not files:
        raise RequestError(f"folder of styles {root} holds no pictures; put some in it, or write {GENERATED!r}")
    listing = Listing(root, files, [0] * len(files), (source,))
    pictures = load_listing(listing, side, side, cache=cache, progress=progress)
    return Styles(pictures.images, tuple(str(path.relative_to(root)) for path in files))


def available(datasets: Path) -> str:
    """How many of the paintings are there, or how to get them, in a line."""
    count = len(images_below(datasets / PAINTINGS))
    return f"{count} pictures" if count else f"absent: run `{_GET_PAINTINGS.format(datasets / PAINTINGS)}`"


def fingerprint(source: str, datasets: Path) -> str | None:
    """Hash of the names and sizes of a folder's pictures, as of `load_styles`; None for generated ones."""
    root = datasets / source
    if source == GENERATED:
        return None
    return digest([(str(path.relative_to(root)), path.stat().st_size) for path in images_below(root)])


def assign(count: int, styles: int, seed: int = 0) -> Tensor:
    """The style of each of `count` images, int64 `(count,)`, each of `styles` drawn alike; the first ones do not
    depend on how many follow."""
    return torch.randint(styles, (count,), generator=torch.Generator().manual_seed(seed))


def generate_textures(count: int, side: int, seed: int = 0) -> Tensor:
    """Coloured textures, uint8 `(count, 3, side, side)`: a dark and a light colour, mixed by noise.

    The noise has random phases and a spectrum that is a Gaussian around one frequency, of 0.06 to 0.25 cycles per
    pixel; how far it spreads along and across decides between waves, flakes and spots. Most come out as wavy
    stripes; straight ones, of which the embedded set's own textures are made, do not.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 5, generator=generator)
    dark, light = torch.rand(2, count, 3, 1, 1, generator=generator) / 2
    angle = math.pi * uniform[:, 0, None, None]
    fy, fx = torch.fft.fftfreq(side)[None, :, None], torch.fft.rfftfreq(side)[None, None]
    along, across = fx * angle.cos() + fy * angle.sin(), fy * angle.cos() - fx * angle.sin()
    frequency, narrow, wide = (
        low * (high / low) ** uniform[:, place, None, None]
        for place, (low, high) in enumerate([(0.06, 0.25), (0.02, 0.05), (0.06, 0.3)], 1)
    )
    # The plane of real noise is symmetric: the Gaussian stands at f and at -f.
    amplitude = sum(
        torch.exp(-0.5 * (((along - sign * frequency) / narrow) ** 2 + (across / wide) ** 2)) for sign in (-1, 1)
    )
    amplitude[:, 0, 0] = 0
    noise = torch.randn(count, *amplitude.shape[1:], 2, generator=generator) * amplitude[..., None]
    field = torch.fft.irfft2(torch.view_as_complex(noise), s=(side, side))
    field = field / field.std((1, 2), keepdim=True)
    share = torch.sigmoid((1 + 5 * uniform[:, 4, None, None]) * field)[:, None]  # from soft to sharp borders
    return (255 * (dark * share + (0.5 + light) * (1 - share))).round().to(torch.uint8)
