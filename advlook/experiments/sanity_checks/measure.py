"""Sanity checks: do sensitivity maps depend on a model's parameters (Adebayo et al. 2018; the paper's appendix A)?

Maps of one image are compared between models whose parameters differ: untrained, STD and ADV ones, those of another
seed, and trained ones of which some stages are fresh again. A map that stays as it is tells nothing of the parameters.

Models in the table `07_sanity` are named by setting and seed: "std-0"; "random-0" is an untrained network, the one from
which std-0 and adv-0 began. "std-0 layer3 up" is std-0 with fresh parameters in layer3 and in every stage above it, up
to the output; "std-0 layer3 alone" has them in layer3 only. The words are separated by single spaces.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from advlook.core.presets import SETTINGS
from advlook.core.progress import tqdm
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import folded
from advlook.sensitivity.maps import METHODS, by_name
from advlook.sensitivity.randomisation import FRESH_SEED, randomised, stages
from advlook.sensitivity.similarity import similarity
from advlook.stats.bootstrap import interval
from advlook.stats.paired import labelled
from advlook.study.study import Row, Study

KINDS = ("random", *SETTINGS)  # of models, in the order in which they are compared
COLUMNS = ["arch", "method", "model_a", "model_b", "measure", "value", "image"]
CASCADE_IMAGES = 12  # of the images of the pairs, the first so many: a cascade is as long as twice the network
CASCADE_SAMPLES = 10  # at most, of SmoothGrad and integrated gradients
DRAWS = 4  # of fresh parameters in a cascade

Maps = Mapping[str, Tensor]  # by method, each (N, 3, H, W)


# Measurements ------------------------------------------------------------------------------------------------------


def shown_images(study: Study, count: int | None = None) -> ImageSet:
    """The test images of the sanity checks, a random draw; or the first `count` of them, if there are more."""
    every = study.preset.visualize.sanity_images
    return study.test.subset(min(every, count or every), seed=1)


def maps_of(
    study: Study, model: nn.Module, shown: ImageSet, samples: int | None = None, methods: Iterable[str] | None = None
) -> Maps:
    """Maps `(N, 3, H, W)`, on the CPU, of images for their labels, by method.

    samples: at most so many of SmoothGrad and integrated gradients, by default as the preset says. All models see the
    same images with SmoothGrad's same noise.
    """
    images, labels = next(shown.batches(len(shown), study.device))
    most = study.preset.visualize.samples
    samples = min(samples or most, most)
    methods = METHODS if methods is None else methods
    fast = nn.Sequential(folded(model))  # once for all methods, which do not look into a Sequential to fold it again
    return {method: by_name(method, fast, images, labels, samples=samples).cpu() for method in methods}


def pair_rows(study: Study, model: nn.Module, known: Callable[[str, str, int], Maps] | None = None) -> Iterator[Row]:
    """Similarity of the model's maps to those of models of the same architecture that come before it in KINDS.

    It is paired with one untrained, STD or ADV model; and, as controls, with models of its own kind. All are of other
    seeds: models of one seed have the same initial weights, which training leaves in part, and maps show them. Where
    there is one seed, kinds are paired within it, and there are no controls. One row a method, pair, measure and image.
    known: gives the maps of `(arch, setting, seed)`, where they are kept.
    """
    known = known or (lambda *key: maps_of(study, study.model(*key), shown_images(study)))
    arch, kind, seed = study.identify(model)
    place, seeds = study.preset.seeds.index(seed), study.preset.seeds
    others = [(before, seeds[(place + 1) % len(seeds)]) for before in KINDS[: KINDS.index(kind)]]
    others += [(kind, earlier) for earlier in seeds[:place]]
    for before, other in others:
        a, b = known(arch, before, other), known(arch, kind, seed)
        yield from _compare(a, b, f"{before}-{other}", f"{kind}-{seed}")


def cascade_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Similarity of a trained model's maps to those with fresh stages: from the output down, and each stage alone.

    Of the first seed only, on CASCADE_IMAGES and with CASCADE_SAMPLES. Every image k has the fresh parameters of draw
    k mod DRAWS, the same for all methods and stages: what one draw happens to give would pass for a finding.
    """
    arch, kind, seed = study.identify(model)
    if kind == "random" or seed != study.preset.seeds[0]:
        return
    name, images = f"{kind}-{seed}", shown_images(study, CASCADE_IMAGES)
    draws = [images[draw::DRAWS] for draw in range(min(DRAWS, len(images)))]
    original = _joined([maps_of(study, model, shown, CASCADE_SAMPLES) for shown in draws])

    def fresh(chosen: Sequence[str]) -> Maps:
        models = (randomised(model, chosen, FRESH_SEED + draw) for draw in range(len(draws)))
        return _joined([maps_of(study, m, shown, CASCADE_SAMPLES) for m, shown in zip(models, draws, strict=True)])

    order = list(reversed(stages(model)))
    title = f"fresh stages of {arch} {name}"
    # At position 0, over the bar of the models: to move between lines leaves marks in an executed notebook.
    quiet = {"disable": not study.progress, "leave": False, "position": 0}
    for place, stage in enumerate(tqdm(order, title, unit=" stages", **quiet)):
        up = fresh(order[: place + 1])
        alone = fresh([stage]) if place else up
        yield from _compare(original, up, name, f"{name} {stage} up")
        yield from _compare(original, alone, name, f"{name} {stage} alone")


