"""Tables on disk: scalars as `<name>.csv`, per-image answers as `<name>.npz` beside it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from advlook.core import write_atomically

Row = Mapping[str, object]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table to `path` (.csv); columns whose cells are arrays go to the .npz beside it.

    An array holds one entry an image. In the .npz each such column is `(rows, most images)`: row i is padded with
    zeros behind the number of images that the column "images" of the table states."""
    arrays = [name for name in table if len(table) and table[name].map(lambda cell: isinstance(cell, np.ndarray)).all()]
    stacked, beside = {}, path.with_suffix(".npz")
    for name in arrays:
        longest = table[name].map(len).max()
        stacked[name] = np.stack([np.pad(array, (0, longest - len(array))) for array in table[name]])
    if stacked:
        write_atomically(beside, lambda partial: np.savez_compressed(partial, **stacked))
    else:
        beside.unlink(missing_ok=True)
    plain = table.drop(columns=arrays)
    write_atomically(path, lambda partial: plain.to_csv(partial, index=False, float_format="%.10g"))


def read_table(path: Path) -> pd.DataFrame:
    """The table that `write_table` wrote, with the arrays of its .npz in the cells of their columns."""
    table = pd.read_csv(path)
    beside = path.with_suffix(".npz")
    if beside.is_file():
        with np.load(beside) as stacked:
            for name in stacked:
                table[name] = [row[:images] for row, images in zip(stacked[name], table["images"], strict=True)]
    return table


def keep_rows(path: Path, rows: Iterable[Row], seconds: float) -> None:
    """Keep measured rows, to the last bit, and the seconds that measuring them took."""
    plain, arrays = [], {}
    for place, row in enumerate(rows):
        arrays |= {f"{place} {name}": value for name, value in row.items() if isinstance(value, np.ndarray)}
        plain.append({name: value for name, value in row.items() if not isinstance(value, np.ndarray)})
    text = np.array(json.dumps({"rows": plain, "seconds": seconds}))
    write_atomically(path, lambda partial: np.savez_compressed(partial, text=text, **arrays))


def kept_rows(path: Path) -> tuple[list[dict[str, object]], float]:
    """What `keep_rows` kept: rows and seconds."""
    with np.load(path) as kept:
        told = json.loads(str(kept["text"]))
        for name in kept.files:
            if name != "text":
                place, column = name.split(" ", 1)
                told["rows"][int(place)][column] = kept[name]
    return told["rows"], told["seconds"]
