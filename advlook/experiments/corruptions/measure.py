"""What notebook 04 measures: accuracy as detail or colour is taken away, and where ADV overtakes STD.

Accuracies are in percent, differences (ADV - STD) in points. Every sweep starts at level 0, the images as they are.
Levels are the sigma of the blur in pixels, the passes of the median filter, and 1 for reversed colours. The answers
image by image are in `04_sweeps`; "all" seeds are averaged image by image."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import evaluating, tqdm
from advlook.core.presets import CorruptionsConfig
from advlook.corruptions import gaussian_blur, median_filter, reverse_colors
from advlook.corruptions.severities import FAMILIES
from advlook.data import ImageSet
from advlook.models.evaluation import as_classifier
from advlook.stats import interval, pooled, right_of
from advlook.stats.crossing import overtaken_at
from advlook.stats.paired import relative_difference
from advlook.study import ModelKey, Row, Study

Sweep = Iterable[tuple[float, Tensor]]  # levels and images, each made when it is asked for
Operations = Callable[[Tensor], Mapping[str, Sweep]]  # from a batch of images, by name
Hits = dict[tuple[str, float], Tensor]  # by operation and level

COLUMNS = ["arch", "setting", "seed", "operation", "level", "top1", "top5", "images"]
REVERSAL = "reversal"


def sweeps(images: Tensor, config: CorruptionsConfig) -> dict[str, Sweep]:
    """The sweeps of a preset by operation: "blur", "blur 3x3" (cut to 3 pixels, as a fixed kernel cuts it), "median"
    (5x5: "median 5x5"), "reversal". images: float `(N, 3, H, W)` in [0, 1]; level 0 gives them back. A median continues
    from the level before."""
    named = {"median" if size == 3 else f"median {size}x{size}": size for size in config.median_kernels}
    return {
        "blur": ((sigma, gaussian_blur(images, sigma, config.blur_kernel)) for sigma in (0.0, *config.sigmas)),
        "blur 3x3": ((sigma, gaussian_blur(images, sigma, 3)) for sigma in (0.0, *config.sigmas)),
        **{operation: _filtered(images, config.passes, size) for operation, size in named.items()},
        REVERSAL: [(0.0, images), (1.0, reverse_colors(images))],
    }


def _filtered(images: Tensor, passes: Iterable[int], kernel_size: int) -> Iterator[tuple[float, Tensor]]:
    done = 0
    for level in (0, *passes):
        images, done = median_filter(images, level - done, kernel_size), level
        yield level, images


def _severities(images: Tensor, generator: torch.Generator) -> dict[str, Sweep]:
    return {title: corruption.sweep(images, generator) for title, corruption in FAMILIES.items()}


def swept_images(study: Study, count: int | None = None) -> ImageSet:
    """The test images of every sweep: `corruptions.images` of them, or the first `count`, drawn by one seed."""
    return study.test.subset(study.preset.corruptions.images if count is None else count, seed=2)


def shown(study: Study, count: int) -> dict[str, dict[float, Tensor]]:
    """By operation and level, `count` test images of a fixed draw: `(count, 3, H, W)`, on the CPU."""
    images, _ = next(study.test.subset(count, seed=3).batches(count))
    return {operation: dict(sweep) for operation, sweep in sweeps(images, study.preset.corruptions).items()}


def shown_families(study: Study) -> dict[str, dict[int, Tensor]]:
    """By corruption and severity, one test image of a fixed draw: `(1, 3, H, W)`, on the CPU."""
    images, _ = next(study.test.subset(1, seed=3).batches(1))
    return {title: dict(sweep) for title, sweep in _severities(images, torch.Generator().manual_seed(0)).items()}


def sweep_rows(study: Study, key: ModelKey, only: str = "", chosen: slice | Tensor = slice(None)) -> Iterator[Row]:
    """Accuracy at every level of every operation, or of one, on all of `swept_images`, or on those chosen."""
    operations = partial(sweeps, config=study.preset.corruptions)
    for (operation, level), hits in _hits(study, key, swept_images(study)[chosen], operations, only).items():
        yield {"operation": operation, "level": level, **_accuracies(hits), "right": hits[:, 0].numpy()}


def family_rows(study: Study, key: ModelKey, only: str = "") -> Iterator[Row]:
    """Accuracy at severity 0 to 5 of each of FAMILIES, or of one, on the first `corruptions.family_images` images."""
    images = swept_images(study, study.preset.corruptions.family_images)
    generator = torch.Generator(study.device).manual_seed(0)  # so that all models see the same noise
    severities = partial(_severities, generator=generator)
    for (title, severity), hits in _hits(study, key, images, severities, only).items():
        which = {"family": FAMILIES[title].family, "corruption": title, "severity": severity}
        yield which | _accuracies(hits)


@torch.no_grad()
def _hits(study: Study, key: ModelKey, images: ImageSet, operations: Operations, only: str) -> Hits:
    """By operation and level, whether each of the best `evaluation.top_k` answers is the label: bool `(N, k)`, on the
    CPU. Images that a level leaves unchanged are answered once."""
    most, found = study.preset.evaluation.top_k, defaultdict(list)
    # At position 0, over the bar of the models: moving between lines leaves marks in an executed notebook.
    quiet = {"disable": not study.progress, "leave": False, "position": 0, "unit": " batches"}
    count = -(-len(images) // study.preset.evaluation.batch_size)
    with evaluating(as_classifier(study.model(*key))) as fast:

        def hits(shown: Tensor, labels: Tensor) -> Tensor:
            logits = fast(shown)
            best = logits.topk(min(most, logits.shape[1]), dim=1).indices
            return (best == labels[:, None]).cpu()

        for batch, labels in tqdm(images.batches(**study.batches), "{} {} {}".format(*key), count, **quiet):
            clean = hits(batch, labels)
            for operation, sweep in operations(batch).items():
                for level, changed in sweep if only in ("", operation) else ():
                    found[operation, level].append(clean if changed is batch else hits(changed, labels))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _accuracies(hits: Tensor) -> dict[str, float]:
    return {"top1": percent(hits[:, 0]), "top5": percent(hits.any(1)), "images": len(hits)}


def corruption_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measure every model; save all tables and return `04_corruptions`, `04_differences` and `04_crossings`."""
    rows = study.save_table("04_sweeps", study.rows("04_sweeps", sweep_rows))
    return tuple(study.save_table(name, table) for name, table in derived_tables(rows).items())


