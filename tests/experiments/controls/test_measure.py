"""Controls: what they are, one number a model and measure, and where they lie between STD and ADV."""

import dataclasses
from itertools import product

import numpy as np
import pandas as pd
import pytest

from advlook.core import RequestError
from advlook.core.names import MAIN
from advlook.core.preset_files import load_preset
from advlook.corruptions.severities import FAMILIES
from advlook.experiments.controls import figures, findings, measure
from advlook.experiments.controls.rulers import CLEAN, HYBRIDS, LOW_PASSED, RULERS, UNITS
from advlook.study import Study
from advlook.study.tables import write_table

CUTOFFS = (0.02, 0.04, 0.08, 0.16, 0.32)
IMAGES = 20


def rows_of(key, strength):
    """Tables of one model, by the names of notebooks 01, 03 and 04. strength: 0 like STD, 1 like ADV: the change of
    sides goes from 0.16 down to 0.04 cycles a pixel, the clean accuracy from 90 to 80 percent."""
    about = dict(zip(("arch", "setting", "seed"), key, strict=True))
    side = 0.16 * 2 ** (-2 * strength)
    clean = 90 - 10 * strength
    right = np.arange(IMAGES) < IMAGES * clean / 100
    tables = {"01_tradeoff": [{"top1": clean, "robust_pgd": 60 * strength, "images": IMAGES}]}
    tables["04_hybrids"] = [
        {"condition": MAIN, "cutoff": cutoff, "images": IMAGES}
        | {"by_coarse": np.full(IMAGES, cutoff >= 1.01 * side), "by_fine": np.full(IMAGES, cutoff <= 0.99 * side)}
        for cutoff in CUTOFFS
    ]
    tables["04_answers"] = [
        {"operation": operation, "level": 0.1, "kept": 20 + 40 * strength}
        for operation in ("low-pass", "high-pass", "shuffled")
    ]
    tables["04_sweeps"] = [
        {"operation": operation, "level": level, "top1": clean - level * (30 - 20 * strength)}
        for operation, level in product(("blur", "median", "reversal"), (0.0, 1.0))
    ]
    tables["04_families"] = [
        {"corruption": title, "severity": level, "top1": clean - 5 * level}
        for title, level in product(FAMILIES, (0, 3))
    ]
    tables["04_masking"] = [{"frequency": 0.0, "noise": 0.0, "images": IMAGES, "right": right}] + [
        {"frequency": band, "noise": noise, "images": IMAGES, "right": right & (noise < 0.1)}
        for band, noise in product((0.05, 0.1), (0.04, 0.16))
    ]
    measures = ("filter_norm", "unit_median_frequency", "unit_colour_variance")
    tables["03_scale"] = [{"measure": "answers_half_frequency", "value": 0.2}] + [
        {"measure": name, "of": of, "value": first + 0.1 * strength}
        for name, (of, first) in product(measures, (("first", 9.0), ("deep", 0.2), ("deeper", 0.3)))
    ]
    tables["03_maps"] = [
        {"of": method, "image": 0, "median_frequency": 0.2, "edge_correlation": 0.1 + strength}
        for method in ("guided_backprop", "loss_gradient")
    ]
    return {name: pd.DataFrame([about | row for row in rows]) for name, rows in tables.items()}


def save(folder, prefix, strengths):
    """Write the tables of models by their keys, under the numbers of their notebooks or under one number."""
    every = [rows_of(key, strength) for key, strength in strengths.items()]
    for name in every[0]:
        table = pd.concat([tables[name] for tables in every], ignore_index=True)
        write_table(folder / f"{prefix or name[:2]}{name[2:]}.csv", table)


@pytest.fixture
def study(tmp_path):
    """Preset smoke with two seeds; STD of one seed is a little like ADV."""
    preset = load_preset("smoke")
    controls = {name: dataclasses.replace(control, seeds=(0, 1)) for name, control in preset.controls.items()}
    study = Study(dataclasses.replace(preset, seeds=(0, 1), controls=controls), output=tmp_path, progress=False)
    folder = study.output / "tables"
    both = {("resnet10", setting, seed): float(setting == "adv") for setting in ("std", "adv") for seed in (0, 1)}
    save(folder, "", both | {("resnet10", "std", 1): 0.1, ("alexnet_bn", "std", 0): 0.0})
    save(folder, "09", {("resnet10", name, seed): 0.5 for name in controls for seed in (0, 1)})
    return study


