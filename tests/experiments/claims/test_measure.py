"""Claims: every verdict of every rule, and all claims on the tables of a made-up world and of one that is reversed."""

import dataclasses
from itertools import product

import numpy as np
import pandas as pd
import pytest

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.core.preset_files import load_preset
from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.figures import forest
from advlook.experiments.claims.measure import CLAIMS
from advlook.experiments.corruptions.scale import CUTOFFS, conditions
from advlook.stats import Estimate, Sample, estimate, rules, verdict_text
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED, Rule
from advlook.study.study import Study
from advlook.study.tables import write_table

ARCHS = ("alexnet_bn", "resnet10")
STYLES = 20
COSTS = next(claim for claim in CLAIMS if claim.name == "robustness costs accuracy")
ON_ATTACKS = CLAIMS[CLAIMS.index(COSTS) :][:2]
# Claims on the radius compare their table's models with STD and ADV of an earlier notebook's.
BESIDE = {"01_tradeoff": "cost follows the radius", "04_hybrids": "scale follows the radius"}
SHAPE = {"ADV goes by shape", "ADV answers by shape more often"}


def bits(rate, units):
    """The first of so many images are right: models that are right more often are so on the same ones."""
    return np.arange(units) < np.float32(rate * units)


def made_up(right=True, units=1000, seeds=(0, 1), archs=ARCHS):
    """All tables that claims read, of a world where all that the paper says is clearly so; or else is clearly not."""
    tables = {claim.table: [] for claim in CLAIMS}
    for arch in archs:
        for seed in seeds:
            for setting in ("std", "adv"):
                who = {"arch": arch, "setting": setting, "seed": seed}
                for name, rows in of_model(setting == "adv", right, units, seed).items():
                    tables[name] += [who | row for row in rows]
            between = {"arch": arch, "setting": "adv-1", "seed": seed}
            tables["09_tradeoff"].append(between | {"right": bits(0.8, units), "images": units})
            tables["09_hybrids"] += [between | row for row in shown_hybrids(0.08, units)]
            tables["06_runs"] += [{"arch": arch, "seed": seed} | row for row in runs(right, units, seeds, seed)]
        tables["07_sanity"] += [{"arch": arch} | row for row in similarities(right, units, seeds)]
    found = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    for name in ("04_answers", "04_masking"):
        found[name]["chance"] = 0.1
    radii = {"setting": ["std", "adv", "adv-1", "noisy"], "eps": [0, 4 / 255, 1 / 255, 0]}
    found["09_models"] = pd.DataFrame(radii | {"kind": ["dose", "dose", "dose", "control"]})
    styles = [f"{image % STYLES}.jpg" for image in range(units)]
    found["05_checked"] = pd.DataFrame({"image": range(units), "style": styles})
    found["05_checks"] = pd.DataFrame({"check": ["texture", "shape"], "passed": True})
    return found


def set_right(table, chosen, rate, units):
    """Let the chosen rows be right about this share of the images."""
    table["right"] = [bits(rate, units) if each else old for each, old in zip(chosen, table["right"], strict=True)]


def of_model(adv, right, units, seed):
    """Of one model, rows by table. Values are of STD and ADV; `seed` moves both a little."""

    def of(std, value):
        return value if adv else std

    def either(paper, other):
        return of(*(paper if right else other))

    spread = 1 + 0.1 * np.sin(np.arange(units)) + 0.01 * seed
    edges = either((0.2, 0.4), (0.4, 0.2)) * spread
    frequencies = either((0.4, 0.2), (0.2, 0.4)) * spread
    layers = ("conv1", "conv2", "conv3")
    sizes = [
        {"measure": measure, "of": layer, "at": k, "value": size * either((2.0, 1.0), (1.0, 2.0))}
        for measure in ("filter_norm", "unit_median_frequency", "unit_colour_variance")
        for layer in (layers[:1] if measure == "filter_norm" else layers)
        for k, size in enumerate(spread)
    ]
    blurred = ((0, of(0.9, 0.8)), (1, either((0.8, 0.7), (0.5, 0.8))), (9, 0.1))
    filtered = ((0, of(0.9, 0.8)), (1, either((0.8, 0.75), (0.8, 0.5))), (2, either((0.5, 0.7), (0.7, 0.4))), (9, 0.1))
    levels = [
        (op, *each) for op, sweep in (("blur", blurred), ("blur 3x3", blurred), ("median", filtered)) for each in sweep
    ]
    control = {"right_control": bits(of(0.8, 0.76), units), "images": units}
    return of_scale(adv == right, units) | {
        "01_tradeoff": [
            {
                "right": bits(either((0.9, 0.7), (0.7, 0.9)), units),
                "images": units,
                "right_pgd": bits(either((0.1, 0.5), (0.5, 0.1)), units),
            }
        ],
        "03_maps": [
            {"of": "loss_gradient", "image": k, "edge_correlation": value, "median_frequency": 0.3}
            for k, value in enumerate(edges)
        ]
        + [
            {"of": "guided_backprop", "image": k, "edge_correlation": 0.3, "median_frequency": value}
            for k, value in enumerate(frequencies)
        ],
        "03_scale": sizes,
        "04_sweeps": [
            {"operation": op, "level": level, "top1": 100 * rate, "images": units, "right": bits(rate, units)}
            for op, level, rate in levels
        ],
        "05_variants": [
            {"variant": variant, "strength": strength, "right": bits(rate, units), **control}
            for variant, strength, rate in (
                ("reversed", 0, either((0.4, 0.37), (0.6, 0.15))),
                ("stylized", 0.5, of(0.6, 0.6)),
                ("stylized", 1, either((0.2, 0.5), (0.5, 0.2))),
            )
        ],
        "05_conflicts": [
            {"by_shape": bits(shape, units), "by_texture": bits(0.8 - shape, units), "images": units}
            | {"source": np.arange(units), "valid": True, "reason": np.nan}
            for shape in (either((0.2, 0.6), (0.6, 0.2)),)
        ],
    }


