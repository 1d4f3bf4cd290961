"""The catalogue of image sets (`catalogue.toml`), getting them, and whether what lies on disk agrees."""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import pandas as pd
from PIL import Image

from advlook.core import RequestError, check_choice, tqdm
from advlook.core.errors import reason
from advlook.data import layouts
from advlook.data.layouts import Listing, of_torchvision

SAMPLED = 20  # files whose size in pixels stands for that of all


@dataclass(frozen=True)
class Entry:
    """What is known of one image set before anything of it is here."""

    name: str
    title: str
    pixels: int  # side of square images; of photographs of many sizes 224, as networks see them; Imagenette: short side
    classes: int
    train: int  # images in the published training split, or of a part in ours; 0 where they are generated
    licence: str  # as its publishers state it; whoever uses a set has to look there
    source: str
    folder: str  # under `data/datasets/`
    stored: str = "train/<class>/ and test/<class>/"  # on-disk layout, as text
    layout: str = "class_folders"  # the function of `layouts` that reads it; "torchvision": the class below
    torchvision: str = ""  # the dataset class that downloads it
    options: Mapping[str, str] = field(default_factory=dict)  # of that class
    exported: bool = False  # published uncompressed, written here as PNG: JPEG files are copies of less quality
    command: str = ""  # how to get it otherwise; {root} is its folder, {datasets} the one above
    shows: str = "photographs"  # or "traffic signs", "textures", "shapes" (of the embedded test-bed)
    part_of: str = ""  # the set of which this is a part or a reduced copy: its name, or its title if it is not listed
    folds: int = 0  # of how many the images are where train and test are pooled and every image is a test image once:
    # small sets, whose test images alone are too few; 0 where the split is kept

    def place(self, folder: Path) -> Path:
        """Where the set lies, or would lie, under the data folder `folder`."""
        return folder / "datasets" / self.folder

    def obtain(self, folder: Path) -> str:
        """What to do to have the set: a command where there is one."""
        if self.torchvision:
            return f"run `python -m advlook data --get {self.name}`"
        return self.command.format(root=self.place(folder), datasets=self.place(folder).parent)

    def described(self) -> str:
        """What its images show where that is not photographs, and of which set they are a part; else empty."""
        whole = CATALOGUE[self.part_of].title if self.part_of in CATALOGUE else self.part_of
        return ", ".join([self.shows] * (self.shows != "photographs") + [f"part of {whole}"] * bool(whole))


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CATALOGUE = {name: Entry(name, **table) for name, table in _TABLES.items()}
TABLE_3 = tuple(CATALOGUE)[:10]  # the paper's, in its order


def lookup(name: str) -> Entry | None:
    """The entry of a set, by its name or by that of its folder; None for a folder that the catalogue does not know."""
    return next((entry for entry in CATALOGUE.values() if name in (entry.name, entry.folder)), None)


def holds(one: str, other: str) -> bool:
    """Whether images of the set `other` may be images of the set `one` itself: the same set, or one a part of the
    other, by `Entry.part_of` in any number of steps. Of a name that the catalogue does not know only equality counts.

    Two parts of one set do not count, although some share images. By their wnids Imagenette shares no class with Tiny
    ImageNet, nor with Imagewoof. Imagewoof and Tiny ImageNet share one, n02099601 (golden retriever), and in it images:
    of our 350 of Imagewoof 136 have a copy among the 550 of Tiny ImageNet (at 12 pixels their central squares correlate
    above 0.97; of the other breeds none above 0.92). Every breed of Imagewoof is a class of Stanford Dogs, too;
    STL-10 names no wnids."""
    first, second = lookup(one), lookup(other)
    if first is None or second is None:
        return one == other
    return first.name in _wholes(second) or second.name in _wholes(first)


def _wholes(entry: Entry) -> list[str]:
    """The name of a set, and of all of which it is a part."""
    return [entry.name, *(_wholes(CATALOGUE[entry.part_of]) if entry.part_of in CATALOGUE else ())]


def set_folder(name: str, folder: Path) -> Path:
    """Where a set of image files lies, or would lie: one of the catalogue, a folder of that name, or a path."""
    entry = lookup(name)
    return entry.place(folder) if entry else folder / "datasets" / name  # an absolute name stays as it is


def find(name: str, split: str, folder: Path) -> Listing:
    """The images of a set's "train" or "test" split, downloaded first where torchvision can; nothing is decoded.
    folder: the data folder. Raises RequestError as `get` does, and where the set does not lie as it is published."""
    check_choice("split", split, ("train", "test"))
    entry = lookup(name)
    if entry is None:
        return layouts.class_folders(set_folder(name, folder), split)
    get(name, folder)
    return _listed(entry, split, folder)


def pooled(name: str, folder: Path) -> Listing:
    """All images of a set, those for training first; nothing is decoded. folder: the data folder. Raises RequestError
    as `find` does, and where the splits differ in their classes."""
    train, test = (find(name, split, folder) for split in ("train", "test"))
    if train.classes != test.classes:
        raise RequestError(f"{set_folder(name, folder)} has other classes for testing than for training")
    root = train.root if train.root == test.root else train.root.parent
    return replace(train, root=root, files=[*train.files, *test.files], labels=[*train.labels, *test.labels])


