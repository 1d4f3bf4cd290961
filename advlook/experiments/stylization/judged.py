"""What the judge said (`models.Judge`), in tables that come with the project, and what follows from it: the cue
conflicts of photographs, by which block size they are made, and at which size the question can be asked; and whether
stylized photographs have lost the texture of their class, but not all of it.

`<set>-sources.csv` has a row a test photograph: `image`, its place; `file`; `label`; and `serves` (0 or 1), whether the
judge names its class when its tiles of 40 px are shuffled: its texture tells the class, and it can be a source.

`<set>-conflicts.csv` has a row a cue conflict: `part`, "tuning" or "claim"; the places of `content` and `source`; the
`block`; and the judge's answers when it is shown at so many pixels, `at_32` to `at_160`, of those for tuning not at
all sizes. Classes are numbers. No photograph is in both parts: block size is chosen on the first, and claims rest on
the second alone.

`<set>-stylized.csv` has a row for each of some photographs that no model is shown stylized: `image`, `style`, and the
judge's answers before and after, at so many pixels: `plain_256`, `stylized_256` and so on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.core import DataConfig, RequestError, digest, file_hash
from advlook.data.layouts import Listing, shuffled
from advlook.stats import interval
from advlook.stats.paired import bias
from advlook.study.folders import ROOT

FOLDER = ROOT / "data" / "judge"
SIDE = 160  # pixels a side at which conflicts are made: the short side of Imagenette's files
SIZES = (32, 48, 64, 96, 128, SIDE)  # pixels a side at which the judge is shown conflicts for claims
TUNING_SIZES = (64, 128, SIDE)  # and those for tuning: the sizes of presets, and their own
BLOCKS = (6, 8, 12, 16, 24)  # pixels a side, of which one is chosen
PUBLISHED = 27.0  # the judge's shape bias [%] on the conflicts of Geirhos et al. (2019), at 224 pixels
VALID = 45.0  # its greatest shape bias [%] on conflicts whose texture counts as recognised
TUNING, CLAIM = "tuning", "claim"  # the parts
TUNING_SHARE = 0.2  # of the photographs
CHOICE = 150  # conflicts for tuning that decide on block size: the others were made later, to draw curves of models
STYLIZED = 30.0, 60.0  # its accuracy [%] on photographs whose texture another one has replaced
STYLIZED_SIZES = (256, 128, 64)  # pixels a side at which it is shown them; the first is that at which they are made
LEAST = 64  # pixels a side below which photographs are not asked about
_SPLIT_SEED, _PAIR_SEED = 5, 6


def has_tables(name: str) -> bool:
    """Whether the judge has answered about cue conflicts of an image set."""
    return all(paths(name)[table].is_file() for table in ("sources", "conflicts"))


def judged_digest(name: str) -> str | None:
    """Hash of the tables of an image set; None where there are none."""
    return digest([file_hash(path) for path in paths(name).values() if path.is_file()]) if has_tables(name) else None


def sources(name: str) -> pd.DataFrame:
    """`<set>-sources.csv`. Raises RequestError where it is absent."""
    return _read(paths(name)["sources"], name)


def conflicts(name: str, part: str) -> pd.DataFrame:
    """The rows of a part in `<set>-conflicts.csv`, with the classes of content and source, `shape` and `texture`."""
    found, labels = _read(paths(name)["conflicts"], name), sources(name)["label"].to_numpy()
    found = found[found["part"] == part].reset_index(drop=True)
    return found.assign(shape=labels[found["content"]], texture=labels[found["source"]])


def check_photographs(name: str, listing: Listing) -> None:
    """Raise RequestError where the test photographs that are here are not those that the judge was shown."""
    told = sources(name)["file"].tolist()
    here = [path.relative_to(listing.root).as_posix() for path in listing.files]
    if here == told:
        return
    differs = next((place for place, pair in enumerate(zip(here, told, strict=False)) if pair[0] != pair[1]), None)
    what = f"{len(here)} files" if differs is None else f"{here[differs]} in place of {told[differs]}"
    raise RequestError(
        f"test photographs of {listing.root}: {what}, but the judge was shown {len(told)}; get the set as published, "
        "or judge this one: python -m advlook.experiments.stylization.judge"
    )


def photograph_config(data: DataConfig) -> DataConfig:
    """How all test photographs of a set are read: the central square at 160 px, whatever part of them a study shows."""
    return replace(data, size=SIDE, test_store=SIDE, test_images=0)


def pairs(sources: pd.DataFrame, part: str, count: int) -> pd.DataFrame:
    """`content` and `source` of the first `count` conflicts of a part. sources: `<set>-sources.csv`."""
    labels, serves = (torch.tensor(sources[name].to_numpy()) for name in ("label", "serves"))
    drawn = draw_pairs(split(len(sources))[part], labels, serves.bool(), count)
    return pd.DataFrame(dict(zip(("content", "source"), map(Tensor.numpy, drawn), strict=True)))


def split(count: int) -> dict[str, Tensor]:
    """The places of so many photographs by part, in an order fixed by a seed."""
    places, tuning = torch.tensor(shuffled(count, _SPLIT_SEED)), round(TUNING_SHARE * count)
    return {TUNING: places[:tuning], CLAIM: places[tuning:]}


def draw_pairs(places: Tensor, labels: Tensor, serves: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of contents, none of them twice, and of sources of other classes: `(count,)` each, as far as they go.
    places: of the photographs drawn from; labels int64 and serves (as sources) bool: of all photographs. The class of a
    source is drawn from all others; its sources take turns. Raises RequestError where fewer than two classes have any.
    """
    rng = np.random.default_rng(_PAIR_SEED)
    places = rng.permutation(places.numpy())
    serving = places[serves[places].numpy()]
    queues = {label: serving[labels[serving] == label] for label in labels[serving].unique().tolist()}
    if len(queues) < 2:
        raise RequestError(f"classes with photographs whose texture is recognised: {len(queues)}; it takes two")
    contents, chosen, used = places[:count], [], dict.fromkeys(queues, 0)
    for content in contents:
        others = sorted(label for label in queues if label != labels[content])
        label = others[rng.integers(len(others))]
        chosen.append(queues[label][used[label] % len(queues[label])])
        used[label] += 1
    return torch.from_numpy(contents), torch.tensor(np.array(chosen))


