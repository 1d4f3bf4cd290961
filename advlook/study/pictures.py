"""Figures on disk: PNGs that are light enough to be cloned, PDFs on request."""

import io
import os
from pathlib import Path

import IPython.display
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from advlook.core.files import write_atomically
from advlook.study import style

DPI = 150
SHOWN_DPI = 84  # at which a notebook shows a figure
HEAVY = 150_000  # bytes: a PNG above this is reduced to a palette
PALETTE = 256  # colours


def write_figure(figure: Figure, path: Path) -> IPython.display.Image:
    """Write a figure as `path` (.png), and as .pdf beside it where the environment variable ADVLOOK_PDF is set.

    Returns the PNG, for a notebook to show: drawn once, not again for its display."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=DPI)
    data = buffer.getvalue()
    data = lighter(data) if len(data) > HEAVY else data
    write_atomically(path, lambda partial: partial.write_bytes(data))
    beside = path.with_suffix(".pdf")
    if os.environ.get("ADVLOOK_PDF"):
        options = {"bbox_inches": "tight", "metadata": {"CreationDate": None}}
        write_atomically(beside, lambda partial: figure.savefig(partial, format="pdf", **options))
    else:
        beside.unlink(missing_ok=True)
    with Image.open(io.BytesIO(data)) as image:
        return IPython.display.Image(data, width=image.width * SHOWN_DPI // DPI)


def lighter(data: bytes) -> bytes:
    """A PNG with a palette of 256 colours; the same bytes where that saves nothing.

    The colours of STD and ADV are in every palette: few pixels have them, and what they say must not fade."""
    kept = [channel for color in style.COLORS.values() for channel in ImageColor.getrgb(color)]
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGB")
    found = picture.quantize(PALETTE - len(kept) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*kept, *found][: 3 * PALETTE])
    buffer = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return min(data, buffer.getvalue(), key=len)
