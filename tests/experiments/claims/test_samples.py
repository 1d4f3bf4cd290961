"""What each claim compares: which rows count, what is a cluster, and what cannot be tested."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from made_up import ARCHS, STYLES, bits, made_up, set_right, shown_hybrids

from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.measure import CLAIMS
from advlook.stats import estimate, rules
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED

SHAPE = {"ADV goes by shape", "ADV answers by shape more often"}


@pytest.fixture(scope="module")
def small():
    """Tables of twenty images, and what they say."""
    tables = made_up(units=20)
    return tables, claims.evaluate(tables)


def test_images_that_do_not_count_as_stylized_test_nothing(small):
    """Where notebook 05 says that textures were not replaced, what models do with them is no answer."""
    failed = pd.DataFrame({"check": ["texture", "shape"], "passed": [False, True]})
    found = claims.evaluate(small[0] | {"05_checks": failed}).set_index("claim")
    assert set(found.index[found["verdict"] == UNTESTED]) == {"stylization reverses it"}
    assert found.loc["stylization reverses it", "reason"].str.contains("do not count as stylized").all()


def test_cue_conflicts_without_recognised_texture_give_no_verdict(small):
    """What was measured is told with its effect; no claim on shape rests on it, and the others are as without it."""
    tables, complete = small
    compared = rules.compare(tables, CLAIMS)
    invalid = tables["05_conflicts"].assign(valid=False, reason="too little texture at 64 px")
    found = claims.derived_tables(tables | {"05_conflicts": invalid})
    verdicts = found["08_claims"].set_index("claim")
    assert set(verdicts.index[verdicts["verdict"] == UNTESTED]) == SHAPE
    assert set(verdicts.loc[list(SHAPE), "reason"]) == {"too little texture at 64 px"}
    effects = ["claim", "arch", "effect", "low", "high"]
    pd.testing.assert_frame_equal(found["08_claims"][effects], complete[effects])
    fewer = claims.evaluate({name: table for name, table in tables.items() if name != "05_conflicts"})
    others = ~complete["claim"].isin(SHAPE)
    told = [name for name in complete if name != "reason"]
    pd.testing.assert_frame_equal(found["08_claims"].loc[others, told], fewer.loc[others, told])
    measured = [*effects, "p"]
    pd.testing.assert_frame_equal(found["08_comparisons"][measured], compared[measured])
    assert found["08_comparisons"][found["08_comparisons"]["claim"].isin(SHAPE)]["side"].isna().all()


def test_no_cue_conflicts_give_the_reason(small):
    """Of a set that has none, with rows of no images."""
    none = small[0]["05_conflicts"].assign(valid=False, reason="images of 32 px carry too little texture", images=0)
    for name in ("by_shape", "by_texture", "source"):
        none[name] = [np.empty(0, dtype=bool)] * len(none)
    found = claims.evaluate(small[0] | {"05_conflicts": none}).set_index("claim").loc[list(SHAPE)]
    assert set(found["verdict"]) == {UNTESTED}
    assert set(found["reason"]) == {"images of 32 px carry too little texture"}


def test_conflicts_that_share_a_source_are_a_cluster(small):
    """Ten sources are ten units; as many sources as images make no difference."""
    tables = small[0]
    few = tables["05_conflicts"]
    few = few.assign(source=[np.arange(len(each)) % 10 for each in few["source"]])
    for name in SHAPE:
        (claim,) = [each for each in CLAIMS if each.name == name]
        (alone,), (clustered,) = (
            map(estimate, claim.samples(tables | {"05_conflicts": table}, ARCHS[0]))
            for table in (tables["05_conflicts"], few)
        )
        (plain,) = (dataclasses.replace(each, clusters=None) for each in claim.samples(tables, ARCHS[0]))
        assert alone.units == len(few["source"].iloc[0])
        assert clustered.units == 10
        assert clustered.effect == pytest.approx(alone.effect)
        assert alone.error == pytest.approx(estimate(plain).error)
        assert clustered.error != pytest.approx(alone.error)


def test_a_radius_at_which_the_order_turns_is_named():
    """Models of a radius in between that are as accurate as STD, or coarser than ADV: not every step goes down, and the
    verdict rests on the one that goes up. Models of other kinds, such as one on noise, are no step."""
    tables = made_up(archs=ARCHS[:1])
    named = ["scale follows the radius", "cost follows the radius"]
    own = [claim for claim in CLAIMS if claim.name in named]
    found = rules.compare(tables, own)
    assert found["at"].tolist() == ["0 to 1/255", "1 to 4/255"] * 2
    assert set(found["side"]) == {"for"}
    about = [{"arch": ARCHS[0], "setting": "adv-1", "seed": seed} for seed in (0, 1)]
    tables["09_hybrids"] = pd.DataFrame([each | row for each in about for row in shown_hybrids(0.02, 1000)])
    tables["09_tradeoff"]["right"] = [bits(0.95, 1000)] * 2
    verdicts = claims.evaluate(tables, own).set_index("claim")
    assert verdicts["verdict"].tolist() == [CONTRADICTED] * 2
    assert verdicts["at"].to_dict() == dict(zip(named, ("1 to 4/255", "0 to 1/255"), strict=True))
    only = tables["09_models"][tables["09_models"]["setting"] != "adv-1"]
    reasons = claims.evaluate(tables | {"09_models": only}, own)["reason"]
    assert set(reasons) == {"no other radius than ADV's was trained with"}


def test_maps_without_a_correlation_disturb_no_other_claim(small):
    """A model whose maps are constant leaves one claim untested, and says why."""
    table = small[0]["07_sanity"].copy()
    of_one = (table["model_a"] == "adv-1") | (table["model_b"] == "adv-1")
    table["by_image"] = [
        np.full(20, np.nan) if one else each for one, each in zip(of_one, table["by_image"], strict=True)
    ]
    found = claims.evaluate(small[0] | {"07_sanity": table}).set_index("claim")
    untested = {"guided maps change with training", "guided maps show what was learned"}
    assert set(found.index[found["verdict"] == UNTESTED]) == untested


def test_styles_are_what_is_random_after_stylization():
    """A painting and its crop are one style; before stylization every image counts."""
    tables = made_up(units=200, archs=ARCHS[:1])
    styles = tables["05_checked"]["style"].replace({"1.jpg": "0_cropped.jpg"})
    tables["05_checked"] = tables["05_checked"].assign(style=styles)
    compared = rules.compare(tables, CLAIMS)
    shuffled = tables["05_checked"].sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(compared, rules.compare(tables | {"05_checked": shuffled}, CLAIMS))
    found = compared.set_index(["claim", "at"]).loc["stylization reverses it"]
    assert found["units"].to_dict() == {"before": 200, "stylized": STYLES - 1}
    del tables["05_checked"]
    found = claims.evaluate(tables).set_index("claim").loc["stylization reverses it"]
    assert (found["verdict"], found["reason"]) == (UNTESTED, "no table 05_checked; run notebook 05")


def test_a_model_that_does_well_on_one_style_reverses_nothing():
    """ADV ahead by as much, but on the images of two styles alone, may be behind on the next painting."""
    tables = made_up(units=1000, archs=ARCHS[:1])
    table, places = tables["05_variants"], np.arange(1000) % STYLES
    after = (table["variant"] == "stylized") & (table["strength"] == 1)
    for setting, styles in (("std", 4), ("adv", 6)):
        chosen = after & (table["setting"] == setting)
        table["right"] = [places < styles if each else old for each, old in zip(chosen, table["right"], strict=True)]
    found = claims.evaluate(tables).set_index("claim").loc["stylization reverses it"]
    assert (found["effect"], found["verdict"], found["held"]) == (pytest.approx(10), INCONCLUSIVE, "1 for, 1 open")


def test_a_cut_gaussian_is_a_claim_of_its_own():
    """It reads its own sweep, and is not tested where a table of earlier code lacks that."""
    tables = made_up(archs=ARCHS[:1])
    table = tables["04_sweeps"]
    cut = (table["operation"] == "blur 3x3") & (table["level"] == 1)
    for setting, rate in (("std", 0.4), ("adv", 0.8)):
        set_right(table, cut & (table["setting"] == setting), rate, 1000)
    names = ["blur keeps the difference", "blur of 3x3 pixels keeps the difference"]
    assert claims.evaluate(tables).set_index("claim").loc[names, "verdict"].tolist() == [SUPPORTED, CONTRADICTED]
    tables["04_sweeps"] = table[table["operation"] != "blur 3x3"]
    found = claims.evaluate(tables).set_index("claim").loc[names]
    assert found["verdict"].tolist() == [SUPPORTED, UNTESTED]
    assert found["reason"].iloc[1] == "table 04_sweeps lacks this filter; run notebook 04 again"


def test_trained_models_that_agree_no_more_than_untrained_ones_show_nothing_learned():
    """Their maps may differ from those of untrained networks all the same."""
    tables = made_up(units=100, archs=ARCHS[:1])
    table = tables["07_sanity"]
    untrained = table["model_a"].str.startswith("random") & table["model_b"].str.startswith("random")
    table["by_image"] = [each + 0.3 * one for each, one in zip(table["by_image"], untrained, strict=True)]
    found = claims.evaluate(tables).set_index("claim")["verdict"]
    assert found["guided maps change with training"] == SUPPORTED
    assert found["guided maps show what was learned"] == CONTRADICTED


def test_effects_are_what_the_tables_say():
    """Points, percent less, relative differences and shape bias, on numbers that can be worked out by hand."""
    found = claims.evaluate(made_up(units=100, archs=ARCHS[:1])).set_index("claim")["effect"]
    assert found["robustness costs accuracy"] == pytest.approx(90 - 70)
    assert found["robustness is gained"] == pytest.approx(50 - 10)
    assert found["first-layer weights are smaller"] == pytest.approx(50)
    assert found["guided maps are coarser"] == pytest.approx(50)
    assert found["blur keeps the difference"] == pytest.approx((70 - 80) - (80 - 90))
    assert found["median filtering reverses it"] == pytest.approx(70 - 50)
    assert found["reversed colours take equal points"] == pytest.approx((80 - 40) - (76 - 37))
    assert found["reversed colours take equal shares"] == pytest.approx(100 * (0.37 / 0.76 - 0.4 / 0.8))
    assert found["ADV goes by shape"] == pytest.approx(100 * (0.6 - 0.2) / 0.8)
    assert found["STD+ADV beats single models"] == pytest.approx(90 - 60)
    assert found["STD+ADV stays with the best"] == pytest.approx(90 - 80)
    assert found["STD+STD leads at high resolution"] == pytest.approx(80 - 60)
    assert found["ADV gains at low resolution"] == pytest.approx((90 - 70) - (60 - 60))
    assert found["STD+ADV does not depend on resolution"] == pytest.approx(0, abs=1e-9)
    assert found["ADV answers by shape more often"] == pytest.approx(60 - 20)
    assert found["guided maps change with training"] == pytest.approx(0.6 - 0.2)
    assert found["guided maps show what was learned"] == pytest.approx(0.6 - 0.4)


def test_levels_near_chance_do_not_count():
    """Where blur has taken most of both accuracies, the difference is gone in any world; levels before that count.

    ADV, which starts lower, has not lost most of its own where it is below half of STD's.
    """
    tables = made_up(units=50, archs=ARCHS[:1])
    compared = rules.compare(tables, CLAIMS)
    assert compared[compared["claim"] == "blur keeps the difference"]["at"].tolist() == ["sigma 1 px"]
    median = compared[compared["claim"] == "median filtering reverses it"]
    assert median["at"].tolist() == ["before", "median, 2 passes"]
    table = tables["04_sweeps"]
    far = (table["operation"] == "blur") & (table["level"] == 9) & (table["setting"] == "adv")
    set_right(table, far, 0.42, 50)
    for top1, counts in ((39.9, ["sigma 1 px"]), (40.1, ["sigma 1 px", "sigma 9 px"])):  # of 80 without blur
        table.loc[far, "top1"] = top1
        compared = rules.compare(tables, CLAIMS)
        assert compared[compared["claim"] == "blur keeps the difference"]["at"].tolist() == counts


def test_every_window_of_the_median_counts():
    """ADV ahead after passes of one window, and behind after those of another, is no support."""
    tables = made_up(units=200, archs=ARCHS[:1])
    table = tables["04_sweeps"]
    wider = table[table["operation"] == "median"].assign(operation="median 5x5")
    for setting, rate in (("std", 0.7), ("adv", 0.5)):
        set_right(wider, (wider["level"] == 2) & (wider["setting"] == setting), rate, 200)
    tables["04_sweeps"] = pd.concat([table, wider])
    found = claims.evaluate(tables).set_index("claim").loc["median filtering reverses it"]
    assert (found["verdict"], found["at"]) == (CONTRADICTED, "median 5x5, 2 passes")
    assert found["held"] == "2 for, 1 against"
