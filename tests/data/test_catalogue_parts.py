"""What the sets of the catalogue show, which are parts of others, and the images of both splits."""

import dataclasses
import itertools
import shutil

import pytest
from helpers import write_folder
from miniatures import MINIATURES, numbers

from advlook.core.errors import RequestError
from advlook.data.catalogue import CATALOGUE, check, holds, pooled
from advlook.data.image_sets import load_listing
from advlook.data.layouts import list_images
from advlook.study.folders import data_folder

OF_IMAGENET = ("tiny-imagenet", "stl10", "stanford-dogs", "imagenette", "imagewoof")


@pytest.fixture
def data(tmp_path):
    """An empty data folder."""
    (tmp_path / "datasets").mkdir()
    return tmp_path


def test_entries_say_what_they_show_and_of_what_they_are_a_part():
    """A listed whole is called by its name, so that it is found; only sets of images that are here have folds."""
    titles = [entry.title for entry in CATALOGUE.values()]
    assert len(set(titles)) == len(titles)
    for entry in CATALOGUE.values():
        assert entry.shows in ("photographs", "traffic signs", "textures", "shapes")
        assert entry.part_of in CATALOGUE or entry.part_of not in titles
        assert entry.folds == (5 if entry.name in ("dtd10", "flowers12") else 0)
    others = {name: entry.shows for name, entry in CATALOGUE.items() if entry.shows != "photographs"}
    assert others == {"gtsrb": "traffic signs", "dtd10": "textures", "synthetic": "shapes"}


def test_a_description_tells_what_is_not_expected():
    """A listed whole appears under its title; of photographs that are no part of a set there is nothing to say."""
    told = {name: CATALOGUE[name].described() for name in ("cifar10", "gtsrb", "cub100", "dtd10")}
    assert told == {
        "cifar10": "",
        "gtsrb": "traffic signs",
        "cub100": "part of CUB-200-2011",
        "dtd10": "textures, part of DTD",
    }


def test_a_set_holds_itself_and_its_parts():
    """Both ways round, by name or folder; neither two parts of one set nor sets of different sources."""
    related = {frozenset(("cub100", "cub200")), *(frozenset(("imagenet", name)) for name in OF_IMAGENET)}
    for one, other in itertools.product(CATALOGUE, CATALOGUE):
        assert holds(one, other) == (one == other or {one, other} in related), (one, other)
    assert holds("imagenette2-160", "imagenet")
    assert holds("CUB_200_2011", "cub100")


def test_parts_of_parts_are_held(monkeypatch):
    """Any number of steps count."""
    for name, whole in {"natural30": "gtsrb", "gtsrb": "imagewoof"}.items():
        monkeypatch.setitem(CATALOGUE, name, dataclasses.replace(CATALOGUE[name], part_of=whole))
    assert holds("natural30", "imagenet")
    assert holds("imagenet", "natural30")
    assert not holds("natural30", "imagenette")


@pytest.mark.parametrize("known", ["dtd10", "flowers12", "imagenette"])
def test_of_unknown_sets_only_the_name_counts(known):
    """A folder of a user may be called what a set that is not listed is called."""
    whole = CATALOGUE[known].part_of
    assert holds("/mine/photographs", "/mine/photographs")
    assert not holds("/mine/photographs", known)
    assert not holds(known, f"/mine/{known}")
    assert holds(whole, known) == (whole in CATALOGUE)


def test_a_pooled_set_has_every_image_once(data):
    """Both splits together, each image with its own label; of class folders without a split all there are."""
    names = MINIATURES["flowers12"](data / "datasets")
    listing = pooled("flowers12", data)
    assert listing.root == CATALOGUE["flowers12"].place(data)
    assert listing.classes == tuple(names)
    cached = load_listing(listing, 8, cache=data / "cache", progress=False)
    assert sorted(numbers(cached.images)) == list(range(9))
    assert [k % 3 for k in numbers(cached.images)] == cached.labels.tolist()
    root = write_folder(data / "datasets" / "dtd10", ("ant", "bee"), count=20, side=4)
    assert sorted(pooled("dtd10", data).files) == sorted(list_images(root).files)


def test_what_cannot_be_pooled_is_refused(data):
    """A set that is absent, or whose splits have other classes."""
    with pytest.raises(RequestError, match=r"Flowers-12 is not at .*17flowers\.tgz"):
        pooled("flowers12", data)
    MINIATURES["flowers12"](data / "datasets")
    shutil.rmtree(CATALOGUE["flowers12"].place(data) / "test" / "bluebell")
    with pytest.raises(RequestError, match=r"flowers12 has other classes for testing"):
        pooled("flowers12", data)


@pytest.mark.parametrize(("suffix", "title"), [("jpg", "GTSRB (JPEG)"), ("png", "GTSRB")])
def test_jpeg_copies_of_traffic_signs_are_called_so(data, suffix, title):
    """They are published uncompressed, although torchvision does not export them here."""
    for split in ("train", "test"):
        write_folder(data / "datasets" / "gtsrb" / split, side=32, suffix=suffix)
    assert check("gtsrb", data).title == title


@pytest.mark.slow
def test_which_parts_of_imagenet_share_classes():
    """What `holds` says of sets that are parts of one: Imagewoof and Tiny ImageNet share the golden retriever."""
    roots = {n: CATALOGUE[n].place(data_folder()) / "train" for n in ("tiny-imagenet", "imagenette", "imagewoof")}
    if absent := [name for name, root in roots.items() if not root.is_dir()]:
        pytest.skip(f"{', '.join(absent)} not there")
    found = {name: set(list_images(root, tell=False).classes) for name, root in roots.items()}
    assert found["imagewoof"] & found["tiny-imagenet"] == {"n02099601"}
    assert not found["imagenette"] & (found["imagewoof"] | found["tiny-imagenet"])
