"""The generated tables of README.md, docs/findings.md and docs/trust.md.

A block of a page lies between `<!-- block NAME -->` and `<!-- /block -->`. `claims` holds the verdicts, those by
published figures included, `disagreements` and `blurs` what these say beside our own, `explanations` what could explain
that blur differs, `doses` what changes with the radius in training, `controls` what other trainings do, `remedies`
those of `advlook.checks`; the others are described in docs/blocks.toml. `python -m advlook.report.blocks` rewrites and
names the blocks that differ from `figures/<preset>/tables`; with `--check` it writes nothing, and exits with 1."""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from advlook.attacks.checks import REMEDIES
from advlook.core import ARCH_NAMES
from advlook.experiments.claims.disagreements import columns, disagreements
from advlook.experiments.claims.published import deciding, kinds_of_blur, load_published, published_tables, told_kinds
from advlook.experiments.controls.figures import control_values, dose_values
from advlook.report.committed import load
from advlook.report.explanations import explanations
from advlook.stats.verdict_text import markdown
from advlook.study.folders import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs" / "findings.md", ROOT / "docs" / "trust.md")
CLAIM_PRESETS = ("imagenette", "imagenette128", "cifar10")
BLOCK = re.compile(r"<!-- block (?P<name>\w+) -->\n(?P<content>.*?)<!-- /block -->", re.DOTALL)
# Columns with an interval, and their format.
_EFFECTS = {"difference": "+.1f", "change": "+.1f", "effect": "+.1f", "level": ".2f", "scale": ".3f"}
_MODELS = ("std", "adv", "STD+STD", "ADV+ADV", "STD+ADV")  # the order of the means in a cell


def cell(rows: pd.DataFrame, column: str) -> str:
    """The means of a column by setting or combination; of an effect, which has one row, its value and 95% interval."""
    if column in _EFFECTS:
        (numbers,) = rows[[column, "low", "high"]].to_numpy()
        value, low, high = (f"{number:{_EFFECTS[column]}}".replace("inf", "-") for number in numbers)
        return f"{value} [{low}, {high}]"
    means = rows.groupby("combination" if "combination" in rows else "setting")[column].mean()
    digits = 0 if column == "kept" else 1
    return " / ".join(f"{means[model]:.{digits}f}" for model in _MODELS if model in means)


@cache
def render(name: str) -> str:
    """The content of a block: the lines of a Markdown table."""
    if name == "claims":
        own = {preset: load(preset, "08_claims") for preset in CLAIM_PRESETS}
        return markdown(own | {"ImageNet": _published()[0]}) + "\n"
    if name == "disagreements":
        return _table(disagreements(_published(), columns()))
    if name == "blurs":
        return _table(told_kinds(kinds_of_blur(load_published())).reset_index())
    if name == "explanations":
        return _table(explanations())
    if name == "doses":
        return _table(dose_values(load("imagenette", "09_models"), load("imagenette", "09_rulers")))
    if name == "controls":
        return _table(control_values(*(load("imagenette", f"09_{each}") for each in ("models", "rulers", "positions"))))
    if name == "remedies":
        return _markdown([["check", "where it fails"], ["---"] * 2, *REMEDIES.items()])
    block = tomllib.loads((ROOT / "docs" / "blocks.toml").read_text())[name]
    found = {}
    for title, table, column, query in block["lines"]:
        rows = load(block["preset"], table).query(query)
        found[title] = {ARCH_NAMES[arch]: cell(each, column) for arch, each in rows.groupby("arch")}
    cells = pd.DataFrame.from_dict(found, orient="index")
    lines = [[block["unit"], *cells], ["---"] * (1 + cells.shape[1]), *cells.reset_index().to_numpy().tolist()]
    return _markdown(lines)


def _published() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Verdicts and comparisons by the published figures."""
    return tuple(deciding(table) for table in published_tables(load_published()).values())


def _table(table: pd.DataFrame) -> str:
    return _markdown([table.columns, ["---"] * table.shape[1], *table.to_numpy().tolist()])


def _markdown(lines: Iterable[Iterable[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def changed(page: Path, write: bool = False) -> list[str]:
    """The names of the blocks of a page that differ from the tables; `write` puts them right."""
    text = page.read_text()
    names = [found["name"] for found in BLOCK.finditer(text) if found["content"] != render(found["name"])]
    if write and names:
        page.write_text(BLOCK.sub(lambda m: f"<!-- block {m['name']} -->\n{render(m['name'])}<!-- /block -->", text))
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the blocks of all pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m advlook.report.blocks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a block differs")
    check = parser.parse_args(arguments).check
    names = [f"{page.name}: {name}" for page in PAGES for name in changed(page, write=not check)]
    for name in names:
        print(name, "differs from the tables" if check else "rewritten")
    return int(check and bool(names))


if __name__ == "__main__":
    sys.exit(main())
