"""Sanity checks: do sensitivity maps depend on a model's parameters (Adebayo et al. 2018; the paper's appendix A)?

Maps of one image are compared between models whose parameters differ: a map that stays as it is says nothing about
them. In the table `07_sanity` models are named by setting and seed: "std-0"; "random-0" is the untrained network from
which std-0 and adv-0 began; "std-0 layer3 up" is std-0 with fresh parameters in layer3 and in every stage above it, up
to the output. The words are separated by single spaces."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from advlook.core import SETTINGS, tqdm
from advlook.core.errors import NotDefinedError
from advlook.data import ImageSet
from advlook.experiments.defined import save_undefined
from advlook.models import for_inference
from advlook.sensitivity import METHODS, by_name, randomised, stages
from advlook.sensitivity.randomisation import FRESH_SEED
from advlook.sensitivity.similarity import similarity
from advlook.stats import interval, labelled
from advlook.study import ModelKey, Row, Study

KINDS = ("random", *SETTINGS)  # of models, in the order in which they are compared
COLUMNS = ["arch", "method", "model_a", "model_b", "measure", "value", "images", "by_image"]
CASCADE_IMAGES = 12  # of the images of the pairs, the first so many: a cascade is as long as twice the network
CASCADE_SAMPLES = 10  # at most, of SmoothGrad and integrated gradients
DRAWS = 4  # of fresh parameters in a cascade

Maps = Mapping[str, Tensor]  # by method, each (N, 3, H, W)
Methods = Iterable[str]


def name_of(key: ModelKey) -> str:
    """A model as `07_sanity` names it, such as "std-0"."""
    return f"{key[1]}-{key[2]}"


def shown_images(study: Study, count: int | None = None) -> ImageSet:
    """The test images of the sanity checks, a random draw; or the first `count` of them, if there are more."""
    every = study.preset.visualize.sanity_images
    return study.test.subset(min(every, count or every), seed=1)


def maps_of(study: Study, model: nn.Module, shown: ImageSet, methods: Methods = METHODS, most: int = 0) -> Maps:
    """Maps `(N, 3, H, W)`, on the CPU, of images for their labels, by method, without methods that are not defined for
    the model; all models see the same noise. most: of the samples of SmoothGrad and integrated gradients that the
    preset asks for; 0: all."""
    # Folded once for all methods, which do not look into a Sequential to fold it again.
    given, found = (nn.Sequential(for_inference(model)), *next(shown.batches(len(shown), study.device))), {}
    samples = study.preset.visualize.samples
    for each in methods:
        with suppress(NotDefinedError):
            found[each] = by_name(each, *given, samples=min(most or samples, samples)).cpu()
    return found


def cascade_maps(study: Study, model: nn.Module, shown: ImageSet, methods: Sequence[str]) -> dict[str, Maps]:
    """Maps of the model "as trained", then with fresh stages (of one draw) from each name up to the output."""
    order = list(reversed(stages(model)))
    fresh = {"as trained": [], **{stage: order[: place + 1] for place, stage in enumerate(order)}}
    return {name: maps_of(study, randomised(model, chosen), shown, methods) for name, chosen in fresh.items()}


def sanity_table(study: Study) -> pd.DataFrame:
    """Every comparison of every model, saved as `07_sanity`: COLUMNS, one row a pair of models, method and measure.
    by_image: the similarity of the two maps of each image, to 4 digits, `(images,)`; value: their mean. Where some map
    is not defined, `07_undefined` says so."""
    save_undefined(study, "07")

    @lru_cache(maxsize=len(KINDS) * len(study.preset.seeds))  # as many as one architecture has
    def known(key: ModelKey) -> Maps:
        return maps_of(study, study.model(*key), shown_images(study))

    def rows(study: Study, key: ModelKey) -> Iterator[Row]:
        for other in partners(study, key):
            yield from compare(known(other), known(key), name_of(other), name_of(key))
        yield from cascade_rows(study, key)

    return study.save_table("07_sanity", study.rows("07_sanity", rows, KINDS)[COLUMNS])


def partners(study: Study, key: ModelKey) -> list[ModelKey]:
    """The models of the same architecture that a model's maps are compared with: one of each kind before it in KINDS,
    and, as controls, models of its own kind. All are of other seeds, as those of one seed share initial weights, which
    maps show. Of one seed, kinds are paired within it, without controls."""
    (arch, kind, seed), seeds = key, study.preset.seeds
    place = seeds.index(seed)
    others = [(arch, before, seeds[(place + 1) % len(seeds)]) for before in KINDS[: KINDS.index(kind)]]
    return others + [(arch, kind, earlier) for earlier in seeds[:place]]


def cascade_rows(study: Study, key: ModelKey) -> Iterator[Row]:
    """Similarity of a trained model's maps (first seed) to those with fresh stages: all from one up to the output."""
    if key[1] == "random" or key[2] != study.preset.seeds[0]:
        return
    name, cascade = name_of(key), Cascade(study, key)
    # At position 0, over the bar of the models: to move between lines leaves marks in an executed notebook.
    quiet = {"disable": not study.progress, "leave": False, "position": 0}
    for place, stage in enumerate(tqdm(cascade.order, f"fresh stages of {key[0]} {name}", unit=" stages", **quiet)):
        fresh = cascade.fresh(cascade.order[: place + 1])
        yield from compare(cascade.original, fresh, name, f"{name} {stage} up")