def of_scale(coarse, units):
    """Of one model, rows on the scale of its answers: it reads coarse structure, or else fine detail."""
    masking = [{"frequency": 0.0, "noise": 0.0, "right": bits(0.9, units), "images": units}]
    answers = [
        {"operation": operation, "level": level, "right": bits(rate, units), "images": units}
        for operation, level, rate in (
            ("clean", 0.0, 0.9),
            ("low-pass", 0.06, 0.6 if coarse else 0.2),
            ("low-pass", 0.09, 0.7 if coarse else 0.3),
            ("high-pass", 0.06, 0.2 if coarse else 0.6),
            ("shuffled", 2.0, 0.7 if coarse else 0.3),
        )
    ]
    for frequency, noise in product((0.05, 0.1, 0.2, 0.4), (0.02, 0.04, 0.08, 0.16)):
        weight = np.exp(-(np.log2(frequency / (0.08 if coarse else 0.25)) ** 2))
        rate = 0.1 + 0.8 / (1 + (25 * weight * noise) ** 3)
        masking.append({"frequency": frequency, "noise": noise, "right": bits(rate, units), "images": units})
    hybrids = shown_hybrids(0.04 if coarse else 0.16, units)
    return {"04_hybrids": hybrids, "04_answers": answers, "04_masking": masking}


def shown_hybrids(scale, units):
    """Of a model that goes over to the coarse image at this cut-off, under every condition."""
    rows = []
    for condition, cutoff in product(conditions(), CUTOFFS):
        by_coarse = bits(1 / (1 + (scale / cutoff) ** 3), units)
        answers = {"by_coarse": by_coarse, "by_fine": ~by_coarse, "images": units}
        rows.append({"condition": condition, "cutoff": cutoff} | answers)
    return rows


def runs(right, units, seeds, seed):
    """One run of every combination on four sets, two of them of low resolution."""
    for dataset, pixels in (("digits", 16), ("numbers", 32), ("photographs", 64), ("birds", 96)):
        high = pixels > 32
        rates = {"STD": 0.6, "ADV": 0.6, "STD+ADV": 0.9 if right else 0.4}
        if len(seeds) > 1:
            first = high == right
            rates |= {"STD+STD": 0.8 if first else 0.6, "ADV+ADV": 0.6 if first else 0.8}
        for combination, rate in rates.items():
            others = [*seeds[seeds.index(seed) :], *seeds]
            members = " ".join(f"{part.lower()}-{k}" for part, k in zip(combination.split("+"), others, strict=False))
            about = {"dataset": dataset, "pixels": pixels, "combination": combination, "members": members}
            for mode, share in (("fine-tuned", rate), ("frozen", 0.3)):
                yield about | {"mode": mode, "right": bits(share, units), "top1": 100 * share, "images": units}


def similarities(right, units, seeds):
    """Trained models of two seeds are alike, and unlike an untrained one; or the other way round. Two untrained ones
    are less alike."""
    alike, fresh, untrained = (0.6, 0.2, 0.4) if right else (0.2, 0.6, 0.4)
    about = {"method": "guided_backprop", "measure": "spearman_abs"}
    for setting in ("std", "adv"):
        pairs = [(f"random-{(seed + 1) % 2}", f"{setting}-{seed}", fresh) for seed in seeds]
        pairs += [(f"{setting}-{a}", f"{setting}-{b}", alike) for a in seeds for b in seeds if a < b]
        if setting == "std":
            pairs += [(f"random-{a}", f"random-{b}", untrained) for a in seeds for b in seeds if a < b]
        for a, b, value in pairs:
            by_image = value + 0.05 * np.cos(np.arange(units))
            row = {"model_a": a, "model_b": b, "value": by_image.mean(), "images": units, "by_image": by_image}
            yield about | row


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


