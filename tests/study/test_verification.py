"""What differs from a committed table is found, and named; what is equal passes."""

import json
import random
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from advlook.core import RequestError
from advlook.core.preset_files import available, load_preset
from advlook.core.presets import ControlConfig
from advlook.experiments import units
from advlook.experiments.corruptions.contrast import contrast_tables
from advlook.experiments.corruptions.measure import corruption_tables, family_rows
from advlook.experiments.corruptions.scale import scale_tables
from advlook.experiments.model_units import thinning
from advlook.experiments.train.measure import tradeoff
from advlook.experiments.units import every_unit
from advlook.study.study import Study
from advlook.study.verification import Derived, Unit, compare_checkpoints, drawn, verify, who

ABOUT = {"arch": "resnet10", "setting": "adv", "seed": 0}
TABLE = pd.DataFrame([ABOUT | {"level": level, "images": 4} for level in (0.0, 2.5)]).assign(
    top1=[75.0, 50.0], right=[np.array([True, True, True, False]), np.array([True, False, True, False])]
)


def unit(rows, **options):
    return Unit("t", ABOUT, lambda: rows, **{"keys": ("level",)} | options)


def test_equal_rows_pass():
    """Numbers within the tolerance, all answers of the drawn images, nan for nan."""
    rows = [{"level": 0.0, "top1": 75.0000001, "right": np.array([True, False])}]
    assert unit(rows, numbers=np.array([1, 3])).differences(TABLE) == []
    assert unit([{"level": 2.5, "top1": np.nan}]).differences(TABLE.assign(top1=np.nan)) == []


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"level": 0.0, "top1": 74.9}, ["level 0.0, top1", "75.0 in the table", "74.9 measured"]),
        ({"level": 2.5, "right": np.array([True, True, True, False])}, ["level 2.5, right", "1 of 4 images differ"]),
        ({"level": 3.0, "top1": 75.0}, ["level 3.0", "0 such rows"]),
        ({"level": 0.0, "top1": float("nan")}, ["nan measured"]),
    ],
)
def test_a_difference_is_named(row, named):
    """The line says which cell differs, what the table holds and what was measured."""
    (line,) = unit([row]).differences(TABLE)
    assert all(part in line for part in ["resnet10, adv, 0", *named])


def test_an_attack_may_end_differently_on_so_many_images():
    """One of four images allowed: 25 points of accuracy and one answer may differ, no more."""
    right = np.array([True, True, True, True])
    assert unit([{"level": 0.0, "top1": 100.0, "right": right}], allowed=1).differences(TABLE) == []
    assert len(unit([{"level": 2.5, "top1": 100.0, "right": right}], allowed=1).differences(TABLE)) == 2


def test_a_derived_table_is_compared_cell_by_cell():
    """The row and the column of an altered number are named; another number of rows is a difference."""
    altered = TABLE.assign(top1=[75.0, 50.5])
    (line,) = Derived("t", lambda: TABLE).differences(altered)
    assert "row 2, top1: 50.5 in the table, 50.0 derived" in line
    assert Derived("t", lambda: TABLE).differences(TABLE) == []
    assert len(Derived("t", lambda: TABLE[:1]).differences(TABLE)) == 1


@pytest.mark.parametrize("name", available())
def test_the_thinned_grid_of_frequencies_has_points(name):
    """On the small images of smoke a grid of every sixteenth frequency would have none, and `verify` would stop."""
    preset = load_preset(name)
    stride = thinning(preset) * preset.visualize.fourier_stride
    assert preset.visualize.fourier_stride <= stride <= preset.data.size // 2


def test_images_are_drawn_without_repetition():
    """As many as asked for, each once, in order."""
    numbers = drawn(100, random.Random(0))
    assert len(numbers) == len(set(numbers)) == 32
    assert numbers.tolist() == sorted(numbers)
    assert drawn(5, random.Random(0)).tolist() == [0, 1, 2, 3, 4]


SWEEPS = {"sigmas": (1.0,), "passes": (1, 2), "median_kernels": (3,), "images": 0, "family_images": 24}
SWEEPS |= {"pairs": 10, "controls": 4, "masked": 6}


@pytest.fixture(scope="module")
def made(noise, opened):
    """A function that opens a preset of two tiny models with the tables of notebooks 01 and 04."""
    study = opened(noise, corruptions=SWEEPS)
    study.measure("01_tradeoff", tradeoff)
    corruption_tables(study)
    scale_tables(study)
    contrast_tables(study)
    study.measure("04_families", family_rows)
    return lambda: opened(noise, corruptions=SWEEPS)


def verified(made):
    """The outcome of all units, and the lines that were printed."""
    lines = []
    return verify(made(), every_unit, minutes=20, seed=0, say=lines.append), "\n".join(lines)


@contextmanager
def put_back(path):
    """A file that is as it was after the block."""
    before = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(before)


