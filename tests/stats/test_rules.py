"""Every verdict of every rule; and that no other module gives verdicts."""

import ast
from pathlib import Path

import pytest

import advlook
from advlook.stats import rules
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, SUPPORTED, VERDICTS, Rule

F, A, O = "for", "against", "open"  # noqa: E741


@pytest.mark.parametrize(
    ("over", "sides", "verdict"),
    [
        ("every", [F], SUPPORTED),
        ("every", [A], CONTRADICTED),
        ("every", [O], INCONCLUSIVE),
        ("every", [F, F, O], INCONCLUSIVE),
        ("every", [F, F, A], CONTRADICTED),
        ("most", [F, F, A], SUPPORTED),
        ("most", [F, A, A], CONTRADICTED),
        ("most", [F, F, A, A], INCONCLUSIVE),
        ("most", [F, O, A, A], INCONCLUSIVE),
        ("most", [F, O, A, A, A], CONTRADICTED),
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
        (Rule(over="most"), [3.0, -1.0, 2.0], [F, A, F], 2),
        (Rule(over="most"), [9.0, 1.0, 8.0, 5.0], [F, O, F, F], 2),
        (Rule(over="most"), [9.0, -1.0], [F, A], 1),
        (Rule(over="turn"), [1.0, 9.0, 2.0], [F, F, F], 2),
        (Rule(over="turn"), [-6.0, 9.0], [A, F], 0),
        (Rule(over="turn"), [6.0, -9.0], [F, A], 1),
    ],
)
def test_the_decisive_comparison_stands_for_all(rule, effects, sides, place):
    """Of those that made the verdict: the hardest of every one, the middle of most, and of a turn what came after."""
    assert rule.decisive(effects, sides) == place


def test_no_other_module_gives_verdicts():
    """Words of verdicts as values stand in the rules alone; elsewhere effects are shown with their intervals.

    Two modules say "yes" or "no" of something else: whether a check of attacks passed, and whether training collapsed.
    """
    words = {*VERDICTS, "yes", "no", "open", "mixed"}
    package = Path(advlook.__file__).parent
    allowed = {"stats/rules.py", "attacks/checks.py", "experiments/train/measure.py"}
    allowed |= {"experiments/claims/published.py"}  # applies the rules to estimates
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found += [(name, node.lineno, node.value) for node in constants if node.value in words and name not in allowed]
    assert found == []


def test_the_smallest_p_stands_the_correction():
    """With so many resamples 250 comparisons that are as clear as can be are still certain after Holm's correction."""
    smallest = 2 / (rules.DRAWS + 1)
    assert 250 * smallest <= rules.LEVEL == 0.05 < 251 * smallest