def _listed(entry: Entry, split: str, folder: Path) -> Listing:
    root = entry.place(folder)
    try:
        if entry.layout == "torchvision":
            listing = layouts.through_torchvision(entry.torchvision, root, split)
        else:
            listing = getattr(layouts, entry.layout)(root, split)
        if not len(listing):
            raise ValueError(f"its lists name no image of the {split} split")
        return listing
    except RequestError:
        raise
    except Exception as error:  # whatever parsers raise where a file is missing or damaged
        wrong = f"does not lie as published ({reason(error)}); wanted there: {entry.stored}"
        raise RequestError(f"{entry.title} at {root} {wrong}") from None


def get(name: str, folder: Path) -> Path:
    """Where a set of the catalogue lies, downloaded first where torchvision can; else RequestError that says how."""
    entry = _known(name)
    if entry.name == "synthetic":
        raise RequestError("the synthetic set is generated, not loaded: use advlook.data.test_bed.generate")
    root = entry.place(folder)
    if root.is_dir():
        return root
    if not entry.torchvision:
        raise RequestError(f"{entry.title} is not at {root}: {entry.obtain(folder)}")
    try:
        (_export if entry.exported else _unpack)(entry, root)
    except (OSError, RuntimeError) as error:
        wrong = f"is not at {root} and could not be downloaded ({reason(error)})"
        remedy = f"{entry.obtain(folder)} where there is a network, or put {entry.stored} there"
        raise RequestError(f"{entry.title} {wrong}; {remedy}") from None
    return root


def _unpack(entry: Entry, root: Path) -> None:
    """Have torchvision download the set and unpack it at `root`, whole or not at all."""
    staging = root.with_name(f".{root.name}.partial")
    shutil.rmtree(staging / root.name, ignore_errors=True)  # what an interruption left half unpacked
    of_torchvision(entry.torchvision)(staging, download=True, **entry.options)
    (staging / root.name).rename(root)
    shutil.rmtree(staging)


def _export(entry: Entry, root: Path) -> None:
    """Write what torchvision downloads to beside `root` to `{train,test}/<class>/*.png` there, whole or not at all."""
    kind, staging = entry.torchvision, root.with_name(f".{root.name}.partial")
    for split in ("train", "test"):
        chosen = {"train": split == "train"} if kind.startswith("CIFAR") else {"split": split}
        data = of_torchvision(kind)(root.parent, download=True, **chosen, **entry.options)
        classes = getattr(data, "classes", "0123456789")  # SVHN names none
        for index, (image, label) in enumerate(tqdm(data, f"unpacking {kind} {split}", unit=" images")):
            path = staging / split / classes[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    staging.rename(root)


def _known(name: str) -> Entry:
    entry = lookup(name)
    if entry is None:
        raise RequestError(f"image set {name!r} is not in the catalogue; it has {', '.join(CATALOGUE)}")
    return entry


@dataclass(frozen=True)
class Found:
    """What `check` found of a set: its title as it lies here, counts, and where it differs from what is stated."""

    title: str
    present: bool
    classes: int = 0
    train: int = 0
    pixels: int = 0  # the median short side of some training images
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.present:
            return "absent"
        if not self.classes:  # damaged: all that is known is how
            return "; ".join(self.differences)
        images = f"{self.train:,} training images" if self.train else "as many images as asked"
        return "; ".join([f"{self.classes} classes, {images}, {self.pixels} px", *self.differences])


def check(name: str, folder: Path) -> Found:
    """Compare what the catalogue states of a set with what lies under the data folder: lists, and a few headers."""
    entry = _known(name)
    if entry.name == "synthetic":
        return Found(entry.title, True, entry.classes, entry.train, entry.pixels)
    if not entry.place(folder).is_dir():
        return Found(entry.title, False)
    try:
        train, test = (_listed(entry, split, folder) for split in ("train", "test"))
        sampled = train.files[:: max(1, len(train) // SAMPLED)]
        pixels = round(median(min(_size(path)) for path in sampled))
    except (RequestError, OSError) as error:
        return Found(entry.title, True, differences=(str(error),))
    lost = sum(not path.is_file() for listing in (train, test) for path in listing.files)
    smaller = pixels < entry.pixels
    copied = entry.exported and train.files[0].suffix.lower() in (".jpg", ".jpeg")
    compared = {"classes": (len(train.classes), entry.classes), "training images": (len(train), entry.train)}
    differences = [f"{found:,} {what}, not {said:,}" for what, (found, said) in compared.items() if found != said]
    differences += [f"{pixels} px, not {entry.pixels}"] * smaller
    differences += ["JPEG copies of uncompressed images"] * copied
    differences += ["the test split has other classes"] * (test.classes != train.classes)
    differences += [f"{lost:,} listed files are missing"] * bool(lost)
    labels = ["JPEG"] * copied + [f"{pixels} px"] * smaller
    title = f"{entry.title} ({', '.join(labels)})" if labels else entry.title
    return Found(title, True, len(train.classes), len(train), pixels, tuple(differences))


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def table_3(folder: Path | None = None, names: Sequence[str] = TABLE_3) -> pd.DataFrame:
    """The paper's Table 3: dataset, pixels, classes, train (images); with the data folder, what `check` found."""
    rows = [(entry.title, entry.pixels, entry.classes, entry.train) for entry in map(_known, names)]
    table = pd.DataFrame(rows, columns=["dataset", "pixels", "classes", "train"])
    if folder is not None:
        found = [check(name, folder) for name in names]
        table["here"] = ["; ".join(f.differences) or "as stated" if f.present else "absent" for f in found]
    return table