def test_margins_are_those_that_are_told():
    """Five points for what counts as alike, and one for what counts as comparable: rules and their reasons agree."""
    told = {claim.name: claim.rule for claim in CLAIMS if "five" in claim.rule.reason}
    assert [(rule.low, rule.high) for rule in told.values()] == [(-5, 5)] * 4
    assert {claim.name for claim in CLAIMS if np.isfinite(claim.rule.high)} == set(told)
    (rule,) = (claim.rule for claim in CLAIMS if "one point behind" in claim.rule.reason)
    assert (rule.low, rule.high) == (-1, np.inf)


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


def test_ensembles_are_judged_where_they_have_learned_the_set():
    """Of fine-tuned and frozen the one that is more accurate over all combinations speaks, set by set."""
    tables = made_up(units=200, archs=ARCHS[:1])
    table = tables["06_runs"]
    frozen, birds = table["mode"] == "frozen", table["dataset"] == "birds"
    set_right(table, frozen & birds, 0.95, 200)
    table.loc[frozen & birds, "top1"] = 95.0
    compared = rules.compare(tables, CLAIMS).set_index(["claim", "at"]).loc["STD+ADV beats single models"]
    assert list(compared.index.str.split(", ").str[-1]) == ["fine-tuned", "fine-tuned", "fine-tuned", "frozen"]
    assert compared["effect"].tolist() == pytest.approx([30, 30, 30, 0])


def test_runs_of_the_same_checkpoints_are_one():
    """Of two seeds there is one pair, in whichever order; more runs are no more trainings."""
    for seeds, pairs in (((0, 1), 1), ((0, 1, 2), 3)):
        tables = made_up(units=50, seeds=seeds, archs=ARCHS[:1])
        runs = tables["06_runs"]
        tables["06_runs"] = pd.concat([runs, runs[runs["seed"] == 0].assign(seed=9)])
        found = rules.compare(tables, CLAIMS).groupby("claim")["seeds"].first()
        assert found["STD+ADV beats single models"] == len(seeds)
        assert found["STD+STD leads at high resolution"] == pairs


def test_resolution_is_that_of_the_image_set():
    """Up to 32 pixels a side, as in the paper, whatever size models see."""
    compared = rules.compare(made_up(units=50, archs=ARCHS[:1]), CLAIMS).set_index("claim")["at"].str.split(", ").str[1]
    assert list(compared["STD+STD leads at high resolution"]) == ["64 px", "96 px"]
    assert list(compared["ADV+ADV leads at low resolution"]) == ["16 px", "32 px"]


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


def test_most_sets_are_more_than_one():
    """On a single image set nothing can be said of most."""
    tables = made_up(units=50, archs=ARCHS[:1])
    tables["06_runs"] = tables["06_runs"][tables["06_runs"]["dataset"] != "birds"]
    found = claims.evaluate(tables).set_index("claim")
    assert set(found.index[found["verdict"] == UNTESTED]) == {"STD+STD leads at high resolution"}
    assert found.loc["STD+STD leads at high resolution", "reason"].endswith("were run: 1; it takes two")


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


# Files, command line, figure ---------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose tables are made up, as they come back from their files."""
    monkeypatch.setenv("ADVLOOK_OUTPUT", str(tmp_path))
    study = Study(load_preset("smoke"), output=tmp_path, data=tmp_path, progress=False)
    for name, table in made_up(units=100).items():
        plain = table
        write_table(study.output / "tables" / f"{name}.csv", plain)
    return study


def test_claims_are_read_from_files(study):
    """The saved table begins with the contract's columns; one seed's effects and the rule stand in it."""
    table, compared = claims.claim_tables(study)
    saved = study.load_table("08_claims")
    assert list(saved)[:8] == ["claim", "statement", "where", "arch", "effect", "low", "high", "verdict"]
    assert len(saved) == len(CLAIMS) * len(ARCHS)
    assert saved["verdict"].tolist() == table["verdict"].tolist()
    assert len(study.load_table("08_comparisons")) == len(compared) > len(saved)
    assert saved["effect"].to_numpy() == pytest.approx(table["effect"].to_numpy(dtype=float), nan_ok=True)


