"""Units of `advlook verify` that several notebooks have: answers and looks of models, by the number of the notebook
that keeps them in its tables."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from advlook import attacks
from advlook.attacks.suite import percent
from advlook.core import Preset, evaluating, mixed_seed
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.corruptions import measure as corruptions
from advlook.experiments.corruptions import scale
from advlook.experiments.defined import defined_maps
from advlook.experiments.train import measure as train
from advlook.experiments.visualize import measure as visualize
from advlook.models.evaluation import as_classifier, survivors
from advlook.study import ModelKey, Row, Study
from advlook.study.models import KEY
from advlook.study.verification import ATTACKED, MAPS, Derived, Unit, drawn, shares, who

THINNED = 4  # of the frequencies of the grid of notebook 03, every so many along each axis
ASCENTS = 0.25  # tolerance of measures of maximised inputs: ascents part on rounding
UNITS = 10  # of a layer, whose maximised inputs are made again together

Units = Iterator[Unit | Derived]


def only(columns: Sequence[str], measurement: Callable[..., Iterable[Row]], *arguments: object) -> Iterator[Row]:
    """What a measurement yields, in these columns alone."""
    return ({name: row[name] for name in columns} for row in measurement(*arguments))


def accuracies(study: Study, rng: random.Random, number: str) -> Units:
    """Answers of every model of a table to drawn images and to a batch under PGD, and accuracies."""
    name, size = f"{number}_tradeoff", study.preset.evaluation.batch_size
    table = study.load_table(name)
    yield Derived(name, lambda: shares(table, {"top1": "right", "robust_pgd": "right_pgd"}))
    for row in table.itertuples():
        key = row.arch, row.setting, row.seed
        unit = partial(Unit, name, who(key))
        numbers = drawn(len(study.test), rng)
        left = row.right.nonzero()[0]  # of these the attack's batches are made
        batch = rng.randrange(-(-len(left) // size))
        attacked = left[batch * size : (batch + 1) * size]
        some = study.test[torch.from_numpy(numbers)]
        yield unit(partial(only, ("right",), train.clean_rows, study, key, some), numbers=numbers)
        yield unit(partial(_under_pgd, study, key, attacked, batch), numbers=attacked, allowed=1)
        yield unit(partial(only, ("top1", "top5", "images"), train.clean_rows, study, key, study.test))
        yield unit(partial(_under_fgsm, study, key, row.right), allowed=ATTACKED)


def _under_pgd(study: Study, key: ModelKey, numbers: np.ndarray, batch: int) -> Iterator[Row]:
    """One batch of `models.evaluation.survivors`, with the draws that it has there."""
    config = study.preset.evaluation
    images, labels = next(study.test[torch.from_numpy(numbers)].batches(len(numbers), study.device))
    draws = torch.Generator(study.device).manual_seed(mixed_seed(0, batch))
    effort = {"steps": config.pgd_steps, "restarts": config.pgd_restarts, "precision": "auto"}
    with evaluating(as_classifier(study.model(*key))) as model:
        attacked = attacks.pgd(model, images, labels, config.eps, generator=draws, **effort)
        with torch.no_grad():
            yield {"right_pgd": (model(attacked).argmax(1) == labels).cpu().numpy()}


def _under_fgsm(study: Study, key: ModelKey, right: np.ndarray) -> Iterator[Row]:
    eps, known = study.preset.evaluation.eps, study.batches | {"right": torch.from_numpy(right)}
    alive = survivors(study.model(*key), study.test, lambda m, x, y, g: attacks.fgsm(m, x, y, eps), **known)
    yield {"robust_fgsm": percent(alive)}


def looks(study: Study, rng: random.Random, number: str, models: Iterable[ModelKey]) -> Units:
    """Fourier sensitivity, maps of a batch, filters, and maximised inputs of a layer."""
    size, shown = study.preset.evaluation.batch_size, len(visualize.mapped_images(study)[0])
    for key in models:
        thinned = partial(visualize.fourier, study, key, thinning(study.preset))
        yield Unit(f"{number}_fourier", who(key), thinned, ("fy", "fx"), allowed=1)
        for method in defined_maps(study, key[0]):
            maps = partial(_maps, study, key, method, rng.randrange(-(-shown // size)), size)
            yield Unit(f"{number}_maps", who(key) | {"of": method}, maps, ("image",), tolerance=MAPS)
        first = who(key) | {"of": "first layer"}
        yield Unit(f"{number}_scale", first, partial(visualize.filters, study, key), ("measure", "at"))
        for layer in visualize.depth_layers(study, model := study.model(*key)):
            units = visualize.drawn_units(study, model, layer)
            excited = partial(visualize.unit_rows, study, key, layer, sorted(rng.sample(units, min(UNITS, len(units)))))
            yield Unit(f"{number}_scale", who(key) | {"of": layer}, excited, ("measure", "at"), tolerance=ASCENTS)


def thinning(preset: Preset) -> int:
    """Every so many frequencies of the grid along each axis: THINNED, or as many as images of this size leave."""
    return max(1, min(THINNED, preset.data.size // 2 // preset.visualize.fourier_stride))


def _maps(study: Study, key: ModelKey, method: str, batch: int, size: int) -> Iterator[Row]:
    return visualize.image_rows(visualize.map_measures(study, key, method, [batch]), method, batch * size)


def answers(study: Study, rng: random.Random, number: str, models: Iterable[ModelKey]) -> Units:
    """Answers to drawn images under one operation at every level; one corruption at every severity; and of `_scale`."""
    sweeps, images = study.load_table(f"{number}_sweeps"), len(corruptions.swept_images(study))
    yield Derived(f"{number}_sweeps", lambda: shares(sweeps, {"top1": "right"}))
    yield from _scale(study, rng, number)
    for key in models:
        for operation in sweeps["operation"].unique():
            numbers = drawn(images, rng)
            asked = study, key, operation, torch.from_numpy(numbers)
            again = partial(only, ("level", "right"), corruptions.sweep_rows, *asked)
            yield Unit(f"{number}_sweeps", who(key) | {"operation": operation}, again, ("level",), numbers)
        for title in FAMILIES:
            again = partial(corruptions.family_rows, study, key, title)
            yield Unit(f"{number}_families", who(key) | {"corruption": title}, again, ("severity",), allowed=1)


def _scale(study: Study, rng: random.Random, number: str) -> Units:
    """Answers to drawn hybrid images of one condition, after one operation, and under noise of one octave."""
    hybrids, operations, masking = (f"{number}_{name}" for name in ("hybrids", "answers", "masking"))
    tables = {name: study.load_table(name) for name in (hybrids, operations, masking)}
    for name, columns in ((hybrids, {"coarse": "by_coarse", "fine": "by_fine"}), (masking, {"top1": "right"})):
        yield Derived(name, lambda name=name, columns=columns: shares(tables[name], columns))
    named, keys = ("by_coarse", "by_fine"), [*KEY, "condition"]
    for (*key, condition), rows in tables[hybrids].groupby(keys, sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(scale.hybrid_rows, study, tuple(key), condition, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"condition": condition}
        yield Unit(hybrids, about, partial(only, ("cutoff", *named), again), ("cutoff",), numbers)
    for (*key, operation), rows in tables[operations].groupby([*KEY, "operation"], sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(scale.answer_rows, study, tuple(key), operation, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"operation": operation}
        yield Unit(operations, about, partial(only, ("level", "right"), again), ("level",), numbers)
    for (*key, frequency), rows in tables[masking].groupby([*KEY, "frequency"], sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(_under_noise, study, tuple(key), frequency, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"frequency": frequency}
        yield Unit(masking, about, again, ("noise",), numbers, allowed=ATTACKED)


def _under_noise(study: Study, key: ModelKey, frequency: float, chosen: torch.Tensor) -> Iterator[Row]:
    """Answers under noise of one octave. Its edges may be frequencies of the grid, which rounding decides: the centre
    is taken with all its digits, not from the table."""
    centres = [0.0, *scale.bands(min(study.test.images.shape[-2:]))]
    exact = min(centres, key=lambda centre: abs(centre - frequency))
    yield from only(("noise", "right"), scale.masking_rows, study, key, exact, chosen)
