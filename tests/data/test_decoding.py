"""One image file: read upright, on white, with its white as white, and streamed as it is kept."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import small_preset
from PIL import Image

from advlook.core.errors import RequestError
from advlook.data.decoding import read_image, read_rgb, unreadable
from advlook.data.image_sets import load_listing, to_float
from advlook.data.layouts import list_images
from advlook.data.streaming import StreamedImages, random_crop

ORIENTATION = 0x0112  # an EXIF tag
UPRIGHT = {  # by orientation, as the EXIF standard defines it: what the stored pixels show
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)  # its mean is a half


def blocks(width=120, height=80):
    """Large squares of many colours, no two alike, which JPEG keeps well."""
    colours = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return colours.repeat(20, 0).repeat(20, 1)


def noted(orientation):
    """EXIF data that say how a camera was held."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_stand_upright(tmp_path, orientation, suffix):
    """A photograph is shown as its EXIF orientation says, in every format that has one, and at any scale."""
    stored, path = blocks(), tmp_path / f"photograph.{suffix}"
    Image.fromarray(stored).save(path, exif=noted(orientation), quality=95)
    expected = UPRIGHT[orientation](stored)
    for least in (None, 40):
        read = np.asarray(read_rgb(path, least))
        step = expected.shape[0] // read.shape[0]
        assert read.shape == expected[::step, ::step].shape
        inner = np.s_[8 // step :: 20 // step, 8 // step :: 20 // step]
        assert np.abs(read[inner].astype(int) - expected[::step, ::step][inner]).max() < 20


def test_damaged_exif_data_spoil_no_picture(tmp_path):
    """A picture whose EXIF data cannot be parsed, or name no orientation there is, is shown as it is stored."""
    notes = (noted(0), noted(9), noted(6).tobytes()[:14], b"Exif\0\0II*\0" + bytes(range(200)), b"Exif\0\0what is this")
    for number, note in enumerate(notes):
        Image.fromarray(blocks()).save(tmp_path / f"{number}.png", exif=note)
        assert np.array_equal(np.asarray(read_rgb(tmp_path / f"{number}.png")), blocks())


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("RGBA", (200, 100, 50, 0), {}, (255, 255, 255)),
        ("RGBA", (200, 100, 50, 51), {}, (244, 224, 214)),  # a fifth
        ("LA", (0, 102), {}, (153, 153, 153)),
        ("RGB", (9, 9, 9), {"transparency": (9, 9, 9)}, (255, 255, 255)),
        ("P", 3, {"transparency": 3}, (255, 255, 255)),
        ("L", 3, {"transparency": 3}, (255, 255, 255)),
    ],
)
def test_transparent_pictures_stand_on_white(tmp_path, mode, colour, options, expected):
    """As a browser shows them; what a hidden pixel's colour would have been is not seen."""
    image = Image.new("L" if mode == "P" else mode, (20, 20), colour).convert(mode)
    image.save(tmp_path / "image.png", **options)
    assert (np.asarray(read_rgb(tmp_path / "image.png")) == np.array(expected)).all()


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (200, 100, 50), "png", (200, 100, 50)),
        ("RGB", (200, 100, 50), "jpg", (200, 100, 50)),
        ("RGBA", (200, 100, 50, 255), "png", (200, 100, 50)),
        ("L", 90, "png", (90, 90, 90)),
        ("L", 90, "jpg", (90, 90, 90)),
        ("LA", (90, 255), "png", (90, 90, 90)),
        ("1", 1, "png", (255, 255, 255)),
        ("P", (204, 102, 51), "png", (204, 102, 51)),
        ("CMYK", (0, 128, 255, 0), "jpg", (255, 127, 0)),
        ("CMYK", (0, 128, 255, 0), "tif", (255, 127, 0)),
        ("I;16", 90 * 257, "png", (90, 90, 90)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, colour, suffix, expected):
    """Grey, palette, transparent, CMYK and 16-bit images come out as the RGB colours they show."""
    path = tmp_path / f"image.{suffix}"
    image = Image.new("RGB", (40, 40), colour).convert("P") if mode == "P" else Image.new(mode, (40, 40), colour)
    image.save(path)
    pixels = read_image(path, 16, 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(expected)).max() <= 3


