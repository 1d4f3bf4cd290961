"""Stylized test images of a study, made once and kept in the cache."""

from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

from advlook.core import RequestError
from advlook.corruptions import style_transfer
from advlook.corruptions.style_network import STYLE
from advlook.corruptions.stylization import check_strength, stylize
from advlook.data import ImageSet, image_sets
from advlook.data.layouts import shuffled
from advlook.data.styles import Styles, assign, fingerprint, load_styles
from advlook.experiments.stylization.chunks import Chosen, Kept, resized
from advlook.study import Study
from advlook.study.code import code_digest

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
NETWORK = "network"  # the engine of photographs
_LARGE = 128  # pixels a side below which photographs are read at twice their size for the network
_COST = 200  # images that a model could be shown while the network redraws one


@dataclass(frozen=True)
class Stylized:
    """Test images before (contents) and after stylization (images), with their labels. styles: those drawn from; drawn:
    int64 `(N,)`, the place among them of each image's style; strength: as of `stylize`; scale: pixels a side of a style
    at the scale at which images show it."""

    images: ImageSet
    contents: ImageSet
    styles: Styles
    drawn: Tensor
    strength: float
    scale: int

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image's style."""
        return tuple(self.styles.names[place] for place in self.drawn.tolist())

    def pictures(self, chosen: Chosen = slice(None)) -> Tensor:
        """The styles of the chosen images, uint8 `(n, 3, h, w)`, at the scale at which images show them; made when
        asked for, as all would fill memory."""
        return resized(self.styles.images[self.drawn[chosen]], self.scale)

    def table(self) -> pd.DataFrame:
        """Which style each image got: image (its place in the set), label (name of its class), style, strength."""
        labels = [self.contents.classes[label] for label in self.contents.labels.tolist()]
        columns = {"image": range(len(labels)), "label": labels, "style": self.names, "strength": self.strength}
        return pd.DataFrame(columns)


def stylized_set(study: Study, strength: float = 1.0, chosen: Chosen | None = None) -> Stylized:
    """Test images in the styles of the preset, made where they are not in the cache. chosen: of `contents_of`; None for
    all at strengths 0 and 1, and for the first `stylization.partial_images` in between. An image has one style at every
    strength, whoever else is chosen. Raises RequestError where styles are missing or the strength is outside [0, 1]."""
    contents, styles = contents_of(study), study_styles(study)
    drawn = assign(len(contents), len(styles))
    if chosen is None:
        chosen = slice(None if strength in (0, 1) else study.preset.stylization.partial_images or None)
    made = _made(study, contents, styles.images, drawn, strength, chosen)
    contents = contents[chosen]
    images = ImageSet(made, contents.labels, contents.classes)
    # The network's styles are reduced as its images are; the other engine's are twice as large as images.
    scale = study.preset.data.size if study.preset.stylization.engine == NETWORK else styles.images.shape[-1]
    return Stylized(images, contents, styles, drawn[chosen], strength, scale)


@lru_cache(maxsize=1)
def contents_of(study: Study) -> ImageSet:
    """The test images that are stylized, one copy for all strengths; shuffled, so that the first are of every class."""
    return study.test[content_order(study)[: study.preset.stylization.images or None]]


def content_order(study: Study) -> Tensor:
    """The places of test images in the order in which they are stylized."""
    return torch.tensor(shuffled(len(study.test), seed=4))


def study_styles(study: Study) -> Styles:
    """The styles that the preset names: as the network reads them, or for the other engine twice as large as the
    images, so that their texture is finer than objects."""
    config, folder = study.preset.stylization, study.data / "datasets"
    size = STYLE if config.engine == NETWORK else 2 * study.preset.data.size
    return load_styles(config.styles, size, folder, cache=study.data / "cache" / "images", progress=study.progress)


def styles_digest(study: Study) -> str | None:
    """Hash of the files that `study_styles` reads, by names and sizes."""
    return fingerprint(study.preset.stylization.styles, study.data / "datasets")


@lru_cache(maxsize=1)
def large_contents(study: Study) -> Tensor:
    """The images of `contents_of` as the network gets them, uint8 `(N, 3, S, S)`: small ones are read from their files
    at twice the study's size. Raises RequestError for the embedded test-bed, which has no larger ones."""
    data = study.preset.data
    if data.name == "synthetic":
        raise RequestError(f'engine "{NETWORK}" needs photographs; for {data.name} write engine = "optimised"')
    if data.size >= _LARGE:
        return contents_of(study).images
    larger = replace(data, size=2 * data.size, test_store=2 * data.test_store)
    every = image_sets.load(larger, "test", study.data, study.progress)
    return every[content_order(study)[: study.preset.stylization.images or None]].images


def _made(study: Study, contents: ImageSet, styles: Tensor, drawn: Tensor, strength: float, chosen: Chosen) -> Tensor:
    """The chosen contents, each in the style drawn for it: uint8 `(N, 3, H, W)`, kept in chunks."""
    check_strength(strength)
    if strength == 0:
        return contents.images[chosen]
    # By the set: presets that show the same photographs at other sizes share what is made of them.
    config, folder = study.preset.stylization, study.data / "cache" / "stylized" / study.preset.data.name
    title = f"stylizing at {strength:g}"
    if config.engine == NETWORK:
        made_by = [code_digest(_redrawn), torch.__version__, strength]
        kept = Kept(_redrawn, {"strength": strength}, made_by, folder, _COST, title)
        return resized(kept.images(study, large_contents(study), styles, drawn, chosen), study.preset.data.size)
    made_by = [code_digest(stylize), torch.__version__, str(study.device), strength, config.steps]
    kept = Kept(stylize, {"strength": strength, "steps": config.steps}, made_by, folder, config.steps, title)
    return kept.images(study, contents.images, styles, drawn, chosen)


def _redrawn(images: Tensor, styles: Tensor, *, seeds: list[int], strength: float) -> Tensor:
    """`style_transfer`, in which nothing is drawn by a seed."""
    return style_transfer(images, styles, strength=strength)
