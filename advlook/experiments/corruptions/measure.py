"""What notebook 04 measures: accuracy as detail or colour is taken away, and where ADV overtakes STD.

Accuracies are in percent, differences (ADV - STD) in points. A sweep starts at level 0, the images as they are. Levels
are the sigma of the blur in pixels, the passes of the median filter, and 1 for reversed colours.

Every sweep remembers which images were right, so that models are compared image by image (`intervals`). Tables:
`04_corruptions`, a row a model, operation and level; `04_differences` and `04_crossings`, of the models of a seed, and
of "all" seeds, where what they answer is averaged image by image; `04_families`, those of `families`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from advlook.attacks.suite import percent
from advlook.core.gradients import evaluating
from advlook.core.presets import CorruptionsConfig
from advlook.core.progress import tqdm
from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors
from advlook.corruptions.severities import FAMILIES
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import folded
from advlook.stats.bootstrap import interval
from advlook.stats.paired import pack, pooled, relative_difference, right_of
from advlook.study.study import Row, Study

Sweep = Iterable[tuple[float, Tensor]]  # levels and images, each made when it is asked for

COLUMNS = ["arch", "setting", "seed", "operation", "level", "top1", "top5", "images"]
REVERSAL = "reversal"


# Operations --------------------------------------------------------------------------------------------------------


def sweeps(images: Tensor, config: CorruptionsConfig) -> dict[str, Sweep]:
    """The sweeps of the preset by operation: "blur", "median" (others than 3x3 as "median 5x5"), "reversal".

    images: float `(N, 3, H, W)` in [0, 1]; level 0 gives them back. The passes of a median filter go on from those of
    the level before, so that a sweep costs as many as its last level has.
    """
    named = {"median" if size == 3 else f"median {size}x{size}": size for size in config.median_kernels}
    return {
        "blur": ((sigma, gaussian_blur(images, sigma, config.blur_kernel)) for sigma in (0.0, *config.sigmas)),
        **{operation: _filtered(images, config.passes, size) for operation, size in named.items()},
        REVERSAL: [(0.0, images), (1.0, reverse_colors(images))],
    }


def _filtered(images: Tensor, passes: Iterable[int], kernel_size: int) -> Iterator[tuple[float, Tensor]]:
    done = 0
    for level in (0, *passes):
        images, done = median_filter(images, level - done, kernel_size), level
        yield level, images


# Measurements ------------------------------------------------------------------------------------------------------


def sample(study: Study, count: int | None = None) -> ImageSet:
    """The test images of every sweep: `corruptions.images` of them, or the first `count`, drawn by one seed."""
    return study.test.subset(study.preset.corruptions.images if count is None else count, seed=2)


def shown(study: Study, count: int) -> dict[str, dict[float, Tensor]]:
    """By operation, by level, what is made of `count` test images of a fixed draw: `(count, 3, H, W)`, on the CPU."""
    images, _ = next(study.test.subset(count, seed=3).batches(count))
    return {operation: dict(sweep) for operation, sweep in sweeps(images, study.preset.corruptions).items()}


def shown_families(study: Study) -> dict[str, dict[int, Tensor]]:
    """By corruption, by severity, what is made of one test image of a fixed draw: `(1, 3, H, W)`, on the CPU."""
    images, _ = next(study.test.subset(1, seed=3).batches(1))
    generator = torch.Generator().manual_seed(0)
    return {title: dict(corruption.sweep(images, generator)) for title, corruption in FAMILIES.items()}


def sweep_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy at every level of every operation; "right" says of which images, packed (see `paired.right_of`)."""
    config = study.preset.corruptions
    for (operation, level), hits in _hits(study, model, sample(study), lambda images: sweeps(images, config)).items():
        right = {"images": len(hits), "right": pack(hits[:, 0])}
        yield {"operation": operation, "level": level, **_accuracies(hits), **right}


