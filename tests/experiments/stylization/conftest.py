"""A study of photographs that a judge has answered about."""

import dataclasses

import pytest
from helpers import small_preset
from photographs import COUNTS, SIDE, SIZE, ColourJudge, fade, write_photographs

from advlook.experiments.stylization import chunks, conflicts, judge, judged
from advlook.study.study import Study


@pytest.fixture(scope="module")
def photographed(tmp_path_factory):
    """A function from changes of a preset to a study of the photographs, in one folder."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder / "datasets" / "little")

    def opened(**stylization):
        config = {"cues": 16, "steps": 2, "images": 30, "engine": "optimised", "styles": ("generated",)} | stylization
        preset = small_preset(data={"name": "little", "size": SIZE}, stylization=config, evaluation={"batch_size": 8})
        return Study(preset, output=folder, data=folder, progress=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "worker_count", lambda *_: 1)
        patch.setattr(judge, "COUNTS", COUNTS)
        values = {
            "FOLDER": folder / "judge",
            "SIDE": SIDE,
            "SIZES": (16, SIZE, SIDE),
            "TUNING_SIZES": (SIZE, SIDE),
            "BLOCKS": (8, 20),
        }
        for name, value in values.items():
            patch.setattr(judged, name, value)
        patch.setattr(judge, "Study", lambda name: opened())
        patch.setattr(judge, "Judge", ColourJudge)
        patch.setattr(judge, "style_transfer", fade)
        judge.main()
        yield opened


@pytest.fixture
def few(photographed):
    """A study of the photographs in which no set of images is at hand."""
    conflicts.photographs.cache_clear()
    study = photographed()
    study.preset = dataclasses.replace(study.preset, archs=("resnet10",))
    return study
