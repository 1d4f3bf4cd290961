"""Stylized test images and cue conflicts of a study, made once and kept in the cache."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.core import RequestError, digest, run_all, worker_count, write_atomically
from advlook.corruptions.adain import DECODER_STEPS, AdaIN, Encoder, train_decoder
from advlook.corruptions.stylization import check_strength, stylize
from advlook.data import ImageSet, test_bed, to_float
from advlook.data.layouts import shuffled
from advlook.data.styles import Styles, assign, fingerprint, load_styles
from advlook.study import Study
from advlook.study.code import code_digest

Chosen = slice | Tensor  # numbers of images
Progress = Callable[[int], object]  # is told how many images were made
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
CHUNK = 16  # images optimised together and kept in one file; what is made again is made in whole chunks


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


@dataclass(frozen=True)
class CueConflict:
    """Images with the shape of one class and the texture of another (Geirhos et al. 2019), labelled by shape. textures:
    int64 `(N,)`, the classes of the texture; contents, sources: what shape and texture were taken from, None if drawn
    together."""

    images: ImageSet
    textures: Tensor
    contents: ImageSet | None
    sources: ImageSet | None


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


def cue_conflict_set(study: Study, chosen: Chosen = slice(None)) -> CueConflict:
    """`stylization.cues` test images (or those chosen) with the texture of a test image of another class, made as in
    `stylized_set`. The embedded set brings its own, in which both cues are known exactly."""
    count, data = study.preset.stylization.cues, study.preset.data
    if data.name == "synthetic":
        drawn = test_bed.generate(count, data.size, seed=0, split="cue_conflict")
        images = ImageSet(drawn.images, drawn.shapes, test_bed.CLASSES)[chosen]
        return CueConflict(images, drawn.textures[chosen], None, None)
    shapes, textures = conflicting_pairs(study.test.labels, count)
    contents, sources = study.test[shapes], study.test[textures]
    made = _made(study, contents.images, sources.images, torch.arange(len(sources)), 1.0, chosen)
    contents, sources = contents[chosen], sources[chosen]
    return CueConflict(replace(contents, images=made), sources.labels, contents, sources)


def study_styles(study: Study) -> Styles:
    """The styles that the preset names, twice as large as its images, so that their texture is finer than objects."""
    names, size, folder = study.preset.stylization.styles, 2 * study.preset.data.size, study.data / "datasets"
    return load_styles(names, size, folder, cache=study.data / "cache" / "images", progress=study.progress)


def styles_digest(study: Study) -> str | None:
    """Hash of the files that `study_styles` reads, by names and sizes."""
    return fingerprint(study.preset.stylization.styles, study.data / "datasets")


def conflicting_pairs(labels: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Places of contents, none of them twice, and of textures of other classes, drawn by a seed: `(count,)` each, or as
    many as there are. Raises RequestError where all labels are the same."""
    if (labels == labels[0]).all():
        raise RequestError("cue conflicts need images of two classes or more, and there is one")
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randperm(len(labels), generator=generator)[:count]
    others = (labels != labels[shapes][:, None]).float()
    return shapes, torch.multinomial(others, 1, generator=generator)[:, 0]


def _made(study: Study, contents: Tensor, styles: Tensor, drawn: Tensor, strength: float, chosen: Chosen) -> Tensor:
    """`stylize` of the chosen uint8 contents, each in the style drawn for it: uint8 `(N, 3, H, W)`. A chunk of contents
    is kept in a file, and made whole even for one image of it, as the batch changes an image's rounding."""
    check_strength(strength)
    if strength == 0:
        return contents[chosen]
    config, everything = study.preset.stylization, torch.arange(len(contents))
    network = trained_adain(study, study_styles(study)) if config.engine == "adain" else None
    made_by = [code_digest(stylize), torch.__version__, str(study.device), strength, config.steps]
    made_by.append(network and network.digest())

    def arrays(chunk: Tensor) -> list[np.ndarray]:
        # As arrays: a tensor that goes to another process would drag its whole storage into shared memory.
        return [np.ascontiguousarray(part.numpy()) for part in (contents[chunk], styles[drawn[chunk]], chunk)]

    numbers, paths, missing = everything[chosen], {}, {}
    for place in (numbers // CHUNK).unique().tolist():
        chunk = everything[place * CHUNK : (place + 1) * CHUNK]
        key = digest([*made_by, *(hashlib.sha256(array).hexdigest() for array in arrays(chunk))])
        paths[place] = study.data / "cache" / "stylized" / study.preset.name / f"{key}.npy"
        if not paths[place].is_file():
            missing[paths[place]] = chunk
    if missing:
        total = sum(map(len, missing.values()))
        workers = worker_count(len(missing), study.device, total * config.steps)
        # Made as they are taken: the styles of all would not fit.
        options = {"strength": strength, "steps": config.steps, "network": network}
        jobs = ((path, arrays(chunk), options, study.device) for path, chunk in missing.items())
        run_all(_make, jobs, workers, title=f"stylizing at {strength:g}", total=total, progress=study.progress)
    made = torch.empty(len(numbers), *contents.shape[1:], dtype=torch.uint8)
    for place, path in paths.items():
        here = numbers // CHUNK == place
        made[here] = torch.from_numpy(np.load(path))[numbers[here] % CHUNK]
    return made


def _make(path: Path, arrays: list[np.ndarray], options: dict, device: torch.device, progressed: Progress) -> None:
    """Make and keep one chunk, by one thread, so that its bits do not depend on how many are made beside it."""
    images, styles = (to_float(torch.from_numpy(part).to(device)).contiguous() for part in arrays[:2])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = stylize(images, styles, seeds=arrays[2].tolist(), **options)
    finally:
        torch.set_num_threads(threads)
    pixels = found.mul(255).round_().to(torch.uint8).cpu().numpy()
    write_atomically(path, lambda partial: np.save(partial, pixels))
    progressed(len(images))


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
