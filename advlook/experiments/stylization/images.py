"""Stylized test images of a study, made once and kept in the cache."""

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

from advlook.core import RequestError, digest
from advlook.corruptions.adain import DECODER_STEPS, AdaIN, Encoder, train_decoder
from advlook.corruptions.stylization import check_strength, stylize
from advlook.data import ImageSet
from advlook.data.layouts import shuffled
from advlook.data.styles import Styles, assign, fingerprint, load_styles
from advlook.experiments.stylization.chunks import Chosen, Kept
from advlook.study import Study
from advlook.study.code import code_digest

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Stylized:
    """Test images before (contents) and after stylization (images), with their labels. styles: those drawn from; drawn:
    int64 `(N,)`, the place among them of each image's style; strength: as of `stylize`."""

    images: ImageSet
    contents: ImageSet
    styles: Styles
    drawn: Tensor
    strength: float

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image's style."""
        return tuple(self.styles.names[place] for place in self.drawn.tolist())

    def pictures(self, chosen: Chosen = slice(None)) -> Tensor:
        """The styles of the chosen images, uint8 `(n, 3, h, w)`; copied when asked for, as all would fill memory."""
        return self.styles.images[self.drawn[chosen]]

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
    made = _made(study, contents.images, styles.images, drawn, strength, chosen)
    contents = contents[chosen]
    return Stylized(ImageSet(made, contents.labels, contents.classes), contents, styles, drawn[chosen], strength)


@lru_cache(maxsize=1)
def contents_of(study: Study) -> ImageSet:
    """The test images that are stylized, one copy for all strengths; shuffled, so that the first are of every class."""
    return study.test[torch.tensor(shuffled(len(study.test), seed=4)[: study.preset.stylization.images or None])]


def study_styles(study: Study) -> Styles:
    """The styles that the preset names, twice as large as its images, so that their texture is finer than objects."""
    names, size, folder = study.preset.stylization.styles, 2 * study.preset.data.size, study.data / "datasets"
    return load_styles(names, size, folder, cache=study.data / "cache" / "images", progress=study.progress)


def styles_digest(study: Study) -> str | None:
    """Hash of the files that `study_styles` reads, by names and sizes."""
    return fingerprint(study.preset.stylization.styles, study.data / "datasets")


def _made(study: Study, contents: Tensor, styles: Tensor, drawn: Tensor, strength: float, chosen: Chosen) -> Tensor:
    """`stylize` of the chosen uint8 contents, each in the style drawn for it: uint8 `(N, 3, H, W)`, kept in chunks."""
    check_strength(strength)
    if strength == 0:
        return contents[chosen]
    config = study.preset.stylization
    network = trained_adain(study, study_styles(study)) if config.engine == "adain" else None
    made_by = [code_digest(stylize), torch.__version__, str(study.device), strength, config.steps]
    made_by.append(network and network.digest())
    folder = study.data / "cache" / "stylized" / study.preset.name
    options = {"strength": strength, "steps": config.steps, "network": network}
    kept = Kept(stylize, options, made_by, folder, config.steps, f"stylizing at {strength:g}")
    return kept.images(study, contents, styles, drawn, chosen)


def trained_adain(study: Study, styles: Styles) -> AdaIN:
    """torchvision's encoder (RequestError without a download), and a decoder trained on the study's images."""
    data, encoder, images = study.preset.data, Encoder(), study.training_images
    if data.name == "synthetic":
        raise RequestError(f'engine "adain" needs stored photographs; for {data.name} write engine = "optimised"')
    made_by = [data.name, data.store, data.size, study.preset.stylization.styles, list(styles.names), DECODER_STEPS]
    path = study.data / "cache" / "adain" / f"decoder-{digest(made_by)}.pt"
    where = {"size": data.size - data.size % 8, "device": study.device, "progress": study.progress}
    trained = train_decoder(encoder, images, styles, DECODER_STEPS, path, **where)
    return AdaIN(encoder, trained).to(study.device)
