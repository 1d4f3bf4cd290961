"""The tables of notebook 06: comparisons with known answers, and what is absent."""

import re

import numpy as np
import pandas as pd
import pytest

from advlook.core.errors import RequestError
from advlook.core.preset_files import PRESET_FOLDER, load_preset
from advlook.experiments.ensembles import measure as comparisons


def rows_of(right, pixels=16, mode="frozen", arch="resnet10"):
    """Rows as of `measure`: by combination, which images each run is right about, as strings of 0 and 1."""
    found = []
    for name, runs in right.items():
        for seed, answers in enumerate(runs):
            hits = np.array([answer == "1" for answer in answers])
            where = {
                "arch": arch,
                "dataset": "noise",
                "pixels": pixels,
                "mode": mode,
                "combination": name,
                "seed": seed,
            }
            what = {
                "combination": name,
                "seed": seed,
                "top1": 100 * hits.mean(),
                "images": len(hits),
                "members": "",
                "parameters": 1,
                "right": hits,
            }
            found.append(where | what)
    return pd.DataFrame(found)


def test_comparisons_are_with_the_better_one():
    """STD+ADV is compared with whichever leads; what runs answer is averaged; equal answers leave no doubt."""
    table = comparisons.comparisons(
        rows_of(
            {
                "STD": ["1" * 40 + "0" * 60],
                "ADV": ["0" * 100],
                "STD+STD": ["1" * 80 + "0" * 20],
                "ADV+ADV": ["1" * 50 + "0" * 50],
                "STD+ADV": ["1" * 80 + "0" * 20, "1" * 60 + "0" * 40],
            }
        )
    ).set_index("against")
    of_mixed = table[table["combination"] == "STD+ADV"]
    expected = {"better pair": -10, "better single": 30, "STD": 30, "ADV": 70, "STD+STD": -10, "ADV+ADV": 20}
    assert of_mixed["difference"].to_dict() == pytest.approx(expected)
    assert (of_mixed["low"] < of_mixed["difference"]).all()
    assert (of_mixed["difference"] < of_mixed["high"]).all()
    same = comparisons.comparisons(rows_of({name: ["10" * 50] for name in ("STD", "ADV", "STD+ADV")}))
    assert (same[["difference", "low", "high"]] == 0).all().all()
    assert set(same["against"]) == {"better single", "STD", "ADV"}


def test_trends_are_changes_of_the_difference():
    """From a lead of 30 points at 16 px to a lag of 20 at 4 px is a change of -50; between them nothing counts."""
    rows = pd.concat(
        [
            rows_of({"STD+STD": ["1" * 80 + "0" * 20], "ADV+ADV": ["1" * 50 + "0" * 50]}, pixels=16),
            rows_of({"STD+STD": ["1" * 90 + "0" * 10], "ADV+ADV": ["0" * 100]}, pixels=8),
            rows_of({"STD+STD": ["1" * 30 + "0" * 70], "ADV+ADV": ["1" * 50 + "0" * 50]}, pixels=4),
        ]
    )
    (row,) = comparisons.trends(rows).to_dict("records")
    assert row["change"] == pytest.approx(-50)
    assert (row["coarsest"], row["finest"], row["images"]) == (4, 16, 100)
    assert row["low"] < -50 < row["high"] < 0
    assert comparisons.trends(rows[rows["pixels"] == 16]).empty


def test_what_a_mixed_pair_loses_with_resolution():
    """STD+ADV is compared with the better pair at each resolution, whichever that is: from 5 points behind STD+STD to
    10 ahead of ADV+ADV is a change of 15."""
    fine = {"STD+STD": ["1" * 80 + "0" * 20], "ADV+ADV": ["1" * 50 + "0" * 50], "STD+ADV": ["1" * 75 + "0" * 25]}
    coarse = {"STD+STD": ["1" * 20 + "0" * 80], "ADV+ADV": ["1" * 40 + "0" * 60], "STD+ADV": ["1" * 50 + "0" * 50]}
    found = comparisons.trends(pd.concat([rows_of(fine, pixels=16), rows_of(coarse, pixels=4)])).set_index("against")
    assert found.loc["better pair", "change"] == pytest.approx(15)
    assert found.loc["ADV+ADV", "change"] == pytest.approx(-50)


