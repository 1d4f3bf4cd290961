"""Published figures: what they are of, how certain their differences are, and the verdicts of made-up figures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import small_preset

from advlook.core.errors import RequestError
from advlook.core.presets import ExternalConfig
from advlook.experiments.claims import published as there
from advlook.experiments.claims.disagreements import PUBLISHED, REASONS, SIZES, columns, committed, disagreements
from advlook.experiments.claims.published_figures import dose_response
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, NO_DIFFERENCE, SUPPORTED, UNTESTED, judge


@pytest.fixture(scope="module")
def figures():
    return there.load_published()


def made_up(tmp_path, figures, changes, images=50_000):
    """Published figures with some changed, by cell: of both STD models, and of ADV in the order of the radii."""
    table, names = pd.read_csv(there.PATH).fillna({"level": 0.0}), figures.radii().index
    keys = table[["set", "measure", "level"]].apply(tuple, axis=1)
    for cell, (std, adv) in changes.items():
        values = dict.fromkeys((there.STD, there.OTHER_STD), std) | dict(zip(names, adv, strict=True))
        chosen = (keys == cell) & table["model"].isin(values)
        table.loc[chosen, "percent"] = table.loc[chosen, "model"].map(values)
        table.loc[(keys == cell) & table["images"].notna(), "images"] = images
    table.to_csv(tmp_path / "figures.csv", index=False)
    return there.load_published(tmp_path / "figures.csv")


def verdict(figures, claim):
    tables = there.published_tables(figures)
    return there.deciding(tables["08_published"]).set_index("claim").loc[claim, "verdict"]


def test_percentages_are_whole_numbers_of_images():
    """Of model-vs-human and ImageNet-C as stated, under attack of 391 batches of 128: these counts are right."""
    table = pd.read_csv(there.PATH)
    counted = table[table["set"].isin(["model-vs-human", "imagenet-c", "imagenet"])]
    attacked = table[table["set"] == "attack"].assign(images=391 * 128)
    for rows, most in ((counted, 1e-3), (attacked, 0.03)):  # figures have four digits behind the point
        found = rows["percent"] * rows["images"] / 100
        assert len(found) > 40
        assert (found - found.round()).abs().max() < most


def test_shape_bias_rests_on_no_more_images_than_it_can(figures):
    """The images of the shape bias are a lower bound: some whole number of answers, above it, gives the bias stated."""
    trained = figures.models.index.drop("resnet50_untrained")
    right = (figures.percent.loc[there.CONFLICTS] * figures.images.loc[there.CONFLICTS] / 100).round()
    for model in trained:
        bias, least = figures.percent.loc[there.SHAPE_BIAS, model], figures.images.loc[there.SHAPE_BIAS, model]
        answers = np.arange(right[model] - 80, right[model] + 1)  # by shape, on images where texture disagrees
        decided = np.round(100 * answers / bias)
        fitting = decided[np.abs(100 * answers / decided - bias) < 6e-5]
        assert len(fitting)
        assert 0 < least <= fitting.min()


def test_variance_of_a_share_is_that_of_simulated_models(figures):
    """The variance of a share kept agrees with draws of both accuracies."""
    rng, images = np.random.default_rng(0), 50_000
    clean, kept = figures.percent.loc[there.CLEAN, there.STD] / 100, figures.percent.loc[there.LOW, there.STD] / 100
    draws = 100 * rng.binomial(images, clean * kept, 20_000) / rng.binomial(images, clean, 20_000)
    assert figures.variance.loc[there.LOW, there.STD] == pytest.approx(draws.var(), rel=0.05)


def test_error_shrinks_with_images_and_grows_with_disagreement(tmp_path, figures):
    """A hundred times the images, a tenth of the error where radii agree; radii that differ widen it, and leave few
    degrees of freedom."""
    agreeing, differing = (60, [50.0] * 5), (60, [40.0, 45.0, 50.0, 55.0, 60.0])
    few, many, spread = (
        there.estimate(made_up(tmp_path, figures, {there.CLEAN: change}, images), {there.CLEAN: 1})
        for change, images in ((agreeing, 500), (agreeing, 50_000), (differing, 50_000))
    )
    assert few.effect == many.effect == spread.effect == -10
    assert few.error == pytest.approx(10 * many.error)
    assert many.units == 50_000
    assert many.df > 1000
    assert spread.error == pytest.approx(np.hypot(many.error, 5 * np.sqrt(2.5) / np.sqrt(5)), rel=0.01)
    assert 4 <= spread.df < 4.2
    assert spread.interval()[0] < spread.effect - 2.5 * spread.error
    straight = there.estimate(made_up(tmp_path, figures, {there.CLEAN: differing}), {there.CLEAN: 1}, trend=True)
    assert straight.error == pytest.approx(many.error, rel=0.05)  # nothing is left of a straight line


@pytest.mark.parametrize(
    ("std", "adv", "expected"),
    [
        (60.0, [40.0, 41.0, 42.0, 41.0, 40.0], SUPPORTED),
        (40.0, [60.0, 61.0, 62.0, 61.0, 60.0], CONTRADICTED),
        (60.0, [62.0, 50.0, 50.0, 50.0, 50.0], INCONCLUSIVE),  # one radius is on the other side
        (60.0, [59.9, 59.8, 60.1, 60.0, 60.1], NO_DIFFERENCE),
    ],
)
def test_the_rule_decides_as_written(tmp_path, figures, std, adv, expected):
    """ADV behind at all radii costs accuracy, ahead at all contradicts it; a sign that changes gives no verdict."""
    changed = made_up(tmp_path, figures, {there.CLEAN: (std, adv)})
    assert verdict(changed, "robustness costs accuracy") == expected


def test_one_radius_on_the_other_side_decides_against_a_verdict():
    """Also where the mean is certain: agreement is asked of every radius."""
    for last, side in ((0.2, "for"), (-0.2, "open")):
        found = there.Estimate(15.0, 0.1, 100.0, (20.0, 19.0, 20.0, 19.0, last), 50_000)
        row = judge([(there.CLAIMS[0], there.NAME, found)]).iloc[0]
        assert row["p"] < 1e-6
        assert row["side"] == side


def test_levels_near_chance_do_not_count(tmp_path, figures):
    """Of blur the severities at which STD or ADV keeps half; high-passed images give no verdict."""
    counted = [at for at, _ in there.comparisons(figures)["blur keeps the difference"]]
    kept = figures.percent.loc[there.BLUR, there.STD] / figures.percent.loc[there.CLEAN, there.STD]
    assert 0 < len(counted) == (kept >= 0.5).sum() < 5
    assert verdict(figures, "high-passed") == UNTESTED
    higher = made_up(tmp_path, figures, {there.HIGH: (90.0, [60.0] * 5)})
    assert verdict(higher, "high-passed") == SUPPORTED


def test_every_claim_has_a_verdict_or_a_reason(figures):
    """Each reading lists all claims; what is not published says so."""
    table = there.published_tables(figures)["08_published"]
    for _, rows in table.groupby("reading"):
        assert rows["claim"].tolist() == [claim.name for claim in there.CLAIMS]
    assert (table["verdict"].eq(UNTESTED) == table["reason"].notna()).all()
    assert set(there.READINGS) == set(table["reading"])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(RequestError, match="comes with the repository"):
        there.load_published(tmp_path / "none.csv")


def test_dose_response_draws_every_radius(figures):
    """Each measure has a pair of panels, whose line has a point for each radius of its norm at the value stated, and
    the two STD models as horizontal lines."""
    table = there.dose_response(figures)
    figure = dose_response(table)
    assert len(figure.axes) == 2 * len(there.DOSES)
    for place, axis in enumerate(figure.axes):
        cell, norm = list(there.DOSES.values())[place // 2], ("linf", "l2")[place % 2]
        radii = figures.radii(norm)
        line = next(line for line in axis.lines if len(line.get_xdata()) == len(radii))
        assert np.allclose(2.0 ** np.array(line.get_xdata()), radii)
        assert np.allclose(line.get_ydata(), figures.percent.loc[cell, radii.index])
        heights = [line.get_ydata()[0] for line in axis.lines if len(set(line.get_xdata())) == 2]
        assert sorted(heights) == sorted(figures.percent.loc[cell, [there.STD, there.OTHER_STD]])


def test_kinds_of_blur_are_those_of_the_file(figures):
    """A lead is ADV less STD, and the count of leads is out of all pairs of severity and radius."""
    table = there.kinds_of_blur(figures)
    assert len(table) == len(there.KINDS) * 5 * 5
    one = table.query("kind == 'JPEG' and severity == 5 and radius == 4").iloc[0]
    of_level = figures.percent.loc["imagenet-c", "jpeg_compression", 5]
    assert one["lead"] == of_level["robust_resnet50_linf_eps4.0"] - of_level[there.STD]
    assert one["lead_torchvision"] == of_level["robust_resnet50_linf_eps4.0"] - of_level[there.OTHER_STD]
    told = there.told_kinds(table)
    assert told.loc["defocus blur", "ADV ahead"] == "0 of 25"
    assert told.index.tolist() == list(there.KINDS.values())


def invented(verdicts, sides):
    """Tables of one architecture: verdicts by claim, and the side of one comparison of each."""
    about = {"arch": "resnet10", "unit": "points", "statement": list(verdicts), "seeds": 2, "held": ""}
    claims = pd.DataFrame({"claim": list(verdicts), "verdict": list(verdicts.values())} | about)
    compared = pd.DataFrame({"claim": list(sides), "side": list(sides.values()), "arch": "resnet10", "effect": 1.0})
    return claims, compared.assign(at=None)


def test_disagreements_are_listed_and_nothing_else():
    """For against against is a disagreement; open or not tested against anything is none; no difference is one."""
    claims = ["both", "open", "untested", "same"]
    ours = invented(
        dict(zip(claims, [CONTRADICTED, CONTRADICTED, UNTESTED, SUPPORTED], strict=True)),
        dict(zip(claims, ["against", "against", None, "for"], strict=True)),
    )
    theirs = invented(
        dict(zip(claims, [SUPPORTED, INCONCLUSIVE, SUPPORTED, "no difference"], strict=True)),
        dict(zip(claims, ["for", "open", "for", "open"], strict=True)),
    )
    found = disagreements(theirs, dict.fromkeys(SIZES.values(), ours))
    assert found["claim"].tolist() == ["both", "same"]
    assert found[PUBLISHED].tolist() == ["**supported** +1.0", "**no difference** +1.0"]


def test_every_listed_disagreement_has_a_reason(figures):
    """Of the committed verdicts."""
    theirs = tuple(there.deciding(table) for table in there.published_tables(figures).values())
    found = disagreements(theirs, columns())
    assert len(found) > 0
    assert set(found["what could make the difference"]) <= set(REASONS.values())


def test_models_from_elsewhere_stand_beside_the_published_alone():
    """Of a pair that a user brings nothing of this project's models is told, neither verdicts nor reasons."""
    ours = invented({"both": CONTRADICTED}, {"both": "against"})
    theirs = invented({"both": SUPPORTED}, {"both": "for"})
    preset = replace(small_preset(), external={"vit": ExternalConfig("std.pt", "adv.pt")}, title="My pair")
    found = disagreements(theirs, columns(preset, ours))
    assert list(found) == ["claim", f"{preset.data.size} px (My pair)", PUBLISHED]
    pair = tuple(table.assign(seeds=1) for table in ours)
    alone = disagreements(theirs, columns(preset, pair))
    assert alone.iloc[0, 1] == "**contradicted** (one pair) +1.0"
    assert [title for name, title in SIZES.items() if committed(name)] == list(columns(small_preset(), ours))
