"""The catalogue of image sets: what is stated of each, where it is had, and whether what lies on disk agrees.

The ten sets of the paper's Table 3, Imagenette, the embedded test-bed, and ten textures for development. A set is found
by its name here, or by the path of any folder of class folders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
from PIL import Image

from advlook.core.errors import RequestError
from advlook.data import layouts
from advlook.data.downloads import Fetch, exported, unpacked
from advlook.data.layouts import Layout, Listing

LOOKED_AT = 20  # files whose size in pixels stands for that of all


@dataclass(frozen=True)
class Entry:
    """What is known of one image set before anything of it is here.

    pixels: side of its square images; of photographs of many sizes the square in which networks see them, 224, and of
    Imagenette the short side. train: images in the published training split; 0 where they are generated. licence: as
    its publishers state it; whoever uses a set has to look there. folder: under `data/datasets/`.
    """

    name: str
    title: str
    pixels: int
    classes: int
    train: int
    licence: str
    source: str
    folder: str
    stored: str  # how it lies there, for people
    layout: Layout = layouts.class_folders  # how it lies there, for programs
    fetch: Fetch | None = None  # where torchvision can download it
    command: str = ""  # how it is obtained otherwise; {root} is its folder, {datasets} the one above
    lossless: bool = False  # published uncompressed, so that JPEG files are copies of less quality

    def place(self, folder: Path) -> Path:
        """Where the set lies, or would lie, under the data folder `folder`."""
        return folder / "datasets" / self.folder

    def obtain(self, folder: Path) -> str:
        """What to do to have the set: a command where there is one."""
        if self.fetch:
            return f"run `python -m advlook data --get {self.name}`"
        return self.command.format(root=self.place(folder), datasets=self.place(folder).parent)


_IMAGE_FILES = "train/<class>/ and test/<class>/"  # as `downloads.exported` writes them
_NONE = "none stated"
_RESEARCH = "non-commercial research and education"
_TEXTURES = (
    "banded",
    "blotchy",
    "braided",
    "bubbly",
    "bumpy",
    "chequered",
    "cobwebbed",
    "cracked",
    "crosshatched",
    "crystalline",
)

_ENTRIES = (
    Entry(
        "svhn",
        "SVHN",
        32,
        10,
        73_257,
        "non-commercial use",
        "http://ufldl.stanford.edu/housenumbers/",
        "svhn",
        _IMAGE_FILES,
        fetch=exported("SVHN"),
        lossless=True,
    ),
    Entry(
        "cifar10",
        "CIFAR-10",
        32,
        10,
        50_000,
        _NONE,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar10",
        _IMAGE_FILES,
        fetch=exported("CIFAR10"),
        lossless=True,
    ),
    Entry(
        "cifar100",
        "CIFAR-100",
        32,
        100,
        50_000,
        _NONE,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar100",
        _IMAGE_FILES,
        fetch=exported("CIFAR100"),
        lossless=True,
    ),
    Entry(
        "tiny-imagenet",
        "Tiny ImageNet",
        64,
        200,
        100_000,
        f"none stated; images of ImageNet: {_RESEARCH}",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "tiny-imagenet-200",
        "train/<wnid>/images/, val/images/, val/val_annotations.txt, wnids.txt, words.txt",
        layouts.tiny_imagenet,
        command="run `mkdir -p {datasets} && cd {datasets} && "
        "curl -fLO http://cs231n.stanford.edu/tiny-imagenet-200.zip && unzip -q tiny-imagenet-200.zip`",
    ),
    Entry(
        "stl10",
        "STL-10",
        96,
        10,
        5_000,
        f"none stated; images of ImageNet: {_RESEARCH}",
        "https://cs.stanford.edu/~acoates/stl10/",
        "stl10",
        _IMAGE_FILES,
        fetch=exported("STL10"),
        lossless=True,
    ),
    Entry(
        "food101",
        "Food-101",
        224,
        101,
        75_750,
        "scientific fair use; the rights are the photographers'",
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "food-101",
        "images/<dish>/, meta/train.json, meta/test.json",
        layouts.food,
        unpacked("Food101"),
    ),
    Entry(
        "flowers102",
        "Flowers-102",
        224,
        102,
        1_020,
        _NONE,
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        "flowers-102",
        "jpg/, imagelabels.mat, setid.mat",
        layouts.flowers,
        unpacked("Flowers102"),
    ),
    Entry(
        "stanford-dogs",
        "Stanford Dogs",
        224,
        120,
        12_000,
        f"none stated; images of ImageNet: {_RESEARCH}",
        "http://vision.stanford.edu/aditya86/ImageNetDogs/",
        "stanford-dogs",
        "Images/<wnid>-<breed>/, train_list.mat, test_list.mat",
        layouts.stanford_dogs,
        command="run `mkdir -p {root} && for part in images lists; do "
        "curl -fL http://vision.stanford.edu/aditya86/ImageNetDogs/$part.tar | tar x -C {root}; done`",
    ),
    Entry(
        "cub200",
        "CUB-200-2011",
        224,
        200,
        5_994,
        f"{_RESEARCH}; the rights are the photographers'",
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "CUB_200_2011",
        "images/<number>.<bird>/, images.txt, image_class_labels.txt, train_test_split.txt, classes.txt",
        layouts.cub,
        command="run `mkdir -p {datasets} && curl -fL "
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz | tar xz -C {datasets} CUB_200_2011`",
    ),
    Entry(
        "imagenet",
        "ImageNet",
        224,
        1000,
        1_281_167,
        f"{_RESEARCH}, after registration",
        "https://image-net.org/download",
        "imagenet",
        "train/<wnid>/ and val/<wnid>/",
        layouts.imagenet,
        command="register at https://image-net.org/download and put train/<wnid>/ and val/<wnid>/ (or val/ without "
        "class folders, LOC_val_solution.csv beside it) at {root}",
    ),
    Entry(
        "imagenette",
        "Imagenette",
        160,
        10,
        9_469,
        f"Apache 2.0; images of ImageNet: {_RESEARCH}",
        "https://github.com/fastai/imagenette",
        "imagenette2-160",
        "train/<wnid>/ and val/<wnid>/",
        layouts.imagenette,
        unpacked("Imagenette", size="160px"),
    ),
    Entry(
        "dtd10",
        "DTD-10",
        224,
        10,
        960,
        "research",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        "dtd10",
        "<texture>/, split by a fixed seed",
        command="run `mkdir -p {root} && curl -fL "
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz | tar xz -C {root} --strip-components 2 "
        + " ".join(f"dtd/images/{texture}" for texture in _TEXTURES)
        + "`",
    ),
    Entry(
        "synthetic",
        "embedded test-bed",
        40,
        10,
        0,
        "this project's",
        "advlook/synthetic.py",
        "synthetic",
        "nowhere: generated from a seed, at any size",
        command="nothing to get",
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
TABLE_3 = tuple(CATALOGUE)[:10]  # the paper's, in its order


def lookup(name: str) -> Entry | None:
    """The entry of a set, by its name or by that of its folder; None for a folder that the catalogue does not know."""
    return next((entry for entry in CATALOGUE.values() if name in (entry.name, entry.folder)), None)


def set_folder(name: str, folder: Path) -> Path:
    """Where a set of image files lies, or would lie: one of the catalogue, a folder of that name, or a path."""
    entry = lookup(name)
    return entry.place(folder) if entry else folder / "datasets" / name  # an absolute name stays as it is


def find(name: str, split: str, folder: Path) -> Listing:
    """The images of a set's "train" or "test" split, downloaded first where torchvision can; nothing is decoded.

    folder: the data folder. Raises RequestError where the set is absent, with the command that gets it; where it
    cannot be downloaded; where its split is missing; and where it does not lie as it is published.
    """
    if split not in ("train", "test"):
        raise RequestError(f"split {split!r} is unknown; choose from train, test")
    entry = lookup(name)
    if entry is None:
        return layouts.class_folders(set_folder(name, folder), split)
    get(entry.name, folder)
    return _listed(entry, split, folder)


def _listed(entry: Entry, split: str, folder: Path) -> Listing:
    root = entry.place(folder)
    try:
        listing = entry.layout(root, split)
        if not len(listing):
            raise ValueError(f"its lists name no image of the {split} split")
        return listing
    except RequestError:
        raise
    except Exception as error:  # whatever parsers raise where a file is missing or damaged
        raise RequestError(
            f"{entry.title} at {root} does not lie as published ({_reason(error)}); wanted there: {entry.stored}"
        ) from None


def get(name: str, folder: Path) -> Path:
    """Where a set of the catalogue lies, after downloading it where it is absent and torchvision can.

    Raises RequestError for an unknown set, one to be got by hand (with the command), and where the download fails.
    """
    entry = _known(name)
    if entry.name == "synthetic":
        raise RequestError("the synthetic set is generated, not loaded: use advlook.synthetic.generate")
    root = entry.place(folder)
    if root.is_dir():
        return root
    if entry.fetch is None:
        raise RequestError(f"{entry.title} is not at {root}: {entry.obtain(folder)}")
    try:
        entry.fetch(root)
    except (OSError, RuntimeError) as error:
        raise RequestError(
            f"{entry.title} is not at {root} and could not be downloaded ({_reason(error)}); {entry.obtain(folder)} "
            f"where there is a network, or put {entry.stored} there"
        ) from None
    return root


def _known(name: str) -> Entry:
    entry = lookup(name)
    if entry is None:
        raise RequestError(f"image set {name!r} is not in the catalogue; it has {', '.join(CATALOGUE)}")
    return entry


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")


@dataclass(frozen=True)
class Found:
    """What `check` found of a set: its title as it lies here, counts, and where it differs from what is stated.

    pixels: the median short side of some training images; 0, as the counts, where the set is absent.
    """

    title: str
    present: bool
    classes: int = 0
    train: int = 0
    pixels: int = 0
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.present:
            return "absent"
        if not self.classes:  # damaged: all that is known is how
            return "; ".join(self.differences)
        images = f"{self.train:,} training images" if self.train else "as many images as asked"
        return "; ".join([f"{self.classes} classes, {images}, {self.pixels} px", *self.differences])


def check(name: str, folder: Path) -> Found:
    """Compare what the catalogue states of a set with what lies under the data folder `folder`.

    Files are listed, and of a few the headers are read; nothing is downloaded or decoded. A set that is absent or
    damaged is no error but what is found. Raises RequestError for a set that the catalogue does not have.
    """
    entry = _known(name)
    if entry.name == "synthetic":
        return Found(entry.title, True, entry.classes, entry.train, entry.pixels)
    if not entry.place(folder).is_dir():
        return Found(entry.title, False)
    try:
        train, test = (_listed(entry, split, folder) for split in ("train", "test"))
        pixels = _short_side(train.files)
    except (RequestError, OSError) as error:
        return Found(entry.title, True, differences=(str(error),))
    lost = sum(not path.is_file() for listing in (train, test) for path in listing.files)
    copied = entry.lossless and train.files[0].suffix.lower() in (".jpg", ".jpeg")
    found = {"classes": len(train.classes), "training images": len(train)}
    stated = {"classes": entry.classes, "training images": entry.train}
    differences = [f"{found[what]:,} {what}, not {stated[what]:,}" for what in found if found[what] != stated[what]]
    if pixels < entry.pixels:
        differences.append(f"{pixels} px, not {entry.pixels}")
    if copied:
        differences.append("JPEG copies of uncompressed images")
    if test.classes != train.classes:
        differences.append("the test split has other classes")
    if lost:
        differences.append(f"{lost:,} listed files are missing")
    labels = ["JPEG"] * copied + [f"{pixels} px"] * (pixels < entry.pixels)
    title = f"{entry.title} ({', '.join(labels)})" if labels else entry.title
    return Found(title, True, found["classes"], len(train), pixels, tuple(differences))


def _short_side(files: Sequence[Path]) -> int:
    sides = []
    for path in files[:: max(1, len(files) // LOOKED_AT)]:
        with Image.open(path) as image:
            sides.append(min(image.size))
    return round(median(sides))


def table_3(folder: Path | None = None, names: Sequence[str] = TABLE_3) -> pd.DataFrame:
    """The paper's Table 3 from the catalogue: dataset, pixels (a side), classes, train (images).

    With the data folder a column `here` says what `check` found: "absent", "as stated", or how it differs.
    """
    entries = [_known(name) for name in names]
    table = pd.DataFrame(
        [{"dataset": e.title, "pixels": e.pixels, "classes": e.classes, "train": e.train} for e in entries]
    )
    if folder is not None:
        found = [check(name, folder) for name in names]
        table["here"] = ["; ".join(f.differences) or "as stated" if f.present else "absent" for f in found]
    return table