class Cascade:
    """Maps of a trained model, and of the same with fresh stages, on CASCADE_IMAGES and with CASCADE_SAMPLES. Image k
    has the fresh parameters of draw k mod DRAWS: a single draw's accident would pass for a finding. `order`: the stages
    from the output down; `original`: the maps as trained."""

    def __init__(self, study: Study, key: ModelKey, methods: Methods = METHODS) -> None:
        self.study, self.model, self.methods = study, study.model(*key), methods
        self.order = list(reversed(stages(self.model)))
        images = shown_images(study, CASCADE_IMAGES)
        self.draws = [images[draw::DRAWS] for draw in range(min(DRAWS, len(images)))]
        self.original = self._joined([self.model] * len(self.draws))

    def fresh(self, chosen: Sequence[str]) -> Maps:
        """Maps with fresh parameters in the chosen stages."""
        return self._joined(randomised(self.model, chosen, FRESH_SEED + draw) for draw in range(len(self.draws)))

    def _joined(self, models: Iterable[nn.Module]) -> Maps:
        """Maps of all images in their order, those of each draw by its own model."""
        pairs = zip(models, self.draws, strict=True)
        found = [maps_of(self.study, model, shown, self.methods, CASCADE_SAMPLES) for model, shown in pairs]
        numbers = range(sum(map(len, self.draws)))
        places = torch.tensor([k for draw in range(len(self.draws)) for k in numbers[draw::DRAWS]]).argsort()
        return {method: torch.cat([maps[method] for maps in found])[places] for method in found[0]}


def compare(a: Maps, b: Maps, model_a: str, model_b: str) -> Iterator[Row]:
    """Rows of `07_sanity` on maps of the same images by two models of these names."""
    for method in a:
        for measure, values in similarity(a[method], b[method]).items():
            about = {"method": method, "model_a": model_a, "model_b": model_b, "measure": measure}
            yield about | by_image(np.array([round(value, 4) for value in values.tolist()]))


def by_image(values: np.ndarray) -> Row:
    """The columns of `07_sanity` that hold the similarities `(images,)`: their mean without nan, and themselves."""
    return {"value": pd.Series(values).mean(), "images": len(values), "by_image": values}


def image_means(rows: pd.DataFrame) -> np.ndarray:
    """The similarity of each image `(images,)`, averaged over rows; nan where no pair of models has one."""
    return pd.DataFrame(list(rows["by_image"])).mean().to_numpy()


def means(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean, low, high (`interval` over images, pairs of models averaged first) and the number of images by groups of
    rows. An image for which the measure is nan does not count."""
    found = []
    for key, group in rows.groupby(list(by), sort=False):
        values = image_means(group)
        values = values[~np.isnan(values)]
        found.append((*key, *interval(values), len(values)))
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "images"])


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """Does a map tell a trained model from an untrained one? Similarity of two trained models of different seeds, less
    that of a trained and an untrained one, with its 95% interval over images; nan where there is no second seed."""
    rows, by, found = labelled(table), ["arch", "setting", "method", "measure"], []
    for key, group in rows[rows["setting"].isin(SETTINGS)].groupby(by, sort=False):
        trained, untrained = (group[group["comparison"] == f"{kind}-{key[1]}"] for kind in (key[1], "random"))
        gain = image_means(trained) - image_means(untrained) if len(trained) else np.array([])
        found.append((*key, *map(float, interval(gain[~np.isnan(gain)]))))
    return pd.DataFrame(found, columns=[*by, "effect", "low", "high"])


def half_fallen(table: pd.DataFrame, measure: str = "spearman_abs") -> pd.DataFrame:
    """The stage at which the cascade has taken half of what it takes in all, by method and by arch and setting; "-" if
    it never falls. Near the output: the map depends on the last layers; near the input: it hardly does."""
    rows = labelled(table[table["measure"] == measure])
    curves = means(rows[rows["comparison"] == "up"], ["arch", "setting", "method", "stage"])
    found: dict[tuple[str, str], dict[str, str]] = {}
    for (arch, setting, method), curve in curves.groupby(["arch", "setting", "method"], sort=False):
        end = curve["mean"].iloc[-1]
        stage = curve["stage"][curve["mean"] <= (1 + end) / 2].iloc[0] if end < 1 else "-"
        found.setdefault((arch, setting), {})[method] = stage
    return pd.DataFrame(found).rename_axis(index="method", columns=["arch", "setting"])
