"""What claims on ensembles compare: which image sets and runs count, their mean, and the same photographs degraded."""

import numpy as np
import pandas as pd
import pytest
from made_up import ARCHS, bits, made_up, set_right

from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.measure import CLAIMS
from advlook.stats import rules
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, NO_DIFFERENCE, SUPPORTED, UNTESTED

JOINED, HIGH, LOW, BEST, GAINS, CLOSE = OWN = [claim for claim in CLAIMS if claim.table[:2] == "06"]


def compared(tables):
    """The comparisons of the claims on ensembles, by claim."""
    return rules.compare({name: tables[name] for name in tables if name[:2] == "06"}, OWN).set_index("claim")


def untested(tables, names=None):
    """The reason of every claim on ensembles that is not tested."""
    found = claims.evaluate({name: tables[name] for name in names or tables}, OWN).set_index("claim")
    return found.loc[found["verdict"] == UNTESTED, "reason"].to_dict()


@pytest.fixture
def tables():
    """Of one architecture and 200 images."""
    return made_up(units=200, archs=ARCHS[:1])


def test_ensembles_are_judged_with_frozen_backbones(tables):
    """Fine-tuned ones say nothing, however accurate they are."""
    table = tables["06_runs"]
    before = compared(tables)
    set_right(table, (table["dataset"] == "birds") & (table["mode"] == "fine-tuned"), 0.95, 200)
    pd.testing.assert_frame_equal(compared(tables), before)
    set_right(table, (table["dataset"] == "birds") & (table["mode"] == "frozen"), 0.95, 200)
    found = compared(tables).loc[JOINED.name]
    assert found["effect"] == pytest.approx((30 + 30 + 30 + 0) / 4)
    assert (found["at"], found["units"]) == ("mean of 4 image sets", 800)


def test_runs_of_the_same_checkpoints_are_one():
    """Of two seeds there is one pair, in whichever order; more runs are no more trainings."""
    for seeds, pairs in (((0, 1), 1), ((0, 1, 2), 3)):
        tables = made_up(units=50, seeds=seeds, archs=ARCHS[:1])
        for name in ("06_runs", "06_resolution"):
            runs = tables[name]
            tables[name] = pd.concat([runs, runs[runs["seed"] == 0].assign(seed=9)])
        found = compared(tables)["seeds"]
        assert found[JOINED.name] == found[CLOSE.name] == len(seeds)
        assert found[HIGH.name] == found[GAINS.name] == pairs


def test_resolution_is_that_of_the_image_set(tables):
    """Up to 32 pixels a side, as in the paper, whatever size models see."""
    runs = tables["06_runs"]
    set_right(runs, (runs["pixels"] == 32) & (runs["combination"] == "ADV+ADV"), 0.9, 200)
    set_right(runs, (runs["pixels"] == 64) & (runs["combination"] == "STD+STD"), 0.7, 200)
    found = compared(tables).loc[[HIGH.name, LOW.name]]
    assert found["effect"].tolist() == pytest.approx([(10 + 20) / 2, (30 + 20) / 2])
    assert set(found["at"]) == {"mean of 2 image sets"}


def test_sets_that_the_backbones_were_trained_on_are_left_out(tables):
    """Of ensembles on different sets; what compares a set with itself at another resolution is as it was."""
    runs = tables["06_runs"]
    set_right(runs, (runs["dataset"] == "numbers") & (runs["combination"] == "STD+ADV"), 0.0, 200)
    before = compared(tables)
    assert before.loc[JOINED.name, "effect"] == pytest.approx((3 * 30 - 60) / 4)
    runs["known"] = runs["dataset"] == "numbers"
    found = compared(tables)
    assert found.loc[JOINED.name, ["effect", "at"]].tolist() == [pytest.approx(30), "mean of 3 image sets"]
    same = [GAINS.name, CLOSE.name], ["at", "effect", "low", "high", "p"]
    pd.testing.assert_frame_equal(found.loc[same], before.loc[same])
    assert untested(tables) == {
        LOW.name: "image sets of low resolution that were run and are new to the backbones: 1; it takes two"
    }


