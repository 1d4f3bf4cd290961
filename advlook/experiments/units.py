"""Everything of the committed results that can be measured again alone: the units of all notebooks."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import torch

from advlook import attacks
from advlook.attacks.suite import SUITE, percent
from advlook.core import evaluating, mixed_seed
from advlook.core.names import STYLIZED
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.attack import measure as attack
from advlook.experiments.claims import measure as claims
from advlook.experiments.corruptions import measure as corruptions
from advlook.experiments.corruptions import scale
from advlook.experiments.ensembles import measure as ensembles
from advlook.experiments.ensembles.runs import FROZEN, every_run
from advlook.experiments.ensembles.targets import find_targets
from advlook.experiments.sanity_checks import measure as sanity
from advlook.experiments.stylization import measure as stylization
from advlook.experiments.stylization.images import CHUNK
from advlook.experiments.train import measure as train
from advlook.experiments.visualize import measure as visualize
from advlook.models import folded
from advlook.models.evaluation import Attack, accuracy_under, survivors
from advlook.sensitivity import METHODS, stages
from advlook.study import ModelKey, Row, Study
from advlook.study.models import KEY
from advlook.study.verification import ATTACKED, MAPS, Derived, Unit, drawn, shares, who

MANY = 10_000  # gradients of images: a unit that takes more takes minutes
THINNED = 4  # of the frequencies of the grid of notebook 03, every so many along each axis
ASCENTS = 0.25  # tolerance of measures of maximised inputs: ascents part on rounding
UNITS = 10  # of a layer, whose maximised inputs a unit of this module makes again
RETRAINED = 0.01  # share of test images on which a classifier trained on another processor may answer otherwise

Units = Iterator[Unit | Derived]


def every_unit(study: Study, rng: random.Random) -> Units:
    """The units of every notebook whose tables are there."""
    written = {path.name[:2] for path in (study.output / "tables").glob("[0-9][0-9]_*.csv")}
    notebooks = _train, _attack, _visualize, _corruptions, _stylization, _ensembles, _sanity_checks, _claims
    for number, units in enumerate(notebooks, 1):
        if f"{number:02}" in written:
            yield from units(study, rng)


def _only(columns: Sequence[str], measurement: Callable[..., Iterable[Row]], *arguments: object) -> Iterator[Row]:
    """What a measurement yields, in these columns alone."""
    return ({name: row[name] for name in columns} for row in measurement(*arguments))


def _derived(names: Sequence[str], make: Callable[[], Mapping[str, pd.DataFrame]]) -> Units:
    """Tables that follow from others, made together when the first of them is asked for."""
    made = cache(make)
    return (Derived(name, lambda name=name: made()[name]) for name in names)


def _train(study: Study, rng: random.Random) -> Units:
    """Answers of every model to drawn images and to a batch under PGD, accuracies, and the embedded test-bed's cues."""
    table, size = study.load_table("01_tradeoff"), study.preset.evaluation.batch_size
    yield Derived("01_tradeoff", lambda: shares(table, {"top1": "right", "robust_pgd": "right_pgd"}))
    for row in table.itertuples():
        key = row.arch, row.setting, row.seed
        unit = partial(Unit, "01_tradeoff", who(key))
        numbers = drawn(len(study.test), rng)
        left = row.right.nonzero()[0]  # of these the attack's batches are made
        batch = rng.randrange(-(-len(left) // size))
        attacked = left[batch * size : (batch + 1) * size]
        some = study.test[torch.from_numpy(numbers)]
        yield unit(partial(_only, ("right",), train.clean_rows, study, key, some), numbers=numbers)
        yield unit(partial(_under_pgd, study, key, attacked, batch), numbers=attacked, allowed=1)
        yield unit(partial(_only, ("top1", "top5", "images"), train.clean_rows, study, key, study.test))
        yield unit(partial(_under_fgsm, study, key, row.right), allowed=ATTACKED)
        if study.preset.data.name == "synthetic":
            yield Unit("01_cues", who(key), partial(train.cues, study, key), allowed=1)


def _under_pgd(study: Study, key: ModelKey, numbers: np.ndarray, batch: int) -> Iterator[Row]:
    """One batch of `models.evaluation.survivors`, with the draws that it has there."""
    config = study.preset.evaluation
    images, labels = next(study.test[torch.from_numpy(numbers)].batches(len(numbers), study.device))
    draws = torch.Generator(study.device).manual_seed(mixed_seed(0, batch))
    effort = {"steps": config.pgd_steps, "restarts": config.pgd_restarts, "precision": "auto"}
    with evaluating(folded(study.model(*key))) as model:
        attacked = attacks.pgd(model, images, labels, config.eps, generator=draws, **effort)
        with torch.no_grad():
            yield {"right_pgd": (model(attacked).argmax(1) == labels).cpu().numpy()}


def _under_fgsm(study: Study, key: ModelKey, right: np.ndarray) -> Iterator[Row]:
    eps, known = study.preset.evaluation.eps, study.batches | {"right": torch.from_numpy(right)}
    alive = survivors(study.model(*key), study.test, lambda m, x, y, g: attacks.fgsm(m, x, y, eps), **known)
    yield {"robust_fgsm": percent(alive)}


def _attack(study: Study, rng: random.Random) -> Units:
    """Every attack on every model, transfer from one model to another, smallest radii, and the checks."""
    models, config = list(study.each_model()), study.preset.evaluation
    images = len(study.test.subset(config.curve_images))
    for key in models:
        for about, method in attack.attack_cells(study):
            slow = about["steps"] * about["restarts"] * images > MANY
            again = partial(_accuracy, study, key, method)
            yield Unit("02_attacks", who(key) | about, again, allowed=ATTACKED, slow=slow)
        for target in models:
            names = {f"target_{name}": value for name, value in who(target).items()}
            again = partial(attack.transfer, study, key, [target])
            slow = config.pgd_steps * images > MANY
            yield Unit("02_transfer", who(key) | names, again, allowed=ATTACKED, slow=slow)
        radii = partial(attack.smallest_radii, study, key)
        yield Unit("02_radii", who(key), radii, ("eps",), allowed=ATTACKED, slow=True)
        # Without the findings, whose numbers another processor may round otherwise.
        checks = partial(_only, ("check", "passed"), attack.trust, study, key)
        yield Unit("02_checks", who(key), checks, ("check",), slow=True)
        yield Unit("02_attacks", who(key), partial(_suite, study, key), ("attack",), allowed=ATTACKED, slow=True)


def _accuracy(study: Study, key: ModelKey, method: Attack) -> Iterator[Row]:
    model, images, where = attack.asked(study, key)
    yield {"top1": accuracy_under(model, images, method, **where), "images": len(images)}


def _suite(study: Study, key: ModelKey) -> Iterator[Row]:
    return (row for row in attack.attack_rows(study, key) if str(row["attack"]).endswith(SUITE))


def _visualize(study: Study, rng: random.Random) -> Units:
    """Fourier sensitivity, maps of a batch, filters, and maximised inputs of a layer."""
    size, shown = study.preset.evaluation.batch_size, len(visualize.mapped_images(study)[0])
    for key in study.each_model(visualize.KINDS):
        thinned = partial(visualize.fourier, study, key, THINNED)
        yield Unit("03_fourier", who(key), thinned, ("fy", "fx"), allowed=1)
        for method in METHODS:
            maps = partial(_maps, study, key, method, rng.randrange(-(-shown // size)), size)
            yield Unit("03_maps", who(key) | {"of": method}, maps, ("image",), tolerance=MAPS)
        first = who(key) | {"of": "first layer"}
        yield Unit("03_scale", first, partial(visualize.filters, study, key), ("measure", "at"))
        for layer in visualize.depth_layers(study, model := study.model(*key)):
            units = visualize.drawn_units(study, model, layer)
            excited = partial(visualize.unit_rows, study, key, layer, sorted(rng.sample(units, min(UNITS, len(units)))))
            yield Unit("03_scale", who(key) | {"of": layer}, excited, ("measure", "at"), tolerance=ASCENTS)


def _maps(study: Study, key: ModelKey, method: str, batch: int, size: int) -> Iterator[Row]:
    return visualize.image_rows(visualize.map_measures(study, key, method, [batch]), method, batch * size)


def _corruptions(study: Study, rng: random.Random) -> Units:
    """Answers to drawn images under one operation at every level; one corruption at every severity."""
    sweeps, images = study.load_table("04_sweeps"), len(corruptions.swept_images(study))
    yield Derived("04_sweeps", lambda: shares(sweeps, {"top1": "right"}))
    names = "04_corruptions", "04_differences", "04_crossings"
    yield from _derived(names, lambda: corruptions.derived_tables(sweeps))
    yield from _scale(study, rng)
    for key in study.each_model():
        for operation in sweeps["operation"].unique():
            numbers = drawn(images, rng)
            asked = study, key, operation, torch.from_numpy(numbers)
            again = partial(_only, ("level", "right"), corruptions.sweep_rows, *asked)
            yield Unit("04_sweeps", who(key) | {"operation": operation}, again, ("level",), numbers)
        for title in FAMILIES:
            again = partial(corruptions.family_rows, study, key, title)
            yield Unit("04_families", who(key) | {"corruption": title}, again, ("severity",), allowed=1)


def _scale(study: Study, rng: random.Random) -> Units:
    """Answers to drawn hybrid images of one condition, after one operation, and under noise of one octave."""
    tables = {name: study.load_table(name) for name in ("04_hybrids", "04_answers", "04_masking")}
    for name, columns in (
        ("04_hybrids", {"coarse": "by_coarse", "fine": "by_fine"}),
        ("04_masking", {"top1": "right"}),
    ):
        yield Derived(name, lambda name=name, columns=columns: shares(tables[name], columns))
    derived = partial(scale.derived_tables, tables, study.preset.data.classes, study.preset.data.size)
    yield from _derived(("04_scales", "04_channels"), derived)
    answers, keys = ("by_coarse", "by_fine"), [*KEY, "condition"]
    for (*key, condition), rows in tables["04_hybrids"].groupby(keys, sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(scale.hybrid_rows, study, tuple(key), condition, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"condition": condition}
        yield Unit("04_hybrids", about, partial(_only, ("cutoff", *answers), again), ("cutoff",), numbers)
    for (*key, operation), rows in tables["04_answers"].groupby([*KEY, "operation"], sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(scale.answer_rows, study, tuple(key), operation, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"operation": operation}
        yield Unit("04_answers", about, partial(_only, ("level", "right"), again), ("level",), numbers)
    for (*key, frequency), rows in tables["04_masking"].groupby([*KEY, "frequency"], sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        again = partial(_under_noise, study, tuple(key), frequency, torch.from_numpy(numbers))
        about = who(tuple(key)) | {"frequency": frequency}
        yield Unit("04_masking", about, again, ("noise",), numbers, allowed=ATTACKED)


def _under_noise(study: Study, key: ModelKey, frequency: float, chosen: torch.Tensor) -> Iterator[Row]:
    """Answers under noise of one octave. Its edges may be frequencies of the grid, which rounding decides: the centre
    is taken with all its digits, not from the table."""
    centres = [0.0, *scale.bands(min(study.test.images.shape[-2:]))]
    exact = min(centres, key=lambda centre: abs(centre - frequency))
    yield from _only(("noise", "right"), scale.masking_rows, study, key, exact, chosen)


def _stylization(study: Study, rng: random.Random) -> Units:
    """Answers to drawn images of one variant, and to cue conflicts; stylized ones are made again in whole chunks."""
    rows, decided = study.load_table("05_variants"), study.load_table("05_conflicts")
    chance = 100 / study.preset.data.classes
    yield Derived("05_variants", lambda: shares(rows, {"top1": "right", "control": "right_control"}))
    yield Derived("05_stylization", lambda: rows[stylization.COLUMNS])
    yield Derived("05_checks", lambda: stylization.validity(study.load_table("05_checked"), chance))
    yield Derived("05_differences", lambda: stylization.every_difference(rows, decided))
    for row in rows.itertuples():
        key, variant = (row.arch, row.setting, row.seed), (row.variant, float(row.strength))
        made = row.variant == STYLIZED and row.strength > 0
        numbers = _chunk(row.images, rng) if made else drawn(row.images, rng)
        about = who(key) | dict(zip(("variant", "strength"), variant, strict=True))
        asked = study, key, variant, torch.from_numpy(numbers)
        again = partial(_only, ("right", "right_control"), stylization.variant_rows, *asked)
        yield Unit("05_variants", about, again, (), numbers, allowed=ATTACKED if made else 0)
    for row in decided.itertuples():
        key, numbers = (row.arch, row.setting, row.seed), _chunk(row.images, rng)
        asked = study, key, torch.from_numpy(numbers)
        again = partial(_only, ("by_shape", "by_texture"), stylization.conflict_rows, *asked)
        yield Unit("05_conflicts", who(key), again, (), numbers, allowed=ATTACKED)


def _chunk(images: int, rng: random.Random) -> np.ndarray:
    return np.arange(images)[CHUNK * rng.randrange(-(-images // CHUNK)) :][:CHUNK]


def _ensembles(study: Study, rng: random.Random) -> Units:
    """Single runs with frozen backbones; those fine-tuned are trainings, whose results depend on the processor."""
    tables = {name: study.load_table(name) for name in ("06_runs", "06_resolution")}
    yield Derived("06_runs", lambda: shares(tables["06_runs"], {"top1": "right"}))
    derived = ensembles.derived_tables(tables)
    if "06_trends" in derived:  # the answers at every resolution are there
        yield from _derived(list(derived), lambda: derived)
    targets, _ = find_targets(study, study.preset.ensembles.targets)
    for runs in every_run(study, targets, modes=(FROZEN,)):
        for combination, run in runs.chosen:
            single = replace(runs, chosen=((combination, run),))
            about, allowed = runs.where | {"combination": combination, "seed": run}, round(RETRAINED * runs.target.test)
            yield Unit("06_runs", about, partial(single.rows, study), allowed=allowed)


def _sanity_checks(study: Study, rng: random.Random) -> Units:
    """The maps of two models by one method, and those of a trained model with fresh stages."""
    for key in study.each_model(sanity.KINDS):
        arch, kind, seed = key
        name = sanity.name_of(key)
        for other in sanity.partners(study, key):
            for method in METHODS:
                about = {"arch": arch, "method": method, "model_a": sanity.name_of(other), "model_b": name}
                again = partial(_pair, study, other, key, method)
                yield Unit("07_sanity", about, again, ("measure",), tolerance=MAPS)
        if kind != "random" and seed == study.preset.seeds[0]:
            for stage in stages(study.model(*key)):
                method = rng.choice(list(METHODS))
                about = {"arch": arch, "method": method, "model_a": name, "model_b": f"{name} {stage} alone"}
                again = partial(_alone, study, key, method, stage)
                yield Unit("07_sanity", about, again, ("measure",), tolerance=MAPS)


def _pair(study: Study, first: ModelKey, second: ModelKey, method: str) -> Iterator[Row]:
    pair, shown = (first, second), sanity.shown_images(study)
    maps = [sanity.maps_of(study, study.model(*key), shown, methods=[method]) for key in pair]
    return sanity.compare(*maps, *map(sanity.name_of, pair))


def _alone(study: Study, key: ModelKey, method: str, stage: str) -> Iterator[Row]:
    cascade, name = sanity.Cascade(study, key, [method]), sanity.name_of(key)
    return sanity.compare(cascade.original, cascade.fresh([stage]), name, f"{name} {stage} alone")


def _claims(study: Study, rng: random.Random) -> Units:
    """Every comparison and every verdict."""
    return _derived(("08_comparisons", "08_claims"), lambda: claims.derived_tables(claims.load_tables(study)))
