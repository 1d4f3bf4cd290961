"""Claims from files: the command, its tables for people and texts, and the figure."""

import pytest
from made_up import ARCHS, COSTS, ON_ATTACKS, made_up

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.core.preset_files import load_preset
from advlook.experiments.claims import measure as claims
from advlook.experiments.claims.figures import forest
from advlook.experiments.claims.measure import CLAIMS
from advlook.stats import rules, verdict_text
from advlook.stats.rules import CONTRADICTED, SUPPORTED, UNTESTED
from advlook.study.study import Study
from advlook.study.tables import write_table


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


def test_the_figure_is_drawn_from_the_tables_alone(study):
    """Every statement, number and verdict is there, also of claims that were not tested, and every comparison of those
    that have several; margins are shaded; claims of one unit share a scale."""
    (study.output / "tables" / "07_sanity.csv").unlink()
    claims.claim_tables(study)
    table = study.load_table("08_claims")
    compared = study.load_table("08_comparisons")
    axes = forest(table, compared).axes
    assert len(axes) == table["unit"].nunique()
    texts = [text.get_text() for axis in axes for text in axis.texts]
    assert set(table["statement"] + " (" + table["where"].str.split(",").str[0] + ")") <= set(texts)
    assert sorted(text for text in texts if text in rules.VERDICTS) == sorted(table["verdict"])
    tested = table[table["verdict"] != UNTESTED]
    assert {verdict_text.told(row) for _, row in tested.iterrows()} <= set(texts)
    lines = [line for axis in axes for line in axis.lines]
    assert len([line for line in lines if line.get_marker() == "D"]) == len(tested)
    several = compared.dropna(subset=["effect"]).groupby(["claim", "arch"]).size()
    assert sum(len(line.get_xdata()) for line in lines if line.get_marker() == "|") == several[several > 1].sum()
    with_margins = sum(claim.rule.low < 0 for claim in CLAIMS)
    assert sum(len(axis.patches) for axis in axes) == with_margins


def test_help_ends_with_an_example(capsys):
    """The help of the command has something to copy."""
    with pytest.raises(SystemExit):
        main(["claims", "--help"])
    assert "advlook claims --preset imagenette" in capsys.readouterr().out.split("example")[1]