def decided(rows: pd.DataFrame, size: int) -> np.ndarray:
    """Which conflicts the judge answers by shape and which by texture, shown at `size` pixels: bool `(n, 2)`."""
    answers = rows[f"at_{size}"]
    return np.stack([answers == rows["shape"], answers == rows["texture"]], axis=1)


def judge_bias(rows: pd.DataFrame, size: int) -> tuple[float, float, float]:
    """The judge's shape bias [%] on conflicts, shown at `size` pixels, with its 95% interval over images."""
    return tuple(map(float, interval(decided(rows, size), bias)))


def choose_block(tuning: pd.DataFrame) -> int:
    """The block size [pixels] at which the judge's shape bias is nearest to that on the published conflicts, on the
    first `CHOICE` conflicts; of equally near ones the smallest. tuning: rows of that part, of every block. Raises
    RequestError where none is valid."""
    found = {block: judge_bias(tuning[tuning["block"] == block][:CHOICE], SIDE)[0] for block in BLOCKS}
    found = {block: value for block, value in found.items() if value <= VALID}
    if not found:
        raise RequestError(f"the judge's shape bias is above {VALID:g}% at every block size {BLOCKS}; try larger ones")
    return min(found, key=lambda block: abs(found[block] - PUBLISHED))


def stylized_answers(name: str) -> np.ndarray | None:
    """Which photographs the judge names rightly as they are and which stylized, at 256 pixels: bool `(n, 2)`; None
    where it was not asked."""
    path = paths(name)["stylized"]
    if not path.is_file():
        return None
    rows, labels = pd.read_csv(path), sources(name)["label"].to_numpy()
    answers = rows[[f"{kind}_{STYLIZED_SIZES[0]}" for kind in ("plain", "stylized")]].to_numpy()
    return answers == labels[rows["image"]][:, None]


def untested(name: str, size: int) -> str:
    """Why no claim may rest on the cue conflicts of an image set, shown at `size` pixels; "" where one may."""
    if name == "synthetic":  # its two cues are drawn separately, and known
        return ""
    if not has_tables(name):
        small = f"images of {size} px carry too little texture"
        return small if size < LEAST else f"the judge has not answered about {name}"
    if size not in SIZES:
        return f"the judge was not shown cue conflicts of {size} px"
    found = judge_bias(conflicts(name, CLAIM), size)[0]
    if found <= VALID:
        return ""
    return f"at {size} px the judge's shape bias is {found:.0f}%, above {VALID:g}%: too little texture is recognised"


def paths(name: str) -> dict[str, Path]:
    """Where the tables of an image set are, by what they hold."""
    return {table: FOLDER / f"{name}-{table}.csv" for table in ("sources", "conflicts", "stylized")}


def _read(path: Path, name: str) -> pd.DataFrame:
    if not path.is_file():
        remedy = "run `python -m advlook.experiments.stylization.judge` with the extra advlook[judge]"
        raise RequestError(f"the judge's table {path} about {name} does not exist; {remedy}")
    return pd.read_csv(path)