def test_untouched_results_are_all_equal(made):
    """Every unit is measured and equal, which the summary and the record beside the results say."""
    outcome, lines = verified(made)
    assert outcome == 0, lines
    record = json.loads((made().output / "verified.json").read_text())
    assert record["checked"] == record["units"] > 20
    assert record["differing"] == []
    assert f"{record['units']} of {record['units']} units in" in lines
    assert "all equal" in lines


ALTERED = (("01_tradeoff", "top5", 1), ("01_tradeoff", "robust_pgd", 0))
ALTERED += (("04_sweeps", "top1", 3), ("04_families", "top1", 7))


@pytest.mark.parametrize(("table", "column", "row"), ALTERED)
def test_an_altered_number_is_found(made, table, column, row):
    """One number of a table altered: the outcome is 1, and a line names its table and column."""
    with put_back(made().output / "tables" / f"{table}.csv") as path:
        altered = pd.read_csv(path)
        altered[column] = altered[column].astype(float)
        altered.loc[row, column] += 5
        altered.to_csv(path, index=False)
        outcome, lines = verified(made)
    assert outcome == 1
    assert any(line.lstrip().startswith(table) and column in line for line in lines.splitlines())


def test_an_altered_answer_is_found(made):
    """One bit of the per-image answers turned: found by measuring, and by the accuracy that no longer follows."""
    with put_back(made().output / "tables" / "04_sweeps.npz") as path:
        right = np.load(path)["right"]
        right[2, 5] ^= True
        np.savez_compressed(path, right=right)
        outcome, lines = verified(made)
    assert outcome == 1
    assert "1 of 24 images differ" in lines


def test_an_altered_weight_is_found(made):
    """One weight of a checkpoint altered: its hash is named, and answers differ."""
    with put_back(made().find_checkpoint("resnet10", "adv", 0)) as path:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        weights = load_file(path)
        name = next(name for name in weights if name.endswith("fc.bias"))
        weights[name] = weights[name] + torch.tensor([100.0, 0.0, 0.0]).to(weights[name].dtype)
        save_file(weights, path, metadata)
        assert len(compare_checkpoints(made())[0]) == 1
        outcome, lines = verified(made)
    assert outcome == 1
    assert "checkpoint resnet10-adv-0" in lines
    assert "images differ" in lines


def test_without_results_nothing_is_verified(opened, tmp_path):
    """One line says what to run."""
    with pytest.raises(RequestError, match="no tables; run"):
        verify(opened(tmp_path), every_unit)


def test_without_checkpoints_nothing_is_verified(made, monkeypatch):
    """Not every preset's come with the project: they are named, and nothing is trained in their place."""
    study = made()
    path = study.find_checkpoint("resnet10", "adv", 0)
    monkeypatch.setattr(study, "checkpoint", lambda *key: pytest.fail("trained"))
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(RequestError, match=r"checkpoints of preset small are not here \(resnet10-adv-0\)"):
            verify(study, every_unit)
    finally:
        aside.rename(path)


def with_control(study):
    """The same study with a control that was never trained."""
    about = {"title": "again", "archs": ("resnet10",), "seeds": (4,), "adversary": study.preset.adversary}
    control = ControlConfig(like="std", training=study.preset.training, **about)
    preset = replace(study.preset, controls={"again": control})
    return Study(preset, output=study.output.parent, data=study.data, progress=False)


def test_a_control_that_did_not_come_along_is_told_and_left_out(made, tmp_path, monkeypatch):
    """Its checkpoint is no difference, nothing trains it, and units of other models stay."""
    study = with_control(made())
    record = study.output / "tables" / "01_tradeoff.json"
    with put_back(record):
        told = json.loads(record.read_text())
        told["checkpoints"]["resnet10-again-4"] = "0123"
        record.write_text(json.dumps(told))
        assert compare_checkpoints(study) == ([], ["resnet10-again-4"])
        monkeypatch.setattr(study, "checkpoint", lambda *key: pytest.fail("trained"))
        lines = []
        assert verify(study, lambda *_: [], seed=0, say=lines.append) == 0
    assert "not measured again: the checkpoints resnet10-again-4" in lines[0]
    keys = [("resnet10", "adv", 0), ("resnet10", "again", 4)]
    monkeypatch.setattr(study, "each_model", lambda *_: keys)
    monkeypatch.setattr(units, "accuracies", lambda *_: [Unit("09_tradeoff", who(key), list) for key in keys])
    monkeypatch.setattr(units, "looks", lambda *asked: [Unit("09_scale", who(key), list) for key in asked[-1]])
    monkeypatch.setattr(units, "answers", lambda *_: [Derived("09_sweeps", pd.DataFrame)])
    found = [str(each) for each in units._controls(study, random.Random(0))]
    assert [each for each in found if "again" in each] == []
    assert len(found) == 3 + 3
