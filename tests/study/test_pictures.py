"""Figures are written light, and as PDF on request."""

import io

import numpy as np
import torch
from PIL import Image, ImageColor

from advlook.study.pictures import HEAVY, PALETTE, lighter, write_figure
from advlook.study.style import COLORS, image_grid

NOISE = image_grid(torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0)), [""] * 12)


def test_a_pdf_is_drawn_on_request_alone(tmp_path, monkeypatch):
    """Without ADVLOOK_PDF only a PNG is there, and a PDF of an earlier run is not left beside it."""
    monkeypatch.setenv("ADVLOOK_PDF", "1")
    write_figure(NOISE, tmp_path / "f.png")
    assert (tmp_path / "f.pdf").stat().st_size > 1000
    monkeypatch.delenv("ADVLOOK_PDF")
    write_figure(NOISE, tmp_path / "f.png")
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]


def test_heavy_pictures_get_a_palette_and_look_the_same(tmp_path):
    """A grid of noise is reduced to 256 colours; on average a pixel moves by a few grey levels."""
    write_figure(NOISE, tmp_path / "f.png")
    full = io.BytesIO()
    NOISE.savefig(full, format="png", bbox_inches="tight", dpi=150)
    assert len(full.getvalue()) > HEAVY
    with Image.open(tmp_path / "f.png") as light, Image.open(full) as before:
        assert light.mode == "P"
        assert len(light.getcolors()) <= PALETTE
        a, b = (np.asarray(image.convert("RGB"), dtype=float) for image in (light, before))
    assert (tmp_path / "f.png").stat().st_size < 0.7 * len(full.getvalue())
    assert abs(a - b).mean() < 12


def test_the_colours_of_the_settings_do_not_fade():
    """A few pixels of STD's and ADV's colours beside a noise of a hundred thousand others stay what they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    names = {"std": (0, 3), "adv": (5, 8)}
    for setting, (first, last) in names.items():
        pixels[first:last, :3] = ImageColor.getrgb(COLORS[setting])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    with Image.open(io.BytesIO(lighter(buffer.getvalue()))) as light:
        after = np.asarray(light.convert("RGB"))
    for setting, (first, _) in names.items():
        assert (after[first, :2] == ImageColor.getrgb(COLORS[setting])).all()


def test_what_gains_nothing_stays_as_it_is():
    """A picture of one colour is not written anew."""
    buffer = io.BytesIO()
    Image.new("P", (4, 4)).save(buffer, "PNG", optimize=True)
    assert lighter(buffer.getvalue()) == buffer.getvalue()