def sanity_table(study: Study) -> pd.DataFrame:
    """Every comparison of every model, saved as `07_sanity`: COLUMNS, one row an image, values to 4 digits."""

    # As many as one architecture has: of the one before nothing is needed any more.
    @lru_cache(maxsize=len(KINDS) * len(study.preset.seeds))
    def known(arch: str, kind: str, seed: int) -> Maps:
        return maps_of(study, study.model(arch, kind, seed), shown_images(study))

    def rows(study: Study, model: nn.Module) -> Iterator[Row]:
        yield from pair_rows(study, model, known)
        yield from cascade_rows(study, model)

    return study.save_table("07_sanity", study.rows("07_sanity", rows, KINDS)[COLUMNS])


def cascade_maps(study: Study, model: nn.Module, shown: ImageSet, methods: Sequence[str]) -> dict[str, Maps]:
    """Maps of the model "as trained", then with fresh stages (of one draw) from each name up to the output."""
    order = list(reversed(stages(model)))
    found = {"as trained": maps_of(study, model, shown, methods=methods)}
    for place, stage in enumerate(order):
        found[stage] = maps_of(study, randomised(model, order[: place + 1]), shown, methods=methods)
    return found


def _joined(draws: Sequence[Maps]) -> Maps:
    """Maps of all images in their order, from those of every DRAWS-th."""
    count = sum(len(next(iter(found.values()))) for found in draws)
    places = torch.cat([torch.arange(draw, count, len(draws)) for draw in range(len(draws))]).argsort()
    return {method: torch.cat([found[method] for found in draws])[places] for method in draws[0]}


def _compare(a: Maps, b: Maps, model_a: str, model_b: str) -> Iterator[Row]:
    for method in a:
        for measure, values in similarity(a[method], b[method]).items():
            for image, value in enumerate(values.tolist()):
                yield {
                    "method": method,
                    "model_a": model_a,
                    "model_b": model_b,
                    "measure": measure,
                    "value": round(value, 4),
                    "image": image,
                }


def means(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean, low, high and the number of images for each group of rows: `interval` over images.

    What several pairs of models give for one image is averaged first: images are resampled, models are not. An image
    for which the measure is nan does not count.
    """
    found = []
    for key, group in rows.groupby(list(by), sort=False):
        values = group.groupby("image")["value"].mean().dropna().to_numpy()
        found.append((*key, *interval(values), len(values)))
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "images"])


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """Does a map tell a trained model from an untrained one? One row an arch, setting, method and measure.

    effect: similarity of two trained models of different seeds, less that of a trained and an untrained one, with its
    95% interval over images (both on the same images). Where it is above 0 the map shows more than what any parameters
    give: verdict "yes"; "no" below 0, "open" where the interval holds 0, and "no second seed" without a control.
    """
    rows, by, found = labelled(table), ["arch", "setting", "method", "measure"], []
    for key, group in rows[rows["setting"].isin(SETTINGS)].groupby(by, sort=False):
        setting, by_image = key[1], group.groupby(["comparison", "image"])["value"].mean()
        if f"{setting}-{setting}" in by_image:
            gain = by_image[f"{setting}-{setting}"] - by_image[f"random-{setting}"]
            effect, low, high = interval(gain.dropna().to_numpy())
            verdict = "yes" if low > 0 else "no" if high < 0 else "open"
        else:
            effect, low, high, verdict = np.nan, np.nan, np.nan, "no second seed"
        found.append((*key, effect, low, high, verdict))
    return pd.DataFrame(found, columns=[*by, "effect", "low", "high", "verdict"])


def half_fallen(table: pd.DataFrame, measure: str = "spearman_abs") -> pd.DataFrame:
    """The stage at which the cascade has taken half of what it takes in all, by method and by arch and setting.

    It starts at similarity 1 and ends where every stage is fresh; "-" if it never falls. A stage near the output: the
    map hangs on the last layers; one near the input: it hardly does.
    """
    rows = labelled(table[table["measure"] == measure])
    curves = means(rows[rows["comparison"] == "up"], ["arch", "setting", "method", "stage"])
    found = {}
    for key, curve in curves.groupby(["arch", "setting", "method"], sort=False):
        end = curve["mean"].iloc[-1]
        found[key] = curve["stage"][curve["mean"] <= (1 + end) / 2].iloc[0] if end < 1 else "-"
    index = pd.MultiIndex.from_tuples(found, names=["arch", "setting", "method"])
    wide = pd.Series(list(found.values()), index).unstack("method")[list(dict.fromkeys(curves["method"]))].T
    return wide[list(dict.fromkeys(index.droplevel("method")))]
