"""Every verdict of every rule; and that no other module gives verdicts."""

import ast
from pathlib import Path

import numpy as np
import pytest

import advlook
from advlook.stats import Estimate, verdict_text
from advlook.stats.rules import (
    CONTRADICTED,
    INCONCLUSIVE,
    NO_DIFFERENCE,
    PERCENT,
    POINTS,
    SUPPORTED,
    UNTESTED,
    VERDICTS,
    Claim,
    Rule,
    conclude,
    judge,
)

F, A, O = "for", "against", "open"  # noqa: E741


@pytest.mark.parametrize(
    ("over", "sides", "verdict"),
    [
        ("every", [F], SUPPORTED),
        ("every", [A], CONTRADICTED),
        ("every", [O], INCONCLUSIVE),
        ("every", [F, F, O], INCONCLUSIVE),
        ("every", [F, F, A], CONTRADICTED),
        ("turn", [F, F, F], SUPPORTED),
        ("turn", [F, F, A], CONTRADICTED),
        ("turn", [A, F, F], CONTRADICTED),
        ("turn", [F, F, O], INCONCLUSIVE),
        ("turn", [O, F, F], INCONCLUSIVE),
    ],
)
def test_rules(over, sides, verdict):
    """Every verdict of every kind of rule."""
    assert Rule(over=over).verdict(sides) == verdict


@pytest.mark.parametrize(
    ("rule", "effects", "sides", "place"),
    [
        (Rule(), [3.0, 1.0, 2.0], [F, F, F], 1),
        (Rule(), [-3.0, -4.0], [A, O], 0),
        (Rule(), [1.0, -4.0], [F, O], 1),
        (Rule(-5, 5), [1.0, -4.0, 3.0], [F, F, F], 1),
        (Rule(over="turn"), [1.0, 9.0, 2.0], [F, F, F], 2),
        (Rule(over="turn"), [-6.0, 9.0], [A, F], 0),
        (Rule(over="turn"), [6.0, -9.0], [F, A], 1),
    ],
)
def test_the_decisive_comparison_stands_for_all(rule, effects, sides, place):
    """Of those that made the verdict: the hardest of every one, and of a turn what came after."""
    assert rule.decisive(effects, sides) == place


def test_no_other_module_gives_verdicts():
    """Words of verdicts as values stand in the rules alone; elsewhere effects are shown with their intervals.

    Two modules say "yes" or "no" of something else: whether a check of attacks passed, and whether training collapsed.
    """
    words = {*VERDICTS, "yes", "no", "open", "mixed"}
    package = Path(advlook.__file__).parent
    allowed = {"stats/rules.py", "attacks/checks.py", "experiments/train/measure.py"}
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found += [(name, node.lineno, node.value) for node in constants if node.value in words and name not in allowed]
    assert found == []


def estimated(effect, error, **about):
    """An estimate of two seeds that agree, from many images."""
    return Estimate(effect, error, np.inf, (effect, effect), 1000, **about)


def asked(rule, estimates, unit=POINTS, name="one"):
    """Estimates of one claim and architecture, as `judge` takes them."""
    claim = Claim(name, name, "", unit, "", lambda *_: [], rule)
    return [(claim, "resnet10", each) for each in estimates]


def concluded(*rows):
    """The verdicts on such claims."""
    rows = [row for each in rows for row in each]
    return conclude(judge(rows), list(dict.fromkeys(claim for claim, *_ in rows))).set_index("claim")


def test_every_needs_no_correction_inside_a_claim():
    """The p of a claim on all of several comparisons is the largest of theirs."""
    row = concluded(asked(Rule(), [estimated(effect, 1) for effect in (2, 3, 4)])).loc["one"]
    assert row["verdict"] == SUPPORTED
    assert row["p"] == row["p_holm"] == pytest.approx(0.0455, abs=1e-4)


def test_one_of_several_against_is_corrected():
    """The more comparisons there are, the more often one is against by chance: its p counts as often as there are."""
    for count, verdict in ((2, CONTRADICTED), (3, INCONCLUSIVE)):
        row = concluded(asked(Rule(), [estimated(-2.3, 1), *[estimated(9, 1)] * (count - 1)])).loc["one"]
        assert (row["verdict"], row["held"]) == (verdict, f"{count - 1} for, 1 against")
        assert row["p"] == pytest.approx(count * 0.02145, abs=1e-3)


