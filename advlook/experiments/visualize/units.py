"""What of notebook 03 can be measured again alone."""

import random
from collections.abc import Callable, Iterator
from functools import partial

import torch

from advlook import sensitivity
from advlook.experiments.visualize import measure
from advlook.study.study import ModelKey, Study
from advlook.study.verification import MAPS, Row, Unit, who

THINNED = 4  # of the frequencies of the grid, every so many along each axis
ASCENTS = 0.25  # tolerance of measures of maximised inputs: ascents part on rounding


def units(study: Study, rng: random.Random) -> Iterator[Unit]:
    """Fourier sensitivity, accuracy on changed images, maps of a batch, filters, and maximised inputs of a layer."""
    size, shown = study.preset.evaluation.batch_size, len(measure.mapped_images(study)[0])
    for key in study.each_model(measure.KINDS):
        thinned = partial(measure.fourier, study, key, THINNED)
        yield Unit("03_fourier", who(key), thinned, ("fy", "fx"), allowed=1)
        for name, at, change in measure.answer_cells(study):
            about = who(key) | {"measure": f"accuracy_{name}", "at": float(at)}
            yield Unit("03_scale", about, partial(_changed, study, key, change), allowed=1)
        for method in sensitivity.METHODS:
            batch = rng.randrange(-(-shown // size))
            maps = partial(_maps, study, key, method, batch, size)
            yield Unit("03_maps", who(key) | {"of": method}, maps, ("image",), tolerance=MAPS)
        first = partial(measure.filters, study, key)
        yield Unit("03_scale", who(key) | {"of": "first layer"}, first, ("measure", "at"))
        for layer in measure.depth_layers(study, study.model(*key)):
            excited = partial(measure.unit_rows, study, key, layer)
            yield Unit("03_scale", who(key) | {"of": layer}, excited, ("measure", "at"), tolerance=ASCENTS)


def _changed(study: Study, key: ModelKey, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[Row]:
    top1, images = measure.changed_accuracy(study, key, change)
    yield {"value": top1, "images": images}


def _maps(study: Study, key: ModelKey, method: str, batch: int, size: int) -> Iterator[Row]:
    found = measure.map_measures(study, key, method, [batch])
    columns = {name: found[of].tolist() for name, of in measure.BY_IMAGE.items()}
    for place in range(len(found[measure.BY_IMAGE["median_frequency"]])):
        yield {"image": batch * size + place} | {name: values[place] for name, values in columns.items()}