def of_radius(eps, seed, right, dataset="noise"):
    """A row as of `transfer`."""
    hits = np.array([answer == "1" for answer in right])
    where = {"arch": "resnet10", "dataset": dataset, "pixels": 16, "known": False, "classes": 3, "setting": "x"}
    return where | {"seed": seed, "eps": eps, "top1": 100 * hits.mean(), "images": len(hits), "right": hits}


def test_transfer_is_compared_with_the_same_seeds():
    """A radius of a single seed is compared with STD of that seed; answers of several are averaged, image by image."""
    rows = [
        of_radius(0.0, 0, "1" * 50 + "0" * 50),
        of_radius(0.0, 1, "1" * 20 + "0" * 80),
        of_radius(0.1, 0, "1" * 60 + "0" * 40),
        of_radius(0.2, 0, "1" * 60 + "0" * 40),
        of_radius(0.2, 1, "0" * 100),
        of_radius(0.3, 7, "1" * 100),
    ]
    found = comparisons.transfer_effects(pd.DataFrame(rows)).set_index("eps")
    assert found["difference"].to_dict() == pytest.approx({0.1: 10, 0.2: -5})
    assert found["seeds"].to_dict() == {0.1: 1, 0.2: 2}
    assert (found["low"] < found["difference"]).all()
    assert (found["difference"] < found["high"]).all()
    assert comparisons.transfer_effects(pd.DataFrame(rows[:0], columns=list(rows[0]))).empty


def test_notebook_has_its_tables(study):
    """All tables are saved, degraded levels among them; without other radii than ADV's no transfer is."""
    tables = comparisons.fusion_tables(study)
    assert all((study.output / "tables" / f"{name}.csv").is_file() for name in tables)
    assert sorted(tables["06_resolution"]["resolution"].unique()) == [4, 8, 16]
    assert set(tables["06_comparisons"]["table"]) == {"06_ensembles", "06_resolution"}
    assert set(tables["06_trends"]["combination"]) == {"STD", "STD+STD", "STD+ADV"}
    assert set(tables["06_runs"]["mode"]) == {"fine-tuned", "frozen"}
    assert tables["06_runs"].groupby("mode")["images"].unique().map(list).to_dict() == {
        "fine-tuned": [9],
        "frozen": [12],
    }
    assert tables["06_transfer"].empty


def test_tables_follow_from_the_base_tables_alone(study):
    """From the saved answers come the very tables that were saved."""
    comparisons.fusion_tables(study)
    base = {name: study.load_table(name) for name in ("06_runs", "06_resolution", "06_transfer")}
    for name, derived in comparisons.derived_tables(base).items():
        pd.testing.assert_frame_equal(derived, study.load_table(name), check_dtype=False, rtol=1e-9)
    assert list(base["06_resolution"]["right"].map(len)) == list(base["06_resolution"]["images"])


def test_without_a_set_to_degrade_or_to_fine_tune_the_rest_is_there(study, tmp_path, make_study):
    """Where the sets of the resolution figure, or those that are fine-tuned, are absent, the others are not made in
    vain."""
    poor = comparisons.fusion_tables(
        make_study(study.data, tmp_path, degraded=("stanford-dogs",), fine_tuned=("stanford-dogs",))
    )
    assert set(poor["06_ensembles"]["mode"]) == {"frozen"}
    assert len(poor["06_resolution"]) == len(poor["06_trends"]) == 0


def test_nothing_to_learn_is_told(study, tmp_path, make_study):
    """Where no target is there the request is refused, with the command for each."""
    poor = make_study(study.data, tmp_path, targets=("stanford-dogs",))
    with pytest.raises(RequestError, match=r"no target of preset small is here: Stanford Dogs .* run `mkdir"):
        comparisons.fusion_tables(poor)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ('targets = ["synthetic@12", "synthetic"]', 'targets = ["synthetic@"]', "ensembles.targets.0 = 'synthetic@'"),
        ('targets = ["synthetic@12", "synthetic"]', "targets = []", "ensembles.targets = []"),
        ("sides = [6, 12]", "sides = [12, 6]", "ensembles.sides = [12, 6]: must ascend"),
        ("runs = 1", "runs = 0", "ensembles.runs = 0"),
    ],
)
def test_presets_that_make_no_sense_are_refused(tmp_path, line, changed, message):
    """A target that is not named as one, sides out of order and runs that are none are refused at once."""
    text = (PRESET_FOLDER / "smoke.toml").read_text()
    assert line in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(RequestError, match=re.escape(message)):
        load_preset(path)
