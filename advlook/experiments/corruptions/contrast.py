"""Is it the contrast? Blur removes fine structure and, with it, contrast, which costs ADV models more than STD models.

`04_contrast`: accuracy over the sigma of a Gaussian blur, with the blur alone, with the contrast restored after it, and
with the contrast lowered as much without a blur. Contrast is the standard deviation of an image's values."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import evaluating
from advlook.corruptions import gaussian_blur, match_contrast
from advlook.experiments.corruptions.measure import swept_images
from advlook.models.evaluation import as_classifier
from advlook.stats import interval, pooled, right_of
from advlook.study import ModelKey, Row, Study

PLAIN, BLURRED = "as they are", "blurred"
RESTORED, LOWERED = "blurred, contrast restored", "contrast lowered as much"
CHANGES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {  # of an image and the same image blurred
    PLAIN: lambda images, blurred: images,
    BLURRED: lambda images, blurred: blurred,
    RESTORED: lambda images, blurred: match_contrast(blurred, images),
    LOWERED: lambda images, blurred: match_contrast(images, blurred),
}
ORDER = tuple(CHANGES)
_COLUMNS = ["arch", "change", "sigma", "setting", "seed", "effect", "low", "high", "images"]


@torch.no_grad()
def contrast_rows(study: Study, key: ModelKey, only: str = "", chosen: slice | Tensor = slice(None)) -> Iterator[Row]:
    """Accuracy after each of CHANGES, or one of them, at every sigma of the preset, on the first
    `corruptions.family_images` images of the sweeps, or those chosen of them."""
    config, found = study.preset.corruptions, defaultdict(list)
    images = swept_images(study, config.family_images)[chosen]
    with evaluating(as_classifier(study.model(*key))) as model:
        for shown, labels in images.batches(**study.batches):
            for sigma in config.sigmas:
                blurred = gaussian_blur(shown, sigma, config.blur_kernel)
                for name, change in CHANGES.items():
                    if only in ("", name):
                        found[name, sigma].append((model(change(shown, blurred)).argmax(1) == labels).cpu())
    for (name, sigma), parts in found.items():
        right = torch.cat(parts)
        yield {"change": name, "sigma": sigma, "top1": percent(right), "images": len(right), "right": right.numpy()}


def contrast_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Measure every model; save and return `04_contrast` and `04_contrast_effects`."""
    rows = study.measure("04_contrast", contrast_rows)
    return {"04_contrast": rows, "04_contrast_effects": study.save_table("04_contrast_effects", effects(rows))}


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """In points of accuracy with their 95% intervals over images, by arch, change, sigma, setting and seed ("all"
    averages them image by image): what restoring the contrast gives to blurred images (RESTORED), and what lowering it
    takes from images as they are (LOWERED, below 0). rows: of `contrast_rows`."""
    found = []
    for (arch, sigma), of_level in rows.groupby(["arch", "sigma"], sort=False):
        for seed, by_setting in pooled(of_level, lambda run: right_of(run.set_index("change").loc[list(ORDER)]).T):
            for setting, right in by_setting.items():
                plain, blurred, restored, lowered = right.T
                for change, gained in ((RESTORED, restored - blurred), (LOWERED, lowered - plain)):
                    effect = map(float, interval(100 * gained))
                    found.append((arch, change, sigma, setting, seed, *effect, len(right)))
    return pd.DataFrame(found, columns=_COLUMNS)
