"""Claims: every verdict of every rule, and all claims on the tables of a made-up world and of one that is reversed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from made_up import ARCHS, COSTS, ON_ATTACKS, bits, made_up

from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.measure import CLAIMS
from advlook.stats import Estimate, Sample, rules
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED, Rule

# Claims on the radius compare their table's models with STD and ADV of an earlier notebook's.
BESIDE = {"01_tradeoff": "cost follows the radius", "04_hybrids": "scale follows the radius"}


@pytest.fixture(scope="module")
def given():
    """Verdicts by kind of world, claim and architecture."""
    worlds = {"right": made_up(), "reversed": made_up(right=False), "tiny": made_up(units=3)}
    return {name: claims.evaluate(tables).set_index(["claim", "arch"])["verdict"] for name, tables in worlds.items()}


@pytest.mark.parametrize(
    ("world", "verdict"), [("right", SUPPORTED), ("reversed", CONTRADICTED), ("tiny", INCONCLUSIVE)]
)
@pytest.mark.parametrize("claim", [claim.name for claim in CLAIMS])
def test_every_claim_follows_the_world(given, claim, world, verdict):
    """Where the paper is right it is supported, in a reversed world contradicted, and three images tell nothing."""
    assert given[world][claim].to_dict() == dict.fromkeys(ARCHS, verdict)


@pytest.fixture(scope="module")
def small():
    """Tables of twenty images, and what they say."""
    tables = made_up(units=20)
    return tables, claims.evaluate(tables)


@pytest.mark.parametrize("name", dict.fromkeys(claim.table for claim in CLAIMS))
def test_what_is_missing_is_told(name, small):
    """Without its table, or the architecture in it, a claim is not tested, says why, and disturbs no other."""
    tables, complete = small
    own = [claim for claim in CLAIMS if claim.table == name or claim.name == BESIDE.get(name)]
    found = claims.evaluate({other: table for other, table in tables.items() if other != name})
    without = found["claim"].isin([claim.name for claim in own])
    assert (found["verdict"] == UNTESTED).tolist() == without.tolist()
    assert found[without]["reason"].str.contains(f"no table {name}").all()
    effects = ["claim", "arch", "effect", "low", "high", "p"]
    pd.testing.assert_frame_equal(found[~without][effects], complete[~without][effects])
    table = tables[name]
    found = claims.evaluate(tables | {name: table[table["arch"] == ARCHS[0]]}, own)
    for _, verdicts in found.groupby("claim")["verdict"]:
        assert [verdict == UNTESTED for verdict in verdicts] == [False, True]


def test_tables_of_an_earlier_version_are_told(small):
    """A table without the record of single images names the column and the notebook to run again."""
    table = small[0]["01_tradeoff"].drop(columns="right_pgd")
    found = claims.evaluate({"01_tradeoff": table}).set_index("claim")
    assert set(found.loc["robustness costs accuracy", "reason"].isna()) == {True}
    reason = found.loc["robustness is gained", "reason"].iloc[0]
    assert reason == "table 01_tradeoff has no column right_pgd; run notebook 01 again"


def test_a_single_seed_is_enough_but_for_pairs():
    """With one seed only claims that need two models of a kind are not tested; the others are as before."""
    found = claims.evaluate(made_up(seeds=(0,), archs=ARCHS[:1])).set_index("claim")["verdict"]
    untested = {
        "STD+STD leads at high resolution",
        "ADV+ADV leads at low resolution",
        "STD+ADV stays with the best",
        "ADV gains at low resolution",
        "STD+ADV does not depend on resolution",
        "guided maps change with training",
        "guided maps show what was learned",
    }
    assert set(found[found == UNTESTED].index) == untested
    assert set(found[~found.index.isin(untested)]) == {SUPPORTED}


def test_seeds_that_disagree_leave_a_claim_open():
    """As many images as one likes do not help where one seed says yes and the other no: seeds are random too."""
    table = made_up(units=500, archs=ARCHS[:1])["01_tradeoff"]
    swapped = table["seed"] == 1
    table.loc[swapped, "right"] = table.loc[swapped, "right"].to_numpy()[::-1]
    found = claims.evaluate({"01_tradeoff": table}, [COSTS]).iloc[0]
    assert found["verdict"] == INCONCLUSIVE
    assert found["each_seed"] == "0: 20, 1: -20"
    assert found["low"] < -20 < 20 < found["high"]


def test_one_seed_that_disagrees_leaves_a_claim_open():
    """Seven seeds that say yes make the mean clear, but what the eighth contradicts holds of no training to come."""
    rng = np.random.default_rng(0)
    for last, verdict in ((-1, INCONCLUSIVE), (1, SUPPORTED)):
        effects = np.array([20.0] * 7 + [last])
        values = (effects + 0.1 * rng.normal(size=(100, 8)))[:, :, None]
        claim = dataclasses.replace(
            COSTS, samples=lambda *_, values=values: [Sample(values, lambda m: m[..., 0], range(8))]
        )
        row = claims.evaluate({"any": pd.DataFrame({"arch": ["resnet10"]})}, [claim]).iloc[0]
        assert (row["p_holm"] < 0.05, row["low"] > 0, row["verdict"]) == (True, True, verdict)


def test_margins_are_those_that_are_told():
    """Five points for what counts as alike, one for comparable and for as close: rules and their reasons agree."""
    told = {claim.name: claim.rule for claim in CLAIMS if "five" in claim.rule.reason}
    assert [(rule.low, rule.high) for rule in told.values()] == [(-5, 5)] * 4
    (close,) = (claim for claim in CLAIMS if "by less than a point" in claim.rule.reason)
    assert (close.rule.low, close.rule.high) == (-1, 1)
    assert {claim.name for claim in CLAIMS if np.isfinite(claim.rule.high)} == {*told, close.name}
    (rule,) = (claim.rule for claim in CLAIMS if "one point behind" in claim.rule.reason)
    assert (rule.low, rule.high) == (-1, np.inf)


def test_chance_and_the_order_of_images_change_no_verdict(monkeypatch):
    """Tables whose images are in another order give the same claims, twice, and no random number is drawn for them."""
    tables, order = made_up(units=80, archs=ARCHS[:1]), np.random.default_rng(0).permutation(80)
    monkeypatch.setattr(np.random, "default_rng", None)
    first, again = claims.evaluate(tables), claims.evaluate(tables)
    pd.testing.assert_frame_equal(first, again)
    moved = {name: table.copy() for name, table in tables.items()}
    for table in moved.values():
        for column in {"right", "right_pgd", "right_control", "by_shape", "by_texture", "by_image"} & set(table):
            table[column] = [each[order] for each in table[column]]
    moved["05_checked"]["style"] = moved["05_checked"]["style"].to_numpy()[order]
    pd.testing.assert_frame_equal(first, claims.evaluate(moved), rtol=1e-6, atol=1e-9)


def test_estimates_from_elsewhere_are_judged_alike():
    """A claim may bring estimates, as of published figures, in place of samples."""
    published = Estimate(12.0, 1.0, np.inf, (12.0,), 50_000)
    claim = dataclasses.replace(COSTS, samples=lambda *_: [published])
    given = claims.evaluate({"any": pd.DataFrame({"arch": ["resnet50"]})}, [claim])
    row = given.iloc[0]
    assert (row["verdict"], row["units"], row["held"]) == (SUPPORTED, 50_000, "one seed")
    pd.testing.assert_frame_equal(given, rules.conclude(rules.judge([(claim, "resnet50", published)]), [claim]))


def test_correction_counts_every_claim():
    """An effect that is clear by itself is open once it is one question among many; its interval stays as it is."""
    table = made_up(units=40, archs=ARCHS[:1])["01_tradeoff"]
    table["right"] = [bits(0.9, 40) if setting == "std" else bits(0.775, 40) for setting in table["setting"]]
    table["right_pgd"] = [bits(0.5, 40)] * len(table)
    cost, gain = ON_ATTACKS
    many = [cost, *(dataclasses.replace(gain, name=f"nothing {number}") for number in range(30))]
    alone, among = (claims.evaluate({"01_tradeoff": table}, asked).iloc[0] for asked in ([cost], many))
    assert (alone["verdict"], among["verdict"]) == (SUPPORTED, INCONCLUSIVE)
    assert (alone["low"], alone["high"], alone["p"]) == (among["low"], among["high"], among["p"])
    assert alone["p_holm"] == alone["p"]
    assert among["p_holm"] == pytest.approx(31 * alone["p"])


@pytest.mark.parametrize(
    ("effect", "width", "verdict"),
    [(0, 1, SUPPORTED), (3, 4, INCONCLUSIVE), (6, 4, INCONCLUSIVE), (9, 1, CONTRADICTED), (-9, 1, CONTRADICTED)],
)
def test_margins_need_the_whole_interval(effect, width, verdict):
    """Alike is what lies within the margins with its whole interval, not what is merely not different."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 1, 1))
    values = effect + (values - values.mean()) * width * np.sqrt(200) / (1.96 * values.std())
    claim = dataclasses.replace(
        COSTS, samples=lambda *_: [Sample(values, lambda means: means[..., 0], [0])], rule=Rule(-5, 5)
    )
    assert claims.evaluate({"any": pd.DataFrame({"arch": ["resnet10"]})}, [claim])["verdict"].item() == verdict
