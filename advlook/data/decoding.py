"""One image file: which files are images, and what they show, upright, on white and in 8-bit RGB."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from advlook.core.errors import RequestError

with suppress(ImportError):  # photographs of iPhones (.heic), for which Pillow needs this plugin
    import pillow_heif

    pillow_heif.register_heif_opener()

VERSION = 2  # of the pixels that a file gives: decoded images are cached under it
_FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")  # Pillow's names
_TURNS = {  # by EXIF orientation: what makes the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_BITS, _PHOTOMETRIC = ExifTags.Base.BitsPerSample, ExifTags.Base.PhotometricInterpretation  # tags of TIFF


def image_suffixes() -> set[str]:
    """The suffixes, in lower case, of the image files that Pillow can read here; plugins add to them."""
    return {suffix for suffix, name in Image.registered_extensions().items() if name in _FORMATS and name in Image.OPEN}


@contextmanager
def unreadable(path: Path | BinaryIO) -> Iterator[None]:
    """What Pillow or the system raises within the block, as a RequestError that names the image."""
    try:
        yield
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, RuntimeError, struct.error, ...
        raise RequestError(f"image {path} cannot be read ({error}); replace or remove it") from None


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes an opened image upright, by its EXIF orientation; None where it is."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # whatever Pillow's parser raises for damaged EXIF data, which spoils no pixel
        return None


def read_rgb(path: Path | BinaryIO, least: int | None = None) -> Image.Image:
    """One image file in RGB, upright by its EXIF orientation, and on white where it is transparent; a JPEG perhaps at a
    fraction of its size, but no side of it below `least` pixels. Raises RequestError for a file that is no image, or
    whose values do not say what is white."""
    with unreadable(path), Image.open(path) as image:
        if least:
            image.draft("RGB", (least, least))
        image.load()  # before the orientation is read: a TIFF is turned here
        turn = turn_of(image)
        if image.mode == "F" or image.mode.startswith("I"):  # deeper than 8 bits: Pillow would cut it off at 255
            image = _eight_bits(image)
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("RGB")
        return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 12, 16 or 32 bits, or of floats, with 8 bits; ValueError where it is not known what is white."""
    values, white = np.asarray(image).astype(np.float64), _white(image)
    if white is None or not (values.min() >= 0 and values.max() <= white):  # neither holds for NaN
        span = f"values from {values.min():g} to {values.max():g}"
        raise ValueError(f"{span} do not tell which is white: save it with 8 or 16 bits, or as floats from 0 to 1")
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # a TIFF in which 0 is white
        values = white - values
    return Image.fromarray((255 / white * values).round().astype(np.uint8))


def _white(image: Image.Image) -> float | None:
    if image.mode == "F":
        return 1.0
    if image.mode.startswith("I;16"):
        return 2.0 ** getattr(image, "tag_v2", {}).get(_BITS, (16,))[0] - 1
    # 32-bit integers: Pillow scales deep PGM files, and in earlier versions PNG files, to 16 bits.
    return 65535.0 if image.format in ("PPM", "PNG") else None


def read_image(path: Path | BinaryIO, side: int, short: int) -> np.ndarray:
    """One image file as uint8 `(side, side, 3)`: read by `read_rgb`, the short side resized to `short` pixels, the
    central `side` cut out."""
    image = read_rgb(path, 2 * short)  # decoded no finer than needed
    factor = short / min(image.size)
    width, height = (max(short, round(length * factor)) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))
