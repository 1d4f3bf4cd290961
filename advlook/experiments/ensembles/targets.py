"""The image sets that ensembles learn, of the catalogue or any folder, as they are or at a lower resolution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from advlook.core import RequestError, digest
from advlook.data import test_bed
from advlook.data.catalogue import check, find, holds, lookup, pooled
from advlook.data.image_sets import ImageSet, load_listing, load_set, mapped_pixels
from advlook.data.layouts import Listing
from advlook.study import Study

POOLED = "train and test"  # the split of a set that is learned by cross-validation
_BATCH = 250  # images degraded at once


@dataclass(frozen=True)
class Target:
    """An image set to learn. side: pixels a side that it is degraded to, 0 for none; pixels: the resolution that is
    left, at most that of the backbones; known: its images are, or may be, among those that the backbones were trained
    on; train, test: how many images are used; folds: of how many folds all of them are, each a test image once, 0 where
    the set is split; digest: of these images, by their files."""

    name: str
    side: int
    title: str
    pixels: int
    classes: int
    known: bool
    train: int
    test: int
    folds: int
    digest: str

    @property
    def splits(self) -> tuple[str, ...]:
        """What `load_images` is asked for: all images at once where they are of folds."""
        return (POOLED,) if self.folds else ("train", "test")

    def at(self, side: int) -> "Target":
        """The same set degraded to `side` pixels; as it is where it has no more."""
        if side >= self.pixels:
            return self
        return replace(self, side=side, pixels=side, digest=digest([self.digest, side]))


def find_target(study: Study, text: str, tuned: bool = False) -> Target:
    """The target "name", or "name@20" degraded to 20 pixels a side; nothing is decoded. tuned: with the images of
    fine-tuning, by the set's own split, in place of those for frozen backbones. Raises RequestError where the set is
    absent, with the command that gets it."""
    name, _, side = text.partition("@")
    config, entry, pixels = study.preset.ensembles, lookup(name), study.preset.data.size
    limits = (config.fine_tuned_images, config.fine_tuned_test_images) if tuned else (config.images, config.test_images)
    title, folds = name, 0 if tuned or not entry else entry.folds
    if name == "synthetic":
        title, counts, classes, made = entry.title, limits, len(test_bed.CLASSES), [name, *limits]
    else:
        listings = _listings(name, study.data, limits, folds)
        counts, classes = tuple(len(each) for each in listings), len(listings[0].classes)
        made = [(str(p.relative_to(one.root)), p.stat().st_size) for one in listings for p in one.files]
        if entry:  # of any other folder nobody says how many pixels its images really have
            found = check(name, study.data)
            title, pixels = found.title, min(pixels, found.pixels)
    known = holds(study.preset.data.name, name)
    target = Target(name, 0, title, pixels, classes, known, *counts, folds, digest(made))
    return target.at(int(side)) if side else target


def _listings(name: str, folder: Path, limits: Sequence[int], folds: int) -> tuple[Listing, Listing]:
    """The images used for training and for testing: all of them twice where they are of `folds`."""
    if folds:
        return (pooled(name, folder),) * 2
    train, test = (find(name, each, folder).subset(n) for each, n in zip(("train", "test"), limits, strict=True))
    return train, test


def find_targets(study: Study, names: Iterable[str], tuned: bool = False) -> tuple[list[Target], dict[str, str]]:
    """Those of the targets that are there, by resolution; and for each of the others what to do to get it. tuned: as of
    `find_target`."""
    found, absent = [], {}
    for name in names:
        try:
            found.append(find_target(study, name, tuned))
        except RequestError as error:
            absent[name] = str(error)
    return sorted(found, key=lambda target: (target.pixels, target.title)), absent


def degraded(images: Tensor, side: int) -> Tensor:
    """Images uint8 `(N, 3, S, S)` as they look at `side` pixels a side, at their old size: bicubic, down and up."""
    small = F.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return F.interpolate(small, images.shape[-2:], mode="bicubic", antialias=True)


def load_images(study: Study, target: Target, split: str, augmented: bool = False) -> ImageSet:
    """The images of a target's "train" or "test" split that are used, or of POOLED all, with the size and margin of the
    preset's test images; `augmented`: those of its training images (where these are streamed, what test images are cut
    from)."""
    data = study.preset.data
    kept = data.store or data.test_store
    side, short = (kept, kept) if augmented else (data.size, data.test_store)
    return _load(target, split, side, short, round(target.side * side / data.size), study.data, study.progress)


@lru_cache(maxsize=3)  # what the runs on one target need
def _load(target: Target, split: str, side: int, short: int, low: int, folder: Path, progress: bool) -> ImageSet:
    if split == POOLED:
        listing = pooled(target.name, folder)
        images = load_listing(listing, side, short, cache=folder / "cache" / "images", progress=progress)
    else:
        count = target.train if split == "train" else target.test
        images = load_set(target.name, split, side, folder, short=short, limit=count, progress=progress)
    if not low:
        return images
    if target.name == "synthetic":  # in memory anyway
        return replace(images, images=degraded(images.images, low))
    made = digest([target.digest, split, side, short])
    path = folder / "cache" / "images" / f"{Path(target.name).name}-{split}-degraded-{low}of{side}px-{made}.npy"
    # Batch by batch: 50,000 images of ImageNet take 8 GB, and what is made of them again.
    parts = (degraded(part, low).permute(0, 2, 3, 1).numpy() for part in images.images.split(_BATCH))
    return replace(images, images=mapped_pixels(path, len(images), side, lambda: parts))
