"""Whether images count as stylized: patches like the style's, edges like the content's, little told by small patches.
Raw patches and the patch classifier share nothing with what `stylize` optimises. Edges follow from the layout that it
keeps; they are measured because at full strength the style may still have covered them."""

import math
from dataclasses import replace
from itertools import chain, islice

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.core import RequestError, digest, tqdm
from advlook.corruptions.stylization import gram_distance
from advlook.data import ImageSet, to_float
from advlook.experiments.stylization.images import Stylized
from advlook.models.checkpoints import load_checkpoint, save_checkpoint
from advlook.sensitivity.edges import edges
from advlook.study import Study
from advlook.study.code import code_digest

PATCH = 5  # pixels a side of the patches that are compared
EDGE_SCALE = 1.5  # pixels: edges of shapes, not of strokes
RECEPTIVE_FIELD = 9  # pixels a side of the patch classifier
_PROJECTIONS = 64  # directions of the sliced distance
_PATCHES = 2**14  # per image, at most: all of up to 132 pixels a side
_QUANTILES = 256  # at which distributions are compared
_WIDTH = 64  # channels of the patch classifier
_STEPS = 40  # of its training, per class
_EPOCHS = 20  # at most
_BATCH = 64
_RATE = 0.01  # first learning rate; falls to 0 along a cosine
_WINDOW = 64  # pixels a side that it is trained on: with a receptive field of 9, larger images only cost time
_HELD = 2**22  # values of images that are measured at once


def patch_quantiles(images: Tensor) -> Tensor:
    """Quantiles `(N, 64, 256)` of the raw 5x5 patches of images `(N, 3, H, W)`, projected on 64 fixed random unit
    vectors; of a large image 16,384 random patches count."""
    directions = torch.randn(_PROJECTIONS, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(0))
    directions = F.normalize(directions.flatten(1), dim=1).view_as(directions).to(images)
    found = F.conv2d(images, directions).flatten(2)
    if found.shape[2] > _PATCHES:
        places = torch.randperm(found.shape[2], generator=torch.Generator().manual_seed(0))[:_PATCHES]
        found = found[..., places.to(images.device)]
    ordered = found.sort(2).values
    places = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES * ordered.shape[2]
    return ordered[..., places.long()]


def patch_distance(one: Tensor, other: Tensor) -> Tensor:
    """Sliced Wasserstein distance `(N,)` between the patches of images (Bonneel et al. 2015), of their quantiles. It
    compares whole distributions, where Gram matrices compare second moments."""
    return (one - other).square().mean((1, 2)).sqrt()


def edge_agreement(images: Tensor, others: Tensor) -> Tensor:
    """Correlation `(N,)` over pixels of the edge strengths (`edges`, sigma 1.5) of images `(N, 3, H, W)`; nan where
    there is no edge. Raises RequestError for different shapes."""
    if images.shape != others.shape:
        raise RequestError(f"images {tuple(images.shape)} and {tuple(others.shape)} must have the same shape")
    strengths = (edges(some, EDGE_SCALE).flatten(1).double() for some in (images, others))
    one, other = (strength - strength.mean(1, keepdim=True) for strength in strengths)
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))


