"""Whether images count as stylized: patches moved to the style's, edges stayed the content's, and patches tell little.

Raw patches and the patch classifier have nothing in common with what `stylization` optimises. Edges follow from the
layout that it keeps; they are measured because at full strength the style might still have covered them.
"""

import hashlib
import math
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.checkpoints import load_checkpoint, save_checkpoint
from advlook.config import digest
from advlook.datasets import to_float
from advlook.errors import RequestError
from advlook.evaluation import predict
from advlook.progress import tqdm
from advlook.scale import edges
from advlook.study import Study
from advlook.stylization import Stylized, gram_distance

PATCH = 5  # pixels a side of the patches that are compared
EDGE_SCALE = 1.5  # pixels: edges of forms, not of strokes
RECEPTIVE_FIELD = 9  # pixels a side that decide over one place of the patch classifier
_PROJECTIONS = 64  # directions of the sliced distance
_QUANTILES = 256  # at which distributions are compared
_WIDTH = 64  # channels of the patch classifier
_STEPS = 400  # of its training
_BATCH = 64


def patch_distance(images: Tensor, others: Tensor) -> Tensor:
    """Sliced Wasserstein distance `(N,)` between the raw 5x5 patches of each image and of its partner.

    images, others: float `(N, 3, H, W)` and `(N, 3, h, w)` in [0, 1], whose sizes may differ. All patches are projected
    on 64 fixed random directions of length 1 in the 75 numbers of a patch; the distance is the root of the mean, over
    directions and quantiles, of the squared differences of the sorted projections (Bonneel et al. 2015). It counts
    the whole distributions, where Gram matrices count second moments. Raises RequestError for different N.
    """
    if len(images) != len(others):
        raise RequestError(f"{len(others)} images cannot be compared with {len(images)}; give one for each")
    directions = torch.randn(_PROJECTIONS, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(0))
    directions = F.normalize(directions.flatten(1), dim=1).view_as(directions).to(images)

    def quantiles(some: Tensor) -> Tensor:
        ordered = F.conv2d(some, directions).flatten(2).sort(2).values
        places = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES * ordered.shape[2]
        return ordered[..., places.long()]

    pairs = zip(images.split(_BATCH), others.split(_BATCH), strict=True)
    return torch.cat([(quantiles(a) - quantiles(b)).square().mean((1, 2)).sqrt() for a, b in pairs])


def edge_agreement(images: Tensor, others: Tensor) -> Tensor:
    """Correlation `(N,)` over pixels of the edge strengths of blurred luminance (`scale.edges`, sigma 1.5).

    images, others: float `(N, 3, H, W)`, of one shape. nan where there is no edge. Raises RequestError for different
    shapes.
    """
    if images.shape != others.shape:
        raise RequestError(f"images {tuple(images.shape)} and {tuple(others.shape)} must have the same shape")
    strengths = (edges(some, EDGE_SCALE).flatten(1).double() for some in (images, others))
    one, other = (strength - strength.mean(1, keepdim=True) for strength in strengths)
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))


class PatchClassifier(nn.Module):
    """Classifies by the mean over all places of what patches of 9x9 pixels say (after Brendel and Bethge 2019).

    A form larger than that it cannot see. Takes images in [0, 1], returns logits, as every model does.
    """

    def __init__(self, classes: int, width: int = _WIDTH) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, classes, 1),
        )

    def evidence(self, images: Tensor) -> Tensor:
        """Logits of every place, `(N, classes, h, w)`; place (i, j) sees the 9x9 pixels from (4 i, 4 j) on."""
        return self.places(2 * images - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)` in [0, 1], of at least 9 pixels a side."""
        return self.evidence(images).mean((2, 3))


def patch_classifier(study: Study) -> PatchClassifier:
    """The patch classifier of a study, trained by Adam on its training images and then kept in the cache.

    Less than a minute on an idle core at 64 px. In eval mode, on the study's device.
    """
    data = study.preset.data
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    key = digest([source, data.name, data.size, data.store, data.crop_scale, data.train_images, torch.__version__])
    path = study.data / "cache" / "patches" / study.preset.name / f"classifier-{key}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PatchClassifier(data.classes).to(study.device)
    if not path.is_file():
        save_checkpoint(path, _fit(model, study), {"trained on": data.name, "steps": _STEPS})
    return load_checkpoint(path, model)


def _fit(model: PatchClassifier, study: Study) -> PatchClassifier:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=1e-2)
    images, step = study.training_images, 0
    with tqdm(total=_STEPS, desc="patch classifier", disable=not study.progress, leave=False) as bar:
        while step < _STEPS:
            for batch, labels in images.training_batches(study.preset.data, _BATCH, generator, study.device):
                optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * step / _STEPS)) / 2
                loss = F.cross_entropy(model(batch), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                bar.update()
                if step == _STEPS:
                    break
    return model.eval()


def checks(study: Study, made: Stylized) -> pd.DataFrame:
    """The three measurements, one row an image.

    Columns: image, label, style and strength as of `Stylized.table`; patches_to_style, patches_to_content and
    patches_before (content to style), as of `patch_distance`; edges_content, edges_style (the style reduced to the
    image's size), as of `edge_agreement`; gram_before, gram_after (content and image to style); patch_right_before and
    patch_right, whether the patch classifier names the content's class.
    """
    images, contents, styles = (to_float(some) for some in (made.images.images, made.contents.images, made.styles))
    reduced = F.interpolate(styles, images.shape[2:], mode="bilinear", antialias=True)
    model, labels = patch_classifier(study), made.contents.labels
    right = [predict(model, some, device=study.device).argmax(1) == labels for some in (made.contents, made.images)]
    columns = {
        "patches_to_style": patch_distance(images, styles),
        "patches_to_content": patch_distance(images, contents),
        "patches_before": patch_distance(contents, styles),
        "edges_content": edge_agreement(images, contents),
        "edges_style": edge_agreement(images, reduced),
        "gram_before": gram_distance(contents, styles),
        "gram_after": gram_distance(images, styles),
        "patch_right_before": right[0],
        "patch_right": right[1],
    }
    return made.table().assign(**{name: values.tolist() for name, values in columns.items()})
