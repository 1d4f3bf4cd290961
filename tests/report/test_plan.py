"""What a pair of models takes is what its measurements show to it."""

import dataclasses

import pytest
from helpers import Linear, image_set, small_preset

from advlook.experiments.corruptions import contrast, measure, scale
from advlook.report.plan import _KINDS, forward_passes
from advlook.study.study import Study

SIDE, IMAGES = 24, 40
CONFIG = {
    "images": 30,
    "sigmas": (0.5, 1.0, 2.0),
    "passes": (1, 2),
    "median_kernels": (3,),
    "family_images": 12,
    "pairs": 10,
    "controls": 4,
    "masked": 4,
}


SHOWN_ONCE = (measure.sweep_rows, measure.family_rows, scale.answer_rows, scale.masking_rows, contrast.contrast_rows)


@pytest.fixture
def shown():
    """How many images the models of `study` were shown, a number each time."""
    return []


@pytest.fixture
def study(tmp_path, shown):
    """A study whose only pair of models counts the images it is shown."""
    preset = dataclasses.replace(small_preset(corruptions=CONFIG), archs=("resnet10",), seeds=(0,))
    study = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    for setting in ("std", "adv", "random"):
        study._models["resnet10", setting, 0] = model = Linear(3, SIDE).eval()
        model.register_forward_hook(lambda model, images, logits: shown.append(len(logits)))  # in copies, too
    study.__dict__["test"] = image_set(IMAGES, SIDE)
    return study


@pytest.mark.parametrize("number", [1, 2])
def test_notebook_04_shows_as_many_images_as_planned(study, shown, number):
    """Every measurement of the notebook is counted; hybrid images are also shown to the untrained model."""
    more = {name: number * CONFIG[name] for name in ("family_images", "pairs", "masked")}
    study.preset = dataclasses.replace(study.preset, corruptions=dataclasses.replace(study.preset.corruptions, **more))
    key, counts = ("resnet10", "std", 0), {}
    for measured in (*SHOWN_ONCE, scale.hybrid_rows):
        shown.clear()
        list(measured(study, key))
        counts[measured.__name__] = sum(shown)
    counts["hybrid_rows"] *= _KINDS
    assert forward_passes(study.preset, IMAGES)["04"] == pytest.approx(sum(counts.values()), rel=0.1), str(counts)
