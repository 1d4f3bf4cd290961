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


def test_notebook_has_its_tables(study):
    """All tables are saved, degraded levels among them."""
    comparisons.fusion_tables(study)
    names = ("06_resolution", "06_comparisons", "06_trends")
    resolved, compared, changed = (study.load_table(name) for name in names)
    assert sorted(resolved["resolution"].unique()) == [4, 8, 16]
    assert set(compared["table"]) == {"06_ensembles", "06_resolution"}
    assert set(changed["combination"]) == {"STD", "STD+STD"}


def test_tables_follow_from_the_base_tables_alone(study):
    """From the saved answers come the very tables that were saved; without those of the degraded sets, a part."""
    comparisons.fusion_tables(study)
    base = {name: study.load_table(name) for name in ("06_runs", "06_resolution")}
    for name, derived in comparisons.derived_tables(base).items():
        pd.testing.assert_frame_equal(derived, study.load_table(name), check_dtype=False, rtol=1e-9)
    assert list(base["06_resolution"]["right"].map(len)) == list(base["06_resolution"]["images"])
    earlier = base | {"06_resolution": base["06_resolution"].drop(columns="right")}
    derived = comparisons.derived_tables(earlier)
    assert set(derived) == {"06_ensembles", "06_comparisons"}
    assert set(derived["06_comparisons"]["table"]) == {"06_ensembles"}


def test_without_a_set_to_degrade_the_rest_is_there(study, tmp_path, make_study):
    """Where the sets of the resolution figure are absent, the ensembles are not made in vain."""
    poor = make_study(study.data, tmp_path, degraded=("stanford-dogs",))
    fused, resolved, _, changed = comparisons.fusion_tables(poor)
    assert len(fused)
    assert len(resolved) == len(changed) == 0


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
        ("frozen_runs = 2", "frozen_runs = 0", "ensembles.frozen_runs = 0"),
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