def test_centre_is_cut_out(tmp_path):
    """Of an oblong image the short side fills the square, and of the long one the middle is kept."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.swapaxes(0, 1)).save(tmp_path / "tall.png")
    for side, margin in ((20, 0), (12, 4)):
        wide, tall = (read_image(tmp_path / f"{name}.png", side, 20) for name in ("wide", "tall"))
        assert np.array_equal(wide, pixels[margin : 20 - margin, 15 + margin : 35 - margin])
        assert np.array_equal(tall, wide.swapaxes(0, 1))


@pytest.mark.parametrize(("width", "height"), [(61, 23), (23, 61), (300, 299), (7, 5), (1, 9), (16, 16)])
def test_every_shape_fills_the_square(tmp_path, width, height):
    """Images smaller, larger and thinner than the square fill it, without a border."""
    Image.new("RGB", (width, height), (9, 99, 199)).save(tmp_path / "image.png")
    for short in (16, 19):
        assert (read_image(tmp_path / "image.png", 16, short) == np.array([9, 99, 199])).all()


def tiff(data, bits, kind, photometric=1):
    """A grey TIFF of 32 x 32 pixels. kind: 1 unsigned, 2 signed, 3 float; photometric: 0 where zero is white."""
    tags = {256: 32, 257: 32, 258: bits, 259: 1, 262: photometric, 273: 134, 277: 1, 278: 32, 279: len(data), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4) + data


def twelve_bits():
    """The ramp with 12 bits a pixel, two pixels in three bytes."""
    pairs = (4095 * RAMP).round().astype(int).reshape(-1, 2)
    return b"".join(int(high << 12 | low).to_bytes(3, "big") for high, low in pairs)


def bytes_of(dtype, white):
    return (white * RAMP).round(0 if white > 1 else 9).astype(dtype).tobytes()


DEEP = {
    "float TIFF": tiff(bytes_of("<f4", 1), 32, 3),
    "float TIFF, zero is white": tiff(bytes_of("<f4", 1), 32, 3, 0),
    "TIFF of 16 bits": tiff(bytes_of("<u2", 65535), 16, 1),
    "TIFF of 16 bits, zero is white": tiff(bytes_of("<u2", 65535), 16, 1, 0),
    "TIFF of 12 bits": tiff(twelve_bits(), 12, 1),
    "PFM": b"Pf\n32 32\n-1.0\n" + bytes_of("<f4", 1),
    "PGM of 16 bits": b"P5\n32 32\n65535\n" + bytes_of(">u2", 65535),
    "PGM of 10 bits": b"P5\n32 32\n1023\n" + bytes_of(">u2", 1023),
    "PPM of 16 bits": b"P6\n32 32\n65535\n" + bytes_of(">u2", 65535).ljust(6144, b"\x7f"),
}


@pytest.mark.parametrize("name", DEEP)
def test_white_is_white_at_any_depth(name):
    """A ramp from black to white is one with 8 bits too: neither all black nor cut off at 255."""
    read = np.asarray(read_rgb(io.BytesIO(DEEP[name])))[..., 0].astype(float)
    expected = 255 * (1 - RAMP if "zero is white" in name else RAMP[::-1] if name == "PFM" else RAMP)
    if name.startswith("PPM"):
        assert abs(read.mean() - 127.5) < 1
    else:
        assert np.abs(read - expected).max() <= 0.6


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_endian_is_read_as_little_endian(tmp_path, order):
    """16-bit grey, in either order of bytes."""
    Image.fromarray((65535 * RAMP).round().astype(f"{order}u2")).save(tmp_path / "grey.tif")
    assert np.abs(np.asarray(read_rgb(tmp_path / "grey.tif"))[..., 1] - 255 * RAMP).max() <= 0.6


@pytest.mark.parametrize(
    "content",
    [
        tiff(bytes_of("<i4", 65535), 32, 2),
        tiff(bytes_of("<u4", 2**30), 32, 1),
        tiff(bytes_of("<i2", 32767), 16, 2),
        tiff(bytes_of("<f4", 255), 32, 3),
        tiff((RAMP - 0.5).astype("<f4").tobytes(), 32, 3),
        tiff(np.where(RAMP > 0.9, np.nan, RAMP).astype("<f4").tobytes(), 32, 3),
    ],
    ids=["signed 32 bits", "32 bits", "signed 16 bits", "floats to 255", "floats below 0", "not finite"],
)
def test_what_does_not_say_its_white_is_refused(tmp_path, content):
    """In one line, with how to save it; it is not guessed at."""
    (tmp_path / "deep.tif").write_bytes(content)
    with pytest.raises(RequestError, match=r"deep\.tif cannot be read \(values from .* do not tell .*save it") as told:
        read_image(tmp_path / "deep.tif", 16, 16)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("suffix", ["avif", "bmp", "gif", "jp2", "jpg", "png", "ppm", "tga", "tif", "webp"])
def test_a_damaged_file_of_any_format_is_named(tmp_path, suffix):
    """Cut off shortly before its end, it ends in one line, whatever its decoder raises."""
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(blocks()).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(RequestError, match=rf"image\.{suffix} cannot be read") as told:
        read_image(path, 16, 16)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [RuntimeError, EOFError, IndexError, struct.error, MemoryError, SyntaxError])
def test_whatever_a_decoder_raises_names_the_file(error):
    """AVIF's raises RuntimeError for damaged data, others anything at all: it is one line that names the file."""
    wanted = r"image ant/1\.avif cannot be read \(no frame\); replace or remove it"
    with pytest.raises(RequestError, match=wanted), unreadable(Path("ant/1.avif")):
        raise error("no frame")


def test_streamed_photographs_are_those_that_are_kept(tmp_path, monkeypatch):
    """Whether decoded once or whenever they are shown, whole or cropped, photographs stand upright and on white."""
    monkeypatch.setenv("ADVLOOK_WORKERS", "0")
    folder = tmp_path / "set" / "ant"
    folder.mkdir(parents=True)
    for orientation in UPRIGHT:
        Image.fromarray(blocks()).save(folder / f"{orientation}.jpg", exif=noted(orientation), quality=95)
    Image.new("RGBA", (60, 40), (0, 0, 0, 99)).save(folder / "clear.png")
    (folder / "deep.tif").write_bytes(DEEP["float TIFF"])
    (folder / "deep.pgm").write_bytes(DEEP["PGM of 16 bits"])
    (folder / "._1.jpg").write_bytes(b"left by a Mac")
    listing = list_images(folder.parent)
    streamed = StreamedImages(listing, 32, 36)
    assert len(streamed) == 11
    shown = torch.cat([batch for batch, _ in streamed.batches(4)])
    assert torch.equal(shown, to_float(load_listing(listing, 32, 36, progress=False).images))
    config = small_preset(data={"store": 0, "crop_scale": 0.3, "flip": True}).data
    for path in listing.files:
        read_rgb(path).save(tmp_path / "upright.png")
        crops = [
            random_crop(file, config, torch.Generator().manual_seed(3)).astype(int)
            for file in (path, tmp_path / "upright.png")
        ]
        assert np.abs(crops[0] - crops[1]).max() <= 2