def test_the_family_is_the_claims():
    """Ten comparisons of one claim count once in Holm's correction, ten claims ten times."""
    within = concluded(asked(Rule(), [estimated(3, 1)] * 10), asked(Rule(), [estimated(3, 1)], name="two"))
    assert within["p_holm"].tolist() == pytest.approx([2 * within["p"].iloc[0]] * 2)
    assert set(within["verdict"]) == {SUPPORTED}
    apart = concluded(*(asked(Rule(), [estimated(2.7, 1)], name=str(number)) for number in range(10)))
    assert set(apart["verdict"]) == {INCONCLUSIVE}
    assert apart["p_holm"].tolist() == pytest.approx([10 * apart["p"].iloc[0]] * 10)


@pytest.mark.parametrize(
    ("over", "effects", "errors", "unit", "verdict"),
    [
        ("every", [1.0], [1], POINTS, NO_DIFFERENCE),
        ("every", [-1.0], [1], POINTS, NO_DIFFERENCE),
        ("every", [1.0], [1], PERCENT, INCONCLUSIVE),
        ("every", [4.0], [1], POINTS, SUPPORTED),
        ("every", [1.0], [3], POINTS, INCONCLUSIVE),
        ("every", [3.9, 3.9, 0.1], [1, 1, 1], POINTS, INCONCLUSIVE),
        ("turn", [20.0, 1.0], [1, 1], POINTS, NO_DIFFERENCE),
        ("turn", [20.0, 1.0], [1, 3], POINTS, INCONCLUSIVE),
        ("turn", [-20.0, 1.0], [1, 1], POINTS, CONTRADICTED),
    ],
)
def test_no_difference_is_a_verdict(over, effects, errors, unit, verdict):
    """Where a direction in points is open, and all intervals (of a turn those after the change) are within five."""
    row = concluded(asked(Rule(over=over), list(map(estimated, effects, errors)), unit)).loc["one"]
    assert row["verdict"] == verdict
    assert (row["p_holm"] <= 0.05) == (verdict != INCONCLUSIVE)


def test_no_difference_is_corrected_as_well():
    """An interval just within five points is not enough for one of ten claims, and no claim with a margin asks."""
    near = [asked(Rule(), [estimated(1, 1.9)], name=str(number)) for number in range(10)]
    assert concluded(near[0])["verdict"].item() == NO_DIFFERENCE
    assert set(concluded(*near)["verdict"]) == {INCONCLUSIVE}
    assert concluded(asked(Rule(-1), [estimated(0, 0.9)]))["verdict"].item() == INCONCLUSIVE
    assert concluded(asked(Rule(-5, 5), [estimated(0, 0.9)]))["verdict"].item() == SUPPORTED


def test_no_difference_shows_what_is_least_clear_of_five_points():
    """Of a turn not what was before, and of several the farthest or least certain."""
    row = concluded(asked(Rule(over="turn"), [estimated(20, 1), estimated(0.5, 0.5), estimated(-1, 1)])).loc["one"]
    assert (row["verdict"], row["effect"], row["held"]) == (NO_DIFFERENCE, -1, "1 for, 2 open")
    assert row["p"] == pytest.approx(estimated(-1, 1).p(-5))


def test_a_seed_on_the_other_side_leaves_a_comparison_open():
    """However small p is; a seed five points away is no equality."""
    one = Estimate(3.0, 0.1, np.inf, (7.0, -1.0), 1000)
    row = concluded(asked(Rule(), [one])).loc["one"]
    assert (row["verdict"], row["seeds"], row["each_seed"]) == (INCONCLUSIVE, 2, "0: 7, 1: -1")
    assert row["p_holm"] < 1e-6


def test_of_several_cases_the_one_that_is_shown_is_named():
    """In a table to be read the effect of a turn says of which images it is; that of a single case says nothing."""
    turn = [estimated(-6, 1, at="before"), estimated(9, 1, at="blurred")]
    table = concluded(asked(Rule(over="turn"), turn), asked(Rule(), [estimated(3, 1, at="plain")], name="two"))
    told = verdict_text.markdown({"here": table.reset_index()})
    assert "-6.0 [-8.0, -4.0] points, unchanged images |" in told
    assert "+3.0 [1.0, 5.0] points |" in told


def test_what_was_measured_but_tests_nothing_is_shown():
    """With its effect and interval, without a part in the correction."""
    table = concluded(
        asked(Rule(), [estimated(9, 1, untested="too little texture")]), asked(Rule(), [estimated(3, 1)], name="two")
    )
    row = table.loc["one"]
    assert (row["verdict"], row["effect"], row["reason"]) == (UNTESTED, 9, "too little texture")
    assert table.loc["two", "p_holm"] == table.loc["two", "p"]
    told = verdict_text.markdown({"here": table.reset_index()})
    assert "| not tested (+9.0 [7.0, 11.0] points) |" in told
    lines = verdict_text.report(table.reset_index()).splitlines()
    assert lines[0].split("  ")[-1] == "not tested"
    assert "+9.0 [7.0, 11.0] points" in lines[0]
