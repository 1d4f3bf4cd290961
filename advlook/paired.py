"""Models compared image by image: what each was right about, kept as text in a row of a table, and brought together."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from torch import Tensor


def pack(chosen: Tensor) -> str:
    """bool `(images,)` as a hexadecimal text, which fits into a cell of a table."""
    return np.packbits(chosen.cpu().numpy()).tobytes().hex()


def unpack(texts: Iterable[str], images: int) -> np.ndarray:
    """What `pack` made of so many images, one line a text: bool `(texts, images)`."""
    packed = np.stack([np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts])
    return np.unpackbits(packed, axis=1, count=images).astype(bool)


def right_of(rows: pd.DataFrame) -> np.ndarray:
    """Which images were right, one line a row: bool `(rows, images)`. rows: with columns "right" (packed), images."""
    return unpack(rows["right"], int(rows["images"].iloc[0]))


def pooled(
    rows: pd.DataFrame, values: Callable[[pd.DataFrame], np.ndarray]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """For "all" seeds and, where there are several, each: by setting, what its models answer, averaged image by image.

    rows: of one architecture; values: what one model answers, `(images, columns)`, from its rows.
    """
    each = {
        setting: {str(seed): values(run) for seed, run in models.groupby("seed")}
        for setting, models in rows.groupby("setting", sort=False)
    }
    yield "all", {setting: np.mean(list(runs.values()), axis=0) for setting, runs in each.items()}
    seeds = list(next(iter(each.values())))
    for seed in seeds if len(seeds) > 1 else ():
        yield seed, {setting: runs[seed].astype(float) for setting, runs in each.items()}


def relative_difference(means: np.ndarray) -> np.ndarray:
    """ADV - STD in points, `(..., levels)`, where each accuracy is taken in percent of the model's own at level 0.

    means: `(..., 2 levels)`, those of STD before those of ADV. nan or infinite where an accuracy at level 0 is 0.
    """
    std, adv = np.split(means, 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * (adv / adv[..., :1] - std / std[..., :1])
