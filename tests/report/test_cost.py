"""What docs/scale.md says is what benchmarks/cost.py counts, and its commands are those of the command line."""

import re
import runpy
import shlex
import sys

import pytest

from advlook.__main__ import parser
from advlook.study.folders import ROOT

DOCUMENT = (ROOT / "docs" / "scale.md").read_text()
# In blocks of shell code, with a backslash at the end of a line that goes on.
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)).replace("\\\n", "")
COMMANDS = [found.rstrip("& ") for found in re.findall(r"-m advlook (.*?)(?: #.*)?$", SHELL, re.MULTILINE)]


@pytest.fixture
def cost(monkeypatch, capsys):
    """A function of the script's arguments that gives what it prints."""

    def printed(*arguments):
        monkeypatch.setattr(sys, "argv", ["cost.py", *arguments])
        runpy.run_path(str(ROOT / "benchmarks" / "cost.py"), run_name="__main__")
        return capsys.readouterr().out

    return printed


def hours(text):
    """GPU hours by piece."""
    rows = re.findall(r"^\| (.*) \| [\d,]+ \| ([\d,.]+)", text, re.MULTILINE)
    return {piece: float(number.replace(",", "")) for piece, number in rows}


@pytest.mark.slow
def test_the_tables_are_those_of_the_script(cost):
    """Word by word, with the rates that the page states."""
    told = re.search(r"<!-- cost: .*? -->\n(.*)\n<!-- end of cost -->", DOCUMENT, re.DOTALL)[1]
    assert told.strip() == cost().strip()


@pytest.mark.slow
def test_costs_follow_from_what_is_assumed(cost):
    """Half the rate takes twice the hours, FGSM training 5/3 of a standard one, and what waits for decoding waits."""
    fast, slow, waiting = (
        hours(cost("--rate", rate, "--decode", decode))
        for rate, decode in (("2e3", "1e9"), ("1e3", "1e9"), ("1e3", "1"))
    )
    trained = {piece: piece.split()[1:-5] for piece in fast if piece.startswith("training")}
    for piece, took in fast.items():
        assert slow[piece] == pytest.approx(2 * took, abs=0.1 + 0.01 * took)
        assert (waiting[piece] > 100 * slow[piece]) == (piece in trained or piece == "all")
    for piece in trained:
        if " STD," in piece:
            assert fast[piece.replace(" STD,", " ADV,")] == pytest.approx(fast[piece] * 5 / 3, rel=0.02)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_known(command):
    """Every line that calls advlook is understood, with numbers in place of what the shell fills in."""
    arguments = shlex.split(re.sub(r'"?\$\{[A-Z]+\[[^]]*\]\}"?', "NAME", re.sub(r"\$\(\([^)]*\)+", "0", command)))
    assert parser().parse_args(arguments).command == arguments[0]
