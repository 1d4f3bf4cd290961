"""What of notebook 07 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

from advlook.experiments.sanity_checks import measure
from advlook.sensitivity.maps import METHODS
from advlook.sensitivity.randomisation import stages
from advlook.study.study import ModelKey, Study
from advlook.study.verification import MAPS, Row, Unit


def units(study: Study, rng: random.Random) -> Iterator[Unit]:
    """The maps of two models by one method, and those of a trained model with fresh stages."""
    for key in study.each_model(measure.KINDS):
        arch, kind, seed = key
        for other in measure.partners(study, key):
            for method in METHODS:
                names = {"model_a": f"{other[1]}-{other[2]}", "model_b": f"{kind}-{seed}"}
                again = partial(_pair, study, other, key, method)
                yield Unit("07_sanity", {"arch": arch, "method": method} | names, again, ("measure",), tolerance=MAPS)
        if kind != "random" and seed == study.preset.seeds[0]:
            for stage in stages(study.model(*key)):
                method, name = rng.choice(list(METHODS)), f"{kind}-{seed}"
                about = {"arch": arch, "method": method, "model_a": name, "model_b": f"{name} {stage} alone"}
                again = partial(_alone, study, key, method, stage)
                yield Unit("07_sanity", about, again, ("measure",), tolerance=MAPS)


def _pair(study: Study, first: ModelKey, second: ModelKey, method: str) -> Iterator[Row]:
    def maps(key: ModelKey) -> measure.Maps:
        return measure.maps_of(study, study.model(*key), measure.shown_images(study), methods=[method])

    return measure.pair_rows(first, second, maps)


def _alone(study: Study, key: ModelKey, method: str, stage: str) -> Iterator[Row]:
    cascade, name = measure.Cascade(study, key, [method]), f"{key[1]}-{key[2]}"
    return measure.compare(cascade.original, cascade.fresh([stage]), name, f"{name} {stage} alone")
