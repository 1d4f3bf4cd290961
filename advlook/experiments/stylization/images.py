"""Stylized test images and cue conflicts of a study: which images, in which styles, made once and kept."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.core.files import digest, write_atomically
from advlook.core.processes import run_all, worker_count
from advlook.corruptions import stylization
from advlook.corruptions.adain import DECODER_STEPS, AdaIN, Encoder, train_decoder
from advlook.corruptions.stylization import check_strength, stylize
from advlook.data import test_bed
from advlook.data.image_sets import ImageSet, to_float
from advlook.data.layouts import shuffled
from advlook.data.styles import Styles, assign, fingerprint, load_styles
from advlook.study.study import Study

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CHUNK = 16  # images optimised together, and kept in one file
_ALONE = 10_000  # steps, over all images, for which no processes are started: that takes seconds


@dataclass(frozen=True)
class Stylized:
    """Test images before and after, in the same order.

    images, contents: `ImageSet`s with the contents' labels; styles: those that were drawn from; drawn: int64 `(N,)`,
    the place among them of each image's own; strength: as of `stylize`.
    """

    images: ImageSet
    contents: ImageSet
    styles: Styles
    drawn: Tensor
    strength: float

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image's style."""
        return tuple(self.styles.names[place] for place in self.drawn.tolist())

    def pictures(self, chosen: slice | Tensor = slice(None)) -> Tensor:
        """The styles of the chosen images, uint8 `(n, 3, h, w)`: not kept, for they are larger than all the rest."""
        return self.styles.images[self.drawn[chosen]]

    def table(self) -> pd.DataFrame:
        """Which style each image got: image (its place in the set), label (name of its class), style, strength."""
        labels = [self.contents.classes[label] for label in self.contents.labels.tolist()]
        return pd.DataFrame(
            {"image": range(len(labels)), "label": labels, "style": self.names, "strength": self.strength}
        )


@dataclass(frozen=True)
class CueConflict:
    """Images with the form of one class and the texture of another (Geirhos et al. 2019).

    images: labels are those of the form; textures: int64 `(N,)`, the classes of the texture; contents, sources: the
    images that form and texture were taken from, None where they were drawn together.
    """

    images: ImageSet
    textures: Tensor
    contents: ImageSet | None
    sources: ImageSet | None


def stylized_set(study: Study, strength: float = 1.0, count: int | None = None) -> Stylized:
    """Test images of a study in the styles of its preset, `count` of them, made where they are not in the cache.

    count: None for `stylization.images` at strengths 0 and 1 and `stylization.partial_images` in between. All
    strengths show the same images in the same order, each in one style drawn by seed, so that a smaller set is the
    beginning of a larger one. On the CPU every core works; what is finished is kept if the run is stopped.
    Raises RequestError where the styles are missing or the strength is outside [0, 1].
    """
    config = study.preset.stylization
    if count is None:
        count = config.images if strength in (0, 1) else config.partial_images
    contents = _contents(study, config.images)
    count = min(count or len(contents), len(contents))
    styles = study_styles(study)
    drawn = assign(len(contents), len(styles))
    whole = slice(math.ceil(count / _CHUNK) * _CHUNK)  # whole chunks: sets of different lengths share them
    made = _made(study, contents.images[whole], styles.images, drawn[whole], strength)
    contents, drawn = contents[:count], drawn[:count]
    images = ImageSet(made[:count], contents.labels, contents.classes)
    return Stylized(images, contents, styles, drawn, strength)


@lru_cache(maxsize=1)
def _contents(study: Study, count: int) -> ImageSet:
    """The test images that are stylized, one copy for all strengths; shuffled, so that the first are of every class."""
    return study.test[torch.tensor(shuffled(len(study.test), seed=4)[: count or None])]


def cue_conflict_set(study: Study) -> CueConflict:
    """`stylization.cues` test images with the texture of a test image of another class; made as in `stylized_set`.

    The embedded set brings its own, where the two cues are known exactly.
    """
    count, data = study.preset.stylization.cues, study.preset.data
    if data.name == "synthetic":
        drawn = test_bed.generate(count, data.size, seed=0, split="cue_conflict")
        return CueConflict(ImageSet(drawn.images, drawn.shapes, test_bed.CLASSES), drawn.textures, None, None)
    forms, textures = conflicting_pairs(study.test.labels, count)
    contents, sources = study.test[forms], study.test[textures]
    made = _made(study, contents.images, sources.images, torch.arange(len(sources)), 1.0)
    return CueConflict(ImageSet(made, contents.labels, contents.classes), sources.labels, contents, sources)


