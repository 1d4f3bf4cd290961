"""Cue conflicts of a study: images with the shape of one class and the texture of another (Geirhos et al. 2019).

Those of photographs are quilts: the layout of one test photograph, rebuilt at 160 px from blocks of another whose
texture the judge recognises, and reduced to the size at which they are shown. Which photographs these are, and the size
of the blocks, is read from the judge's tables (`judged`). The embedded test-bed brings its own."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.corruptions import quilt
from advlook.data import ImageSet, image_sets, test_bed
from advlook.experiments.stylization import judged
from advlook.experiments.stylization.chunks import Chosen, Kept, resized
from advlook.experiments.stylization.judged import CLAIM, TUNING
from advlook.study import Study
from advlook.study.code import code_digest

_COST = 100  # images that a model could be shown while one quilt is made


@dataclass(frozen=True)
class CueConflict:
    """Images with the shape of one class and the texture of another, labelled by shape. textures: int64 `(N,)`, the
    classes of the texture; contents, sources: what shape and texture were taken from, None if drawn together; drawn:
    int64 `(N,)`, a number for each image that images with the same source share."""

    images: ImageSet
    textures: Tensor
    contents: ImageSet | None
    sources: ImageSet | None
    drawn: Tensor


def cue_conflict_set(study: Study, chosen: Chosen = slice(None)) -> CueConflict:
    """`stylization.cues` cue conflicts at the study's size (or those chosen); of photographs those on which claims
    rest, as many as the judge was shown. None of a set about which it was not asked."""
    count, data = study.preset.stylization.cues, study.preset.data
    if data.name == "synthetic":
        drawn = test_bed.generate(count, data.size, seed=0, split="cue_conflict")
        images = ImageSet(drawn.images, drawn.shapes, test_bed.CLASSES)[chosen]
        return CueConflict(images, drawn.textures[chosen], None, None, torch.arange(count)[chosen])
    if not judged.has_tables(data.name):
        none = torch.empty(0, dtype=torch.int64)
        images = ImageSet(torch.empty(0, 3, data.size, data.size, dtype=torch.uint8), none, study.test.classes)
        return CueConflict(images, none, images, images, none)
    return reduced_set(study, data.size, chosen)


def reduced_set(study: Study, size: int, chosen: Chosen = slice(None)) -> CueConflict:
    """The photographs' cue conflicts for claims, reduced to `size` pixels a side and shown at the study's own size."""
    data = study.preset.data
    found = quilted_set(study, judged.conflicts(data.name, CLAIM)[: study.preset.stylization.cues], size, chosen)
    return replace(found, images=replace(found.images, images=resized(found.images.images, data.size)))


def tuning_set(study: Study, block: int, chosen: Chosen = slice(None)) -> CueConflict:
    """The cue conflicts on which block size is chosen, made with blocks of so many pixels, at the study's size."""
    rows = judged.conflicts(study.preset.data.name, TUNING)
    return quilted_set(study, rows[rows["block"] == block], study.preset.data.size, chosen)


def quilted_set(study: Study, rows: pd.DataFrame, size: int, chosen: Chosen = slice(None)) -> CueConflict:
    """The cue conflicts of rows of the judge's table (or those chosen of them), and what they are made of, reduced to
    `size` pixels a side. Raises RequestError where other photographs are here than the judge was shown."""
    every = photographs(study)
    made = quilts(study, rows, chosen)
    numbers = torch.arange(len(rows))[chosen].numpy()
    contents, sources = (every[torch.tensor(rows[name].to_numpy()[numbers])] for name in ("content", "source"))
    shapes, textures = (replace(some, images=resized(some.images, size)) for some in (contents, sources))
    drawn = torch.tensor(rows["source"].to_numpy()[numbers])
    return CueConflict(replace(shapes, images=resized(made, size)), sources.labels, shapes, textures, drawn)


def quilts(study: Study, rows: pd.DataFrame, chosen: Chosen = slice(None)) -> Tensor:
    """The quilts of rows that share a block size, uint8 `(n, 3, 160, 160)`, made where they are not in the cache."""
    (block,) = set(rows["block"].tolist())
    every = photographs(study)
    contents, sources = (torch.tensor(rows[name].to_numpy()) for name in ("content", "source"))
    made_by = [code_digest(quilt), np.__version__, block]
    folder = study.data / "cache" / "quilted" / study.preset.data.name
    kept = Kept(quilt, {"block": block}, made_by, folder, _COST, f"quilting with blocks of {block} px")
    return kept.images(study, every.images[contents], every.images, sources, chosen)


@lru_cache(maxsize=1)
def photographs(study: Study) -> ImageSet:
    """`load_photographs`; raises RequestError where they are not those that the judge was shown."""
    data = judged.photograph_config(study.preset.data)
    judged.check_photographs(data.name, image_sets.listed(data, "test", study.data))
    return load_photographs(study)


def load_photographs(study: Study) -> ImageSet:
    """All test photographs at 160 px, also those that the study does not show at its own size."""
    return image_sets.load(judged.photograph_config(study.preset.data), "test", study.data, study.progress)