def family_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy at severity 0 to 5 of every one of FAMILIES, on the first `corruptions.family_images` of the images."""
    chosen = sample(study, study.preset.corruptions.family_images)
    generator = torch.Generator(study.device).manual_seed(0)  # so that all models see the same noise

    def severities(images: Tensor) -> dict[str, Sweep]:
        return {title: corruption.sweep(images, generator) for title, corruption in FAMILIES.items()}

    for (title, severity), hits in _hits(study, model, chosen, severities).items():
        yield {
            "family": FAMILIES[title].family,
            "corruption": title,
            "severity": severity,
            **_accuracies(hits),
            "images": len(hits),
        }


@torch.no_grad()
def _hits(
    study: Study, model: nn.Module, shown: ImageSet, operations: Callable[[Tensor], dict[str, Sweep]]
) -> dict[tuple[str, float], Tensor]:
    """By operation and level, whether each of the best k answers is the label: bool `(N, k)`, on the CPU.

    k is `evaluation.top_k`, at most the number of classes. What a level leaves as it is is answered once.
    """
    config, found = study.preset.evaluation, defaultdict(list)
    batches = shown.batches(config.batch_size, study.device)
    count = -(-len(shown) // config.batch_size)
    # At position 0, over the bar of the models: to move between lines leaves marks in an executed notebook.
    quiet = {"disable": not study.progress, "leave": False, "position": 0}
    title = "{} {} {}".format(*study.identify(model))
    with evaluating(folded(model)) as fast:

        def hits(images: Tensor, labels: Tensor) -> Tensor:
            logits = fast(images)
            best = logits.topk(min(config.top_k, logits.shape[1]), dim=1).indices
            return (best == labels[:, None]).cpu()

        for images, labels in tqdm(batches, title, total=count, unit=" batches", **quiet):
            clean = hits(images, labels)
            for operation, sweep in operations(images).items():
                for level, changed in sweep:
                    found[operation, level].append(clean if changed is images else hits(changed, labels))
    return {key: torch.cat(parts) for key, parts in found.items()}


def _accuracies(hits: Tensor) -> dict[str, float]:
    return {"top1": percent(hits[:, 0]), "top5": percent(hits.any(1))}


# Tables ------------------------------------------------------------------------------------------------------------


def corruption_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measure every sweep on every model; save and return `04_corruptions`, `04_differences` and `04_crossings`.

    `04_sweeps` is saved as well: the rows of `sweep_rows`, with which images were right.
    """
    rows = study.save_table("04_sweeps", study.rows("04_sweeps", sweep_rows))
    tables = {"04_corruptions": rows[COLUMNS], "04_differences": differences(rows), "04_crossings": crossings(rows)}
    corrupted, differing, crossing = (study.save_table(name, table) for name, table in tables.items())
    return corrupted, differing, crossing


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """The table `04_corruptions` with top1 and top5 in percent of the model's own at level 0 (nan where that is 0).

    A model that is right less often has less to lose: what is left of an accuracy is what tells of fragility.
    """
    accuracies = ["top1", "top5"]
    sweeps = table.sort_values("level").groupby(["arch", "setting", "seed", "operation"])[accuracies]
    own = sweeps.transform("first").replace(0, np.nan)
    return table.assign(**(100 * table[accuracies] / own))


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in top-1 at every level, with the 95% interval over images: arch, operation, seed, measure, level, ...

    measure: "accuracy", or "relative", where each accuracy is taken in percent of its own at level 0.
    rows: of `sweep_rows`.
    """
    found = []
    for key, levels, std, adv in _pairs(rows):
        measured = {
            "accuracy": interval(100 * (adv - std)),
            "relative": interval(np.concatenate([std, adv], axis=1), relative_difference),
        }
        for measure, (effect, low, high) in measured.items():
            for place, level in enumerate(levels):
                found.append((*key, measure, level, effect[place], low[place], high[place], len(std)))
    columns = ["arch", "operation", "seed", "measure", "level", "difference", "low", "high", "images"]
    return pd.DataFrame(found, columns=columns)


def crossings(rows: pd.DataFrame) -> pd.DataFrame:
    """Where ADV overtakes STD in top-1 on the way up the levels, with the 95% interval over images.

    level: see `overtaken_at`; infinite where it never does, as is `high` where it does not in 2.5% of the resamples.
    rows: of `sweep_rows`.
    """
    found = [
        (*key, *map(float, interval(adv - std, partial(overtaken_at, levels))), len(std))
        for key, levels, std, adv in _pairs(rows[rows["operation"] != REVERSAL])
    ]
    return pd.DataFrame(found, columns=["arch", "operation", "seed", "level", "low", "high", "images"])


def overtaken_at(levels: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """The first level at which a difference `(..., levels)` is above 0, between two levels by a straight line: `(...)`.

    The lowest level where it is above 0 from the start, infinity where it never is.
    """
    above = difference > 0
    after = above.argmax(-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(difference, place[..., None], -1)[..., 0] for place in (before, after))
    share = np.where(after > 0, -low / np.where(high > low, high - low, 1), 0)
    found = levels[before] + share * (levels[after] - levels[before])
    return np.where(above.any(-1), found, np.inf)


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray]]:
    """Of every arch and operation, for "all" seeds and, where there are several, each: `(arch, operation, seed)`, the
    levels, and how often STD and ADV are right about each image at each level, both `(images, levels)`.
    """
    for (arch, operation), chosen in rows.groupby(["arch", "operation"], sort=False):
        levels = np.sort(chosen["level"].unique())
        for seed, shares in pooled(chosen, lambda run: right_of(run.sort_values("level")).T):
            yield (arch, operation, seed), levels, shares["std"], shares["adv"]