def derived_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables that follow from `04_sweeps`."""
    return {"04_corruptions": rows[COLUMNS], "04_differences": differences(rows), "04_crossings": crossings(rows)}


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """The table `04_corruptions` with top1 and top5 in percent of the model's own at level 0 (nan where that is 0)."""
    accuracies = ["top1", "top5"]
    curves = table.sort_values("level").groupby(["arch", "setting", "seed", "operation"])[accuracies]
    own = curves.transform("first").replace(0, np.nan)
    return table.assign(**(100 * table[accuracies] / own))


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in top-1 with its 95% interval over images, by arch, operation, seed, measure and level. measure:
    "accuracy", or "relative", with each accuracy in percent of its own at level 0. rows: of `sweep_rows`."""
    found = []
    for key, levels, std, adv in _pairs(rows):
        relative = interval(np.concatenate([std, adv], axis=1), relative_difference)
        for measure, effects in (("accuracy", interval(100 * (adv - std))), ("relative", relative)):
            found += [(*key, measure, *effect, len(std)) for effect in zip(levels, *effects, strict=True)]
    columns = ["arch", "operation", "seed", "measure", "level", "difference", "low", "high", "images"]
    return pd.DataFrame(found, columns=columns)


def crossings(rows: pd.DataFrame) -> pd.DataFrame:
    """The level at which ADV overtakes STD in top-1 (`overtaken_at`), with its 95% interval over images; infinite where
    it never does, `high` where it does not in 2.5% of the resamples. rows: of `sweep_rows`."""
    found = []
    for key, levels, std, adv in _pairs(rows[rows["operation"] != REVERSAL]):
        found.append((*key, *map(float, interval(adv - std, partial(overtaken_at, levels))), len(std)))
    return pd.DataFrame(found, columns=["arch", "operation", "seed", "level", "low", "high", "images"])


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray]]:
    """`(arch, operation, seed)`, levels, and how often STD and ADV are right about each image: `(images, levels)`."""
    for (arch, operation), chosen in rows.groupby(["arch", "operation"], sort=False):
        levels = np.sort(chosen["level"].unique())
        for seed, shares in pooled(chosen, lambda run: right_of(run.sort_values("level")).T):
            yield (arch, operation, seed), levels, shares["std"], shares["adv"]
