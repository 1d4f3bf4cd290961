"""Everything of the committed results that can be measured again alone: the units of all notebooks."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain

import numpy as np
import pandas as pd
import torch

from advlook.attacks.suite import SUITE
from advlook.core.names import STYLIZED
from advlook.experiments.attack import measure as attack
from advlook.experiments.claims import measure as claims
from advlook.experiments.controls import measure as controls
from advlook.experiments.corruptions import contrast, scale
from advlook.experiments.corruptions import measure as corruptions
from advlook.experiments.defined import defined_maps
from advlook.experiments.ensembles import measure as ensembles
from advlook.experiments.ensembles.runs import FROZEN, every_run
from advlook.experiments.ensembles.targets import find_targets
from advlook.experiments.model_units import Units, accuracies, answers, looks, only
from advlook.experiments.sanity_checks import measure as sanity
from advlook.experiments.stylization import measure as stylization
from advlook.experiments.stylization.chunks import CHUNK
from advlook.experiments.train import measure as train
from advlook.experiments.visualize import measure as visualize
from advlook.models.evaluation import Attack, accuracy_under
from advlook.models.fusion import COMBINATIONS
from advlook.sensitivity import stages
from advlook.study import ModelKey, Row, Study
from advlook.study.models import KEY
from advlook.study.verification import ATTACKED, MAPS, Derived, Unit, drawn, shares, who

MANY = 10_000  # gradients of images: a unit that takes more takes minutes
FORWARD = 3  # images shown that take as long as one gradient
REFITTED = 0.005  # share of test images on which a classifier fitted on another processor may answer otherwise


def every_unit(study: Study, rng: random.Random) -> Units:
    """The units of every notebook whose tables are there."""
    written = {path.name[:2] for path in (study.output / "tables").glob("[0-9][0-9]_*.csv")}
    notebooks = _train, _attack, _visualize, _corruptions, _stylization, _ensembles, _sanity_checks, _claims, _controls
    for number, units in enumerate(notebooks, 1):
        if f"{number:02}" in written:
            yield from units(study, rng)


def _derived(names: Sequence[str], make: Callable[[], Mapping[str, pd.DataFrame]]) -> Units:
    """Tables that follow from others, made together when the first of them is asked for."""
    made = cache(make)
    return (Derived(name, lambda name=name: made()[name]) for name in names)


def _train(study: Study, rng: random.Random) -> Units:
    """What `_accuracies` yields, and the cues of the embedded test-bed."""
    yield from accuracies(study, rng, "01")
    for key in study.each_model() if study.preset.data.name == "synthetic" else ():
        yield Unit("01_cues", who(key), partial(train.cues, study, key), allowed=1)


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
        checks = partial(only, ("check", "passed"), attack.trust, study, key)
        yield Unit("02_checks", who(key), checks, ("check",), slow=True)
        yield Unit("02_attacks", who(key), partial(_suite, study, key), ("attack",), allowed=ATTACKED, slow=True)


def _accuracy(study: Study, key: ModelKey, method: Attack) -> Iterator[Row]:
    model, images, where = attack.asked(study, key)
    yield {"top1": accuracy_under(model, images, method, **where), "images": len(images)}


def _suite(study: Study, key: ModelKey) -> Iterator[Row]:
    return (row for row in attack.attack_rows(study, key) if str(row["attack"]).endswith(SUITE))


def _visualize(study: Study, rng: random.Random) -> Units:
    """What `_looks` yields of every model, the untrained ones included."""
    return looks(study, rng, "03", study.each_model(visualize.KINDS))


def _corruptions(study: Study, rng: random.Random) -> Units:
    """Tables that follow from the sweeps and from answers on scale, and what `_answers` yields."""
    sweeps = study.load_table("04_sweeps")
    names = "04_corruptions", "04_differences", "04_crossings"
    yield from _derived(names, lambda: corruptions.derived_tables(sweeps))
    tables = {name: study.load_table(name) for name in ("04_hybrids", "04_masking")}
    derived = partial(scale.derived_tables, tables, study.preset.data.classes, study.preset.data.size)
    yield from _derived(("04_scales", "04_channels"), derived)
    yield from answers(study, rng, "04", study.each_model())
    table = study.load_table("04_contrast")
    yield Derived("04_contrast", lambda: shares(table, {"top1": "right"}))
    yield Derived("04_contrast_effects", lambda: contrast.effects(table))
    for (*key, change), rows in table.groupby([*KEY, "change"], sort=False):
        numbers = drawn(rows["images"].iloc[0], rng)
        asked = study, tuple(key), change, torch.from_numpy(numbers)
        again = partial(only, ("sigma", "right"), contrast.contrast_rows, *asked)
        yield Unit("04_contrast", who(tuple(key)) | {"change": change}, again, ("sigma",), numbers)


def _stylization(study: Study, rng: random.Random) -> Units:
    """Answers to drawn images of one variant, and to cue conflicts; stylized ones are made again in whole chunks."""
    rows, decided = study.load_table("05_variants"), study.load_table("05_conflicts")
    yield Derived("05_variants", lambda: shares(rows, {"top1": "right", "control": "right_control"}))
    yield Derived("05_stylization", lambda: rows[stylization.COLUMNS])
    yield Derived("05_checks", partial(_checks, study))
    yield Derived("05_differences", lambda: stylization.every_difference(rows, decided))
    for row in rows.itertuples():
        key, variant = (row.arch, row.setting, row.seed), (row.variant, float(row.strength))
        made = row.variant == STYLIZED and row.strength > 0
        numbers = _chunk(row.images, rng) if made else drawn(row.images, rng)
        about = who(key) | dict(zip(("variant", "strength"), variant, strict=True))
        asked = study, key, variant, torch.from_numpy(numbers)
        again = partial(only, ("right", "right_control"), stylization.variant_rows, *asked)
        yield Unit("05_variants", about, again, (), numbers, allowed=ATTACKED if made else 0)
    yield from _conflicts("05_conflicts", decided, stylization.conflict_rows, study, rng)
    if (study.output / "tables" / "05_curves.csv").is_file():
        sweeps = [study.load_table(name) for name in ("05_blocks", "05_sizes")]
        yield Derived("05_curves", lambda: stylization.curves(study, *sweeps))
        yield from _conflicts("05_blocks", sweeps[0], stylization.block_rows, study, rng, "block")
        yield from _conflicts("05_sizes", sweeps[1], stylization.size_rows, study, rng, "size")


def _checks(study: Study) -> pd.DataFrame:
    named = stylization.named_by_judge(study)
    return stylization.validity(study.load_table("05_checked"), 100 / study.preset.data.classes, named)


def _conflicts(
    name: str, table: pd.DataFrame, measurement: Callable[..., object], study: Study, rng: random.Random, *at: str
) -> Units:
    """Answers to a chunk of cue conflicts; at: the column by which a model has several rows."""
    for row in table[table["images"] > 0].to_dict("records"):
        key, values, numbers = tuple(map(row.get, KEY)), [row[each] for each in at], _chunk(row["images"], rng)
        some = partial(measurement, chosen=torch.from_numpy(numbers))
        again = partial(only, ("by_shape", "by_texture"), some, study, key, *values)
        about = who(key) | dict(zip(at, values, strict=True))
        yield Unit(name, about, again, (), numbers, allowed=ATTACKED)


def _chunk(images: int, rng: random.Random) -> np.ndarray:
    return np.arange(images)[CHUNK * rng.randrange(-(-images // CHUNK)) :][:CHUNK]


def _ensembles(study: Study, rng: random.Random) -> Units:
    """Single runs with frozen backbones; those fine-tuned are trainings, whose results depend on the processor."""
    tables = {name: study.load_table(name) for name in ("06_runs", "06_resolution", "06_transfer")}
    yield Derived("06_runs", lambda: shares(tables["06_runs"], {"top1": "right"}))
    derived = ensembles.derived_tables(tables)
    yield from _derived(list(derived), lambda: derived)
    targets, _ = find_targets(study, study.preset.ensembles.targets)
    for runs in every_run(study, targets, modes=(FROZEN,)):
        for combination, run in runs.chosen:
            single = replace(runs, chosen=((combination, run),))
            name, again = "06_runs", partial(single.rows, study)
            about = runs.where | {"combination": combination, "seed": run}
            if combination not in COMBINATIONS:  # of another radius
                ((setting, seed),) = single.members(study.preset)
                about = {"arch": runs.arch, "dataset": runs.target.title, "setting": setting, "seed": seed}
                name, again = "06_transfer", partial(only, ("top1", "images", "right"), again)
            shown = (runs.target.train + runs.target.test) * len(single.members(study.preset))
            allowed, slow = round(REFITTED * runs.target.test), shown > FORWARD * MANY
            yield Unit(name, about, again, allowed=allowed, slow=slow)


def _sanity_checks(study: Study, rng: random.Random) -> Units:
    """The maps of two models by one method, and those of a trained model with fresh stages."""
    for key in study.each_model(sanity.KINDS):
        arch, kind, seed = key
        name = sanity.name_of(key)
        for other in sanity.partners(study, key):
            for method in defined_maps(study, arch):
                about = {"arch": arch, "method": method, "model_a": sanity.name_of(other), "model_b": name}
                again = partial(_pair, study, other, key, method)
                yield Unit("07_sanity", about, again, ("measure",), tolerance=MAPS)
        if kind != "random" and seed == study.preset.seeds[0]:
            for stage in stages(study.model(*key)):
                method = rng.choice(defined_maps(study, arch))
                about = {"arch": arch, "method": method, "model_a": name, "model_b": f"{name} {stage} up"}
                again = partial(_fresh_up, study, key, method, stage)
                yield Unit("07_sanity", about, again, ("measure",), tolerance=MAPS)


def _pair(study: Study, first: ModelKey, second: ModelKey, method: str) -> Iterator[Row]:
    pair, shown = (first, second), sanity.shown_images(study)
    maps = [sanity.maps_of(study, study.model(*key), shown, methods=[method]) for key in pair]
    return sanity.compare(*maps, *map(sanity.name_of, pair))


def _fresh_up(study: Study, key: ModelKey, method: str, stage: str) -> Iterator[Row]:
    cascade, name = sanity.Cascade(study, key, [method]), sanity.name_of(key)
    chosen = cascade.order[: cascade.order.index(stage) + 1]
    return sanity.compare(cascade.original, cascade.fresh(chosen), name, f"{name} {stage} up")


def _controls(study: Study, rng: random.Random) -> Units:
    """Of the controls whose checkpoints are there, what notebooks 01, 03 and 04 have of other models; and the tables
    that follow."""
    there = [key for key in study.each_model(study.preset.controls) if study.find_checkpoint(*key)]
    for unit in chain(accuracies(study, rng, "09"), looks(study, rng, "09", there), answers(study, rng, "09", there)):
        if isinstance(unit, Derived) or tuple(unit.about[name] for name in KEY) in there:
            yield unit
    yield from _derived(("09_models", "09_rulers", "09_positions"), lambda: controls.derived_tables(study))


def _claims(study: Study, rng: random.Random) -> Units:
    """Every comparison and every verdict."""
    return _derived(("08_comparisons", "08_claims"), lambda: claims.derived_tables(claims.load_tables(study)))