def value(rulers, setting, ruler, seed=0):
    (found,) = rulers.loc[(rulers[["setting", "ruler", "seed"]] == [setting, ruler, seed]).all(axis=1), "value"]
    return found


def test_a_dose_differs_in_nothing_but_the_radius(study):
    """Smoke's `adv-4` is a dose; the noisy STD is none, nor is an adversary of another kind at the same radius."""
    kinds = measure.described(study).set_index("setting")
    assert kinds.loc[["std", "adv", "adv-4", "noisy"], "kind"].tolist() == ["dose", "dose", "dose", "control"]
    assert kinds.loc[["std", "adv-4", "adv"], "eps"].is_monotonic_increasing
    assert kinds.loc["noisy", "eps"] == 0
    dose = study.preset.controls["adv-4"]
    for section, change in (
        ("adversary", {"method": "pgd"}),
        ("adversary", {"norm": "l2"}),
        ("training", {"noise": 0.1}),
    ):
        changed = dataclasses.replace(dose, **{section: dataclasses.replace(getattr(dose, section), **change)})
        study.preset = dataclasses.replace(study.preset, controls={"other": changed})
        assert measure.described(study).set_index("setting").loc["other", "kind"] == "control"
    study.preset = dataclasses.replace(study.preset, controls={"other": dataclasses.replace(dose, epochs=1)})
    assert measure.described(study).set_index("setting").loc["other", "kind"] == "control"


def test_rulers_read_what_is_there(study):
    """Numbers come out as they were put in: of the controls, and of STD and ADV of their architecture and seeds."""
    rulers = measure.derived_tables(study)["09_rulers"]
    assert set(rulers["arch"]) == {"resnet10"}
    assert set(rulers["ruler"]) == {*RULERS, measure.OVERTAKES}
    assert value(rulers, "std", CLEAN) == 90
    assert value(rulers, "adv-4", CLEAN) == 85
    assert value(rulers, "std", HYBRIDS) == pytest.approx(0.16)
    assert value(rulers, "adv", HYBRIDS) == pytest.approx(0.04)
    assert value(rulers, "noisy", HYBRIDS) == pytest.approx(0.08)
    assert value(rulers, "adv", LOW_PASSED) == 60
    assert value(rulers, "std", UNITS) == pytest.approx(0.25)  # without the first layer
    # Blur takes 30 points a pixel of STD, and 10 of ADV, which starts 10 points behind.
    assert value(rulers, "adv", measure.OVERTAKES) == pytest.approx(0.5)
    assert not ((rulers["ruler"] == measure.OVERTAKES) & (rulers["setting"] == "std")).any()


def test_positions_lie_between_std_and_adv(study):
    """Where it belongs on the way from the mean of STD to the mean of ADV; nowhere if these two do not differ."""
    found = measure.derived_tables(study)["09_positions"]
    assert set(found["setting"]) == {"adv-4", "noisy"}
    clean = found[found["ruler"] == CLEAN]
    assert clean["position"].tolist() == pytest.approx([(0.5 - 0.05) / 0.95] * 4)
    assert clean["apart"].all()
    sides = found[found["ruler"] == HYBRIDS]  # in octaves: half of the way in these, not in cycles per pixel
    assert sides["position"].tolist() == pytest.approx([(0.5 - 0.125) / 0.875] * 4, abs=0.02)
    same = found[found["ruler"] == "changed answers"]
    assert same["position"].isna().all()
    assert not same["apart"].any()


def test_seeds_that_overlap_are_not_apart():
    """STD at 1 and 3 overlaps ADV at 2 and 4; 1 and 2 are apart from 4 and 5, by more than the range of either."""
    for values, apart in (((1, 3, 2, 4), False), ((1, 2, 4, 5), True), ((1, 3, 4, 6), False)):
        keys = product(("std", "adv"), (0, 1))
        rows = [(setting, seed, value) for (setting, seed), value in zip(keys, values, strict=True)]
        table = pd.DataFrame([*rows, ("mine", 0, 3)], columns=["setting", "seed", "value"])
        assert measure.positions(table.assign(arch="resnet10", ruler=CLEAN))["apart"].tolist() == [apart]


