"""Claims on one pair of models, and claims on what is not defined for a network."""

import numpy as np
import pandas as pd
import pytest

from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.figures import forest
from advlook.report import gallery
from advlook.stats import verdict_text
from advlook.stats.rules import SUPPORTED, UNTESTED

COSTS = "robustness costs accuracy"


def tradeoff(seeds, arch="vit"):
    """`01_tradeoff` of a STD model that is right about 90 of 100 images, and an ADV model that is about 60."""
    rows = [
        {"arch": arch, "setting": setting, "seed": seed, "images": 100, "right": np.arange(100) < count + seed}
        for seed in seeds
        for setting, count in (("std", 90), ("adv", 60))
    ]
    return pd.DataFrame(rows).assign(right_pgd=lambda table: table["right"])


def verdicts(*tables):
    """All claims on these tables of notebook 01."""
    return claims.evaluate({"01_tradeoff": pd.concat(tables)})


NOTHING = pd.DataFrame(columns=["claim", "arch", "effect", "low", "high"])  # comparisons


def row_of(table, claim, **values):
    for column, value in {"claim": claim, **values}.items():
        table = table[table[column] == value]
    return table.iloc[0]


def test_a_verdict_on_one_pair_says_so(tmp_path):
    """Wherever it is shown: in text, Markdown, answers, the figure and the gallery. The table has the plain verdict."""
    table = verdicts(tradeoff([0]))
    row = row_of(table, COSTS)
    assert (row["verdict"], row["held"]) == (SUPPORTED, "one seed")
    shown = row_of(verdict_text.compact(table), COSTS)
    assert (shown["verdict"], shown["comparisons"]) == ("supported (one pair)", "")
    assert "supported (one pair)" in verdict_text.report(table)
    assert "**supported** (one pair) +30.0" in verdict_text.markdown({"mine": table})
    assert any(answer.endswith("Supported (one pair).") for answer in verdict_text.answers(table))
    assert "(one pair)" in {text.get_text() for text in forest(table, NOTHING).axes[1].texts}
    (tmp_path / "tables").mkdir()
    table.to_csv(tmp_path / "tables" / "08_claims.csv", index=False)
    (places,) = [each for where, each in gallery._claims(tmp_path)["places"].items() if "Table 1" in where]
    assert [(answer["verdict"], answer["mark"]) for answer in places[0][-1]] == [(SUPPORTED, "(one pair)")]


def test_several_pairs_lose_the_mark():
    """They count as seeds; a single claim on a lone seed among them is named as before."""
    table = verdicts(tradeoff([0, 1]))
    assert set(verdict_text.marked(table)["mark"]) == {""}
    assert row_of(verdict_text.compact(table), COSTS)["verdict"] == SUPPORTED
    lone = table.assign(seeds=table["seeds"].where(table["claim"] != COSTS, 1), held="one seed")
    assert row_of(verdict_text.compact(lone), COSTS)["comparisons"] == "one seed"


def test_the_mark_is_that_of_an_architecture():
    """One with several pairs beside it does not take it away; what was not tested has none."""
    marked = verdict_text.marked(verdicts(tradeoff([0]), tradeoff([0, 1], "resnet10")))
    assert row_of(marked, COSTS, arch="vit")["mark"] == "(one pair)"
    assert row_of(marked, COSTS, arch="resnet10")["mark"] == ""
    assert set(marked.loc[marked["verdict"] == UNTESTED, "mark"]) == {""}


@pytest.mark.parametrize(
    ("name", "table"), [("guided maps are coarser", "03"), ("guided maps change with training", "07")]
)
def test_what_is_not_defined_is_not_tested(name, table):
    """The claim says which map is not defined, and why, even where other maps were measured."""
    columns = {"arch": "vit", "setting": ["std", "adv"], "seed": 0, "of": "loss_gradient", "image": 0, "by_image": 0}
    measured = {name: pd.DataFrame(columns | {"median_frequency": 0.1}) for name in ("03_maps", "07_sanity")}
    undefined = pd.DataFrame({"arch": ["vit"], "method": ["guided_backprop"], "reason": ["17 GELUs"]})
    asked = [claim for claim in claims.CLAIMS if claim.name == name]
    judged = claims.evaluate(measured | {f"{table}_undefined": undefined}, asked)
    (row,) = judged.to_dict("records")
    assert (row["verdict"], row["reason"]) == (UNTESTED, "Guided Backprop is not defined: 17 GELUs")
    assert "not defined: 17 GELUs" in {text.get_text() for text in forest(judged, NOTHING).axes[0].texts}
