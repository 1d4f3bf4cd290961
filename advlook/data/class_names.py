"""Names of classes: those of known sets, and which class of a model a folder holds. ImageNet's wnids are known."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from advlook.core import RequestError
from advlook.data.catalogue import lookup
from advlook.data.layouts import IMAGENETTE_CLASSES
from advlook.data.test_bed import CLASSES

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_WORDNET = {"n02012849": "crane", "n03710721": "maillot"}  # names of two classes each, which torchvision tells apart
_NUMBERED = re.compile(r"(n\d{8})?(?:\d+\.)?(.*)")  # n02085620-Chihuahua, 001.Black_footed_Albatross


@cache
def imagenet_classes() -> Mapping[str, str]:
    """The names of ImageNet's 1,000 classes by wnid, in the order of the logits of published models."""
    return tomllib.loads(Path(__file__).with_name("imagenet.toml").read_text(encoding="utf-8"))


def names_of_set(name: str) -> tuple[str, ...]:
    """The classes of a set in the order of its labels, where they are known without its files; else ()."""
    entry = lookup(name)
    known = {"cifar10": _CIFAR10, "imagenette": IMAGENETTE_CLASSES.values(), "synthetic": CLASSES}
    known["imagenet"] = imagenet_classes()
    return tuple(known.get(entry.name, ())) if entry else ()


def readable(folders: Sequence[str]) -> tuple[str, ...]:
    """Names of class folders for figures and tables: ImageNet's in place of wnids, but where another folder has it."""
    found = [imagenet_classes().get(folder, folder) for folder in folders]
    return tuple(name if found.count(name) == 1 else folder for name, folder in zip(found, folders, strict=True))


def read_names(path: Path) -> tuple[str, ...]:
    """The lines of a text file, each the name of a class; RequestError where it is none or has an empty line."""
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"classes {path} cannot be read ({error}); give a text file, a class name a line") from None
    if not names or "" in names:
        raise RequestError(f"classes {path} has an empty line; put the name of one class on each")
    return names


def find_classes(folders: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The place among `classes` of the class that each folder is named after. Capitals, "_" and "-" matter only where
    names differ in nothing else; of ImageNet's classes the wnid and the name are one. RequestError, beginning with
    `where`, for a folder that is none of the classes or several, and for two folders of one class."""
    places: dict[str, set[int]] = defaultdict(set)
    of_imagenet = tuple(classes) == tuple(imagenet_classes().values())
    for place, name in enumerate(imagenet_classes() if of_imagenet else classes):
        for reading in _readings(name):
            places[reading].add(place)
    found = {folder: sorted(_places(folder, classes, places)) for folder in folders}
    if strange := [folder for folder, chosen in found.items() if not chosen]:
        lacks = f"{where} has folders that are none of the model's classes: {listed(strange)}"
        remedy = "rename them, or name every class of the model as its folder in a file, --classes names.txt"
        raise RequestError(f"{lacks}; it knows {listed(classes)}; {remedy}")
    taken: dict[int, str] = {}
    for folder, chosen in found.items():
        if len(chosen) > 1:
            several = listed([classes[place] for place in chosen])
            raise RequestError(f"{where} has the folder {folder!r}, which may be any of {several}; rename it to one")
        if (other := taken.setdefault(chosen[0], folder)) != folder:
            raise RequestError(
                f"{where} has {other!r} and {folder!r}, both the class {classes[chosen[0]]!r}; join them"
            )
    return list(taken)


def same_classes(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether both name the same classes in the same order."""
    try:
        return len(names) == len(others) and find_classes(names, others, "") == list(range(len(others)))
    except RequestError:
        return False


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in one line; of many the first and how many there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names):,} in all)"


def _places(folder: str, classes: Sequence[str], places: Mapping[str, set[int]]) -> set[int]:
    """The classes of exactly the folder's name, else of its wnid, else of anything that it can stand for."""
    if folder in classes:
        return {place for place, name in enumerate(classes) if name == folder}
    wnid, _ = _NUMBERED.fullmatch(_plain(folder)).groups()
    return places.get(wnid) or set().union(*(places.get(reading, ()) for reading in _readings(folder)))


def _readings(name: str) -> set[str]:
    """What a name can stand for: itself, its parts between commas, its wnid, and of ImageNet's classes both."""
    plain = _plain(name)
    wnid, rest = _NUMBERED.fullmatch(plain).groups()
    parts = {plain, *(part.strip() for part in rest.split(","))} - {""}
    # A wnid goes before the name behind it, for several classes may share a name.
    return parts.union({wnid} if wnid else (), *(_synonyms().get(each, ()) for each in ({wnid} if wnid else parts)))


@cache
def _synonyms() -> Mapping[str, set[str]]:
    """The names of every wnid of ImageNet, and the wnids of every name."""
    found: dict[str, set[str]] = defaultdict(set)
    for table in (imagenet_classes(), IMAGENETTE_CLASSES, _WORDNET):
        for wnid, name in table.items():
            found[wnid].add(_plain(name))
            found[_plain(name)].add(wnid)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()