def study_styles(study: Study) -> Styles:
    """The styles that the preset names, twice as large as its images: their texture is finer than the objects."""
    return load_styles(
        study.preset.stylization.styles,
        2 * study.preset.data.size,
        study.data / "datasets",
        cache=study.data / "cache" / "images",
        progress=study.progress,
    )


def styles_digest(study: Study) -> str | None:
    """What `study_styles` depends on, by the files' names and sizes."""
    return fingerprint(study.preset.stylization.styles, study.data / "datasets")


def conflicting_pairs(labels: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Places `(count,)` of contents, none of them twice, and of textures of other classes, drawn by a seed.

    As many as there are where `count` is more. Raises RequestError where all labels are the same.
    """
    if (labels == labels[0]).all():
        raise RequestError("cue conflicts need images of two classes or more, and there is one")
    generator = torch.Generator().manual_seed(seed)
    forms = torch.randperm(len(labels), generator=generator)[:count]
    others = (labels != labels[forms][:, None]).float()
    return forms, torch.multinomial(others, 1, generator=generator)[:, 0]


def _made(study: Study, contents: Tensor, styles: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """uint8 `(N, 3, H, W)`: `stylize` of uint8 images, each in a style of that place, in chunks kept in a file each."""
    check_strength(strength)
    if strength == 0:
        return contents
    config = study.preset.stylization
    network = trained_adain(study, study_styles(study)) if config.engine == "adain" else None
    made_by = [_source(), torch.__version__, str(study.device), strength, config.steps, network and network.digest()]

    def arrays(chosen: Tensor) -> list[np.ndarray]:
        # As arrays: a tensor that goes to another process would drag its whole storage into shared memory.
        return [np.ascontiguousarray(part.numpy()) for part in (contents[chosen], styles[drawn[chosen]], chosen)]

    chunks = {}
    for chosen in torch.arange(len(contents)).split(_CHUNK):
        key = digest([*made_by, *(hashlib.sha256(array).hexdigest() for array in arrays(chosen))])
        chunks[study.data / "cache" / "stylized" / study.preset.name / f"{key}.npy"] = chosen
    missing = {path: chosen for path, chosen in chunks.items() if not path.is_file()}
    if missing:
        total = sum(map(len, missing.values()))
        workers = worker_count(len(missing), study.device) if total * config.steps > _ALONE else 1
        # Made as they are taken: the styles of all would not fit.
        jobs = ((path, *arrays(k), strength, config.steps, network, study.device) for path, k in missing.items())
        run_all(_make, jobs, workers, title=f"stylizing at {strength:g}", total=total, progress=study.progress)
    return torch.cat([torch.from_numpy(np.load(path)) for path in chunks])


def _make(
    path: Path,
    contents: np.ndarray,
    styles: np.ndarray,
    seeds: np.ndarray,
    strength: float,
    steps: int,
    network: AdaIN | None,
    device: torch.device,
    progressed: Callable[[int], object],
) -> None:
    """Make and keep one chunk; by one thread, so that its bits do not depend on how many chunks are made beside it."""
    images, pictures = (to_float(torch.from_numpy(part).to(device)).contiguous() for part in (contents, styles))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = stylize(images, pictures, strength=strength, steps=steps, seeds=seeds.tolist(), network=network)
    finally:
        torch.set_num_threads(threads)
    pixels = found.mul(255).round_().to(torch.uint8).cpu().numpy()
    write_atomically(path, lambda partial: np.save(partial, pixels))
    progressed(len(contents))


def _source() -> str:
    """Hash of the engine: another one makes other images."""
    return hashlib.sha256(Path(stylization.__file__).read_bytes()).hexdigest()[:16]


def trained_adain(study: Study, styles: Styles) -> AdaIN:
    """The network of a study: torchvision's encoder, and a decoder trained on its training images and styles.

    Raises RequestError where the encoder's weights cannot be downloaded.
    """
    data = study.preset.data
    encoder = Encoder()
    images = study.training_images
    if data.name == "synthetic":
        raise RequestError(f'engine "adain" needs stored photographs; for {data.name} write engine = "optimised"')
    made_by = [data.name, data.store, data.size, study.preset.stylization.styles, list(styles.names), DECODER_STEPS]
    path = study.data / "cache" / "adain" / f"decoder-{digest(made_by)}.pt"
    trained = train_decoder(
        encoder,
        images,
        styles,
        DECODER_STEPS,
        path,
        size=data.size - data.size % 8,
        device=study.device,
        progress=study.progress,
    )
    return AdaIN(encoder, trained).to(study.device)