class PatchClassifier(nn.Module):
    """Classifies by the mean, over all places, of logits that see 9x9 pixels each (after Brendel and Bethge 2019).
    `places(2 * images - 1)` are these logits, `(N, classes, h, w)`: place (i, j) sees the pixels from (4i, 4j) on."""

    def __init__(self, classes: int, width: int = _WIDTH) -> None:
        super().__init__()
        first, second = nn.Conv2d(3, width, 5, 2, bias=False), nn.Conv2d(width, 2 * width, 3, 2, bias=False)
        layers = first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(2 * width), nn.ReLU()
        self.places = nn.Sequential(*layers, nn.Conv2d(2 * width, classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)` in [0, 1], of at least 9 pixels a side."""
        seen = self.places[:-1](2 * images - 1)
        # The mean goes before the last, linear layer: for 1,000 classes the logits of all places would fill memory.
        return self.places[-1](seen.mean((2, 3), keepdim=True)).flatten(1)


def patch_classifier(study: Study) -> PatchClassifier:
    """The patch classifier of a study, in eval mode on its device; trained on its images, kept in the cache."""
    data, code = study.preset.data, code_digest(patch_classifier)
    key = digest([code, data.name, data.size, data.store, data.crop_scale, data.train_images, torch.__version__])
    path = study.data / "cache" / "patches" / study.preset.name / f"classifier-{key}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PatchClassifier(data.classes).to(study.device)
    if not path.is_file():
        save_checkpoint(path, _fit(model, study), {"trained on": data.name})
    return load_checkpoint(path, model)


def _fit(model: PatchClassifier, study: Study) -> PatchClassifier:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=1e-2)
    images, data = study.training_images, study.preset.data
    an_epoch = min(len(images), data.train_images or len(images))
    batch_size = min(_BATCH, an_epoch)
    steps = min(_STEPS * data.classes, _EPOCHS * (an_epoch // batch_size))
    if isinstance(images, ImageSet):
        images = replace(images, clipped=True)  # the committed tables rest on classifiers trained on such crops
    epochs = (images.training_batches(data, batch_size, generator, study.device) for _ in range(steps))
    batches = islice(chain.from_iterable(epochs), steps)
    bar = tqdm(batches, "patch classifier", steps, unit=" steps", disable=not study.progress, leave=False)
    for step, (batch, labels) in enumerate(bar):
        optimizer.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / steps)) / 2
        loss = F.cross_entropy(model(_window(batch, generator)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _window(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random window of at most `_WINDOW` pixels a side, the same one for all images of a batch."""
    room = [max(1, length - _WINDOW + 1) for length in images.shape[2:]]
    if room == [1, 1]:
        return images
    top, left = (int(torch.randint(many, (), generator=generator)) for many in room)
    return images[:, :, top : top + _WINDOW, left : left + _WINDOW]


def checks(study: Study, made: Stylized) -> pd.DataFrame:
    """All measurements, one row an image, behind the columns of `Stylized.table`: patches_... of `patch_distance`
    (before: content to style); edges_... of `edge_agreement` (the style reduced to the image's size); gram_... to the
    style; patch_right_...: whether the patch classifier names the content's class."""
    model, table = patch_classifier(study), made.table()
    batches = torch.arange(len(table)).split(max(1, _HELD // made.styles.images[0].numel()))
    found = []
    for chosen in tqdm(batches, "checking", unit=" batches", disable=not study.progress, leave=False):
        shown = made.images.images[chosen], made.contents.images[chosen], made.pictures(chosen)
        parts = [to_float(some.to(study.device)) for some in shown]
        found.append(pd.DataFrame(_checked(model, *parts, made.contents.labels[chosen].to(study.device))))
    return pd.concat([table, pd.concat(found, ignore_index=True)], axis=1)


@torch.no_grad()
def _checked(model: nn.Module, images: Tensor, contents: Tensor, styles: Tensor, labels: Tensor) -> dict[str, list]:
    reduced = F.interpolate(styles, images.shape[2:], mode="bilinear", antialias=True)
    patches, before, wanted = map(patch_quantiles, (images, contents, styles))
    columns = {
        "patches_to_style": patch_distance(patches, wanted),
        "patches_to_content": patch_distance(patches, before),
        "patches_before": patch_distance(before, wanted),
        "edges_content": edge_agreement(images, contents),
        "edges_style": edge_agreement(images, reduced),
        "gram_before": gram_distance(contents, styles),
        "gram_after": gram_distance(images, styles),
        "patch_right_before": model(contents).argmax(1) == labels,
        "patch_right": model(images).argmax(1) == labels,
    }
    return {name: values.tolist() for name, values in columns.items()}