def test_a_notebook_that_writes_elsewhere_finds_the_tables(study, monkeypatch):
    """The runner lets it write into a folder of its own, and tells it where the results of the others are."""
    monkeypatch.setenv("ADVLOOK_EARLIER", str(study.output.parent))
    staged = Study(study.preset, output=study.output / ".staging-08_claims", data=study.data, progress=False)
    assert set(claims.load_tables(staged)) == set(claims.load_tables(study))
    claims.claim_tables(staged)
    assert (staged.output / "tables" / "08_claims.csv").is_file()
    assert not (study.output / "tables" / "08_claims.csv").exists()


def test_the_command_prints_a_compact_table(study, capsys):
    """A line a claim and architecture with its verdict, in 120 columns, and the sum; no result is written."""
    before = sorted(study.output.rglob("*"))
    assert main(["claims", "--preset", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 120 for line in lines)
    assert lines[0].startswith(CLAIMS[0].name)
    assert "+20.0 [" in next(line for line in lines if line.startswith("robustness costs accuracy"))
    assert len([line for line in lines if "AlexNet" in line]) == len(CLAIMS)
    assert lines[len(CLAIMS) * len(ARCHS) + 2].startswith("intervals are 95%")
    assert sorted(study.output.rglob("*")) == before


def test_the_command_prints_a_table_for_a_text(study, capsys):
    """A row a claim, a column a preset and architecture; cells are verdicts with effects."""
    assert main(["claims", "--preset", "smoke", "--preset", "smoke", "--markdown"]) == 0
    head, rule, *rows = (line.split(" | ") for line in capsys.readouterr().out.strip().strip("|").splitlines())
    assert len(head) == len(rule) == 1 + len(ARCHS)
    assert head[1].startswith("smoke, AlexNet")
    assert [row[0].removeprefix("| ") for row in rows] == [claim.statement for claim in CLAIMS]
    assert rows[CLAIMS.index(COSTS)][1].startswith("**supported** +20.0 [")
    assert rows[CLAIMS.index(COSTS)][1].endswith("] points")


def test_a_claim_that_one_preset_lacks_is_not_tested_there():
    """Tables of other architectures and of fewer claims go side by side."""
    table = claims.evaluate({"01_tradeoff": made_up(units=20)["01_tradeoff"]}, ON_ATTACKS)
    fewer = table[(table["arch"] == ARCHS[0]) & (table["claim"] == ON_ATTACKS[1].name)]
    rows = verdict_text.markdown({"one": table, "other": fewer}).splitlines()[2:]
    assert [row.count("|") for row in rows] == [3 + len(ARCHS)] * 2
    assert rows[0].endswith("| not tested |")
    assert not rows[1].endswith("| not tested |")


def test_without_any_table_the_request_is_refused(tmp_path, monkeypatch, capsys):
    """One line says what to run, and the exit code is 2."""
    monkeypatch.setenv("ADVLOOK_OUTPUT", str(tmp_path))
    assert main(["claims", "--preset", "smoke"]) == 2
    assert "advlook reproduce --preset smoke" in capsys.readouterr().err
    with pytest.raises(RequestError, match="no tables"):
        claims.load_tables(Study("smoke"))


def test_answers_name_each_architecture_where_they_differ():
    """A verdict that all share is said once."""
    table = claims.evaluate({"01_tradeoff": made_up(units=20)["01_tradeoff"]}, ON_ATTACKS)
    table.loc[3, "verdict"] = CONTRADICTED
    table.loc[:2, "verdict"] = SUPPORTED
    first, second = verdict_text.answers(table)
    assert first == f"{COSTS.statement} Supported."
    assert second.endswith("AlexNet (BN) supported, ResNet-10 contradicted.")


def test_the_figure_is_drawn_from_the_table_alone(study):
    """Every statement, number and verdict is there, also of claims that were not tested; margins are shaded."""
    (study.output / "tables" / "07_sanity.csv").unlink()
    claims.claim_tables(study)
    table = study.load_table("08_claims")
    (axis,) = forest(table).axes
    texts = [text.get_text() for text in axis.texts]
    assert set(table["statement"]) <= set(texts)
    assert sorted(text for text in texts if text in rules.VERDICTS) == sorted(table["verdict"])
    tested = table[table["verdict"] != UNTESTED]
    assert {verdict_text.told(row) for _, row in tested.iterrows()} <= set(texts)
    diamonds = [line for line in axis.lines if line.get_marker() == "D"]
    assert len(diamonds) == len(tested)
    with_margins = sum(claim.rule.low < 0 for claim in CLAIMS)
    assert len(axis.patches) == with_margins


def test_help_ends_with_an_example(capsys):
    """The help of the command has something to copy."""
    with pytest.raises(SystemExit):
        main(["claims", "--help"])
    assert "advlook claims --preset imagenette" in capsys.readouterr().out.split("example")[1]