def test_the_same_images_count_once(tables):
    """Of a set that was run at several resolutions the finest counts, of those that are asked for."""
    runs = tables["06_runs"]
    tables["06_runs"] = runs.assign(dataset=runs["dataset"].replace("photographs", "birds"))
    assert compared(tables).loc[JOINED.name, ["at", "units"]].tolist() == ["mean of 3 image sets", 600]
    assert list(untested(tables)) == [HIGH.name]


def test_a_mean_decides_what_single_sets_leave_open():
    """A lead of a point on each of eight small sets is clear in their mean, and that on two of them is not."""
    table = made_up(units=100, archs=ARCHS[:1])["06_runs"]
    table = table[(table["dataset"] == "digits") & (table["mode"] == "frozen")]
    own, rng = [], np.random.default_rng(0)
    for number in range(8):
        order = rng.permutation(100)
        rates = table["combination"].map(lambda name: 0.61 if name == "STD+ADV" else 0.6)
        right = [bits(rate, 100)[order] for rate in rates]
        own.append(table.assign(dataset=f"set {number}", right=right))
    few, many = (claims.evaluate({"06_runs": pd.concat(own[:count])}, [JOINED]).iloc[0] for count in (2, 8))
    assert (few["effect"], few["verdict"]) == (pytest.approx(1), NO_DIFFERENCE)
    assert (many["effect"], many["verdict"]) == (pytest.approx(1), SUPPORTED)


def test_only_the_ends_of_the_resolution_are_compared(tables):
    """From the finest to the coarsest, set by set; of a single set the levels are named."""
    table = tables["06_resolution"]
    set_right(table, table["resolution"] == 32, 0.0, 200)
    found = compared(tables)
    assert found.loc[[GAINS.name, CLOSE.name], "effect"].tolist() == pytest.approx([20, 0], abs=1e-9)
    assert set(found.loc[[GAINS.name, CLOSE.name], "at"]) == {"mean of 2 image sets"}
    fine = (table["dataset"] == "birds") & (table["resolution"] == 96)
    set_right(table, fine & (table["combination"] == "ADV+ADV"), 0.9, 200)
    set_right(table, fine & (table["combination"] == "STD+ADV"), 0.7, 200)
    assert compared(tables).loc[[GAINS.name, CLOSE.name], "effect"].tolist() == pytest.approx([10, 10])
    tables["06_resolution"] = table[table["dataset"] == "photographs"]
    assert set(compared(tables).loc[[GAINS.name, CLOSE.name], "at"]) == {"photographs, 64 to 8 px"}


@pytest.mark.parametrize(("rate", "verdict"), [(0.61, INCONCLUSIVE), (0.7, CONTRADICTED)])
def test_coming_closer_is_a_change_as_well(rate, verdict):
    """One of each that overtakes the better pair as the resolution falls depends on it, too."""
    tables = made_up(units=1000, archs=ARCHS[:1])
    table = tables["06_resolution"]
    set_right(table, (table["resolution"] == 8) & (table["combination"] == "STD+ADV"), rate, 1000)
    found = claims.evaluate(tables, OWN).set_index("claim")["verdict"]
    assert (found[CLOSE.name], found[GAINS.name]) == (verdict, SUPPORTED)


def test_what_cannot_be_compared_is_told(tables):
    """Without answers or members, on one resolution, and on one image set."""
    own = {GAINS.name, CLOSE.name}
    table = tables["06_resolution"]
    for name in ("right", "members"):
        without = untested(tables | {"06_resolution": table.drop(columns=name)})
        assert without == dict.fromkeys(own, f"table 06_resolution has no column {name}; run notebook 06 again")
    alone = untested(tables | {"06_resolution": table[table["resolution"] == 8]})
    assert alone == dict.fromkeys(own, "no image set was run at two resolutions")
    runs = tables["06_runs"]
    found = untested(tables | {"06_runs": runs[runs["dataset"] != "birds"]})
    assert found == {
        HIGH.name: "image sets of high resolution that were run and are new to the backbones: 1; it takes two"
    }