def test_figures_and_tables_show_every_model(study):
    """A panel a ruler of the dose, a line a measure, a dot a control and seed, and the numbers to be read."""
    models, rulers, positions = measure.derived_tables(study).values()
    dose = figures.dose_response(models, rulers)
    assert len(dose.axes) == len(figures.PANELS)
    assert [text.get_text() for text in dose.axes[0].get_xticklabels()] == ["0", "4", "8"]
    (panel,) = figures.between(models, positions).axes
    assert len([line for line in panel.lines if len(line.get_xdata()) == 1]) == 2 * len(RULERS)
    values = figures.values(models, rulers)
    assert values.shape == (len(RULERS) + 1, 4)
    assert values.loc[("ResNet-10", CLEAN), "ADV 4/255"] == "85 (85 to 85)"
    assert figures.described(models).loc["ADV 4/255", "radius"] == "4/255"
    doses = figures.dose_values(models, rulers).set_index("by radius")
    assert doses.columns.tolist() == ["STD", "4/255", "8/255"]
    assert len(doses) == len(figures.PANELS)
    assert doses.loc["clean accuracy [%]", "4/255"] == "85 (85 to 85)"
    controls = figures.control_values(models, rulers, positions).set_index("model")
    assert controls.index.tolist() == ["STD", "STD, trained on noise", "ADV"]
    assert controls["median position"].tolist() == ["0", "0.45", "1"]
    assert controls.loc["ADV", "clean accuracy [%]"] == values.loc[("ResNet-10", CLEAN), "ADV"]


def test_radii_lie_an_octave_apart():
    """On the axis a doubling is one step, and 0 stands one step to the left of the smallest."""
    assert figures.places([0.0, 1 / 255, 2 / 255, 8 / 255]) == pytest.approx(
        {0.0: 0, 1 / 255: 1, 2 / 255: 2, 8 / 255: 4}
    )


def test_a_preset_without_controls_is_refused(study):
    """In one line, before anything is trained."""
    study.preset = dataclasses.replace(study.preset, controls={})
    with pytest.raises(RequestError, match="smoke has no controls"):
        measure.control_tables(study)


def test_earlier_tables_are_needed_before_training(study, monkeypatch):
    """A missing notebook 04 is told before hours of training."""
    (study.output / "tables" / "04_hybrids.csv").unlink()
    monkeypatch.setattr(study, "train_all", lambda controls: pytest.fail("trained"))
    with pytest.raises(RequestError, match="04_hybrids"):
        measure.control_tables(study)


def test_what_is_told_follows_the_tables(study):
    """Every panel of the dose and every control has its sentence, with the numbers that the fixture put in."""
    models, rulers, positions = measure.derived_tables(study).values()
    lines = findings.over_radius(models, rulers)
    assert len(lines) == len(figures.PANELS)
    assert lines[0] == "**ResNet-10**, clean accuracy at 0, 4, 8/255: 89.5, 85, 80 %; it falls at every step."
    (line,) = findings.between(models, positions)
    assert line.startswith("**ResNet-10**, STD, trained on noise: median position 0.45 ")
    checks = {"arch": "resnet10", "seed": 0, "epoch": [1, 2, 3], "fgsm": [40.0, 55.0, None], "pgd": [38.0, 41.0, None]}
    history = pd.concat([pd.DataFrame(checks | {"setting": setting}) for setting in ("adv-4", "noisy")])
    told = "**ResNet-10**, ADV 4/255: at the end of training FGSM and PGD leave 55.0% and 41.0% (seed 0)."
    assert findings.trained(models, history) == [told]
    only = models[models["setting"] != "adv-4"]
    assert findings.over_radius(only, rulers) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((1.0, 2.0, 3.0), "rises at every step"),
        ((3.0, 2.0, 1.0), "falls at every step"),
        ((1.0, 3.0, 2.0), "rises at first, and turns at 1/255"),
        ((np.inf, 0.8, 0.7), "is not reached at every radius"),
        ((np.inf, np.inf, 0.7), "is not reached at every radius"),
    ],
)
def test_where_a_value_turns_is_told(values, told):
    """By the radius at which its course changes; never is told as such."""
    assert findings.course(pd.Series(values, index=[0.0, 1 / 255, 2 / 255])) == told
