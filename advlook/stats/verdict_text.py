"""Verdicts as text: the table `08_claims` for the terminal, for Markdown and for notebooks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from advlook.core.names import ARCH_NAMES
from advlook.stats.rules import CORRELATION, NO_DIFFERENCE, OCTAVES, SAME, UNTESTED, VERDICTS


def told(row: pd.Series) -> str:
    """The effect of a row of `08_claims` with its interval and unit: "+5.0 [4.1, 6.2] points"; "-" where unknown."""
    if np.isnan(row["effect"]):
        return "-"
    digits = {CORRELATION: 3, OCTAVES: 2}.get(row["unit"], 1)
    # An interval of thousands is of a ratio whose denominator may be 0: what it says is that it has no end.
    ends = ("-" if np.isnan(value) or abs(value) > 9999 else f"{value:.{digits}f}" for value in row[["low", "high"]])
    return f"{row['effect']:+.{digits}f} [{', '.join(ends)}] {row['unit']}"


def marked(table: pd.DataFrame) -> pd.DataFrame:
    """`08_claims` with a column `mark`, "(one pair)" where no claim on an architecture has more than one seed: what was
    found is of one pair of models, and may be so by the chance of a training. Their `held` need not say it again."""
    alone = (table.groupby("arch")["seeds"].transform("max") == 1) & (table["verdict"] != UNTESTED)
    held = table["held"].astype(object).fillna("")
    return table.assign(
        mark=np.where(alone, "(one pair)", ""),
        held=held.mask(alone, held.str.replace(r"(, )?one seed$", "", regex=True)),
    )


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """`08_claims` to be read: claim, arch, effect with interval, verdict, comparisons where there are several."""
    table = marked(table)
    found = table.assign(effect=table.apply(told, axis=1), verdict=_verdicts(table), comparisons=table["held"])
    return found.replace({"arch": ARCH_NAMES})[["claim", "arch", "effect", "verdict", "comparisons"]]


def _verdicts(table: pd.DataFrame) -> pd.Series:
    """The verdict of every row of `marked`, with its mark: "supported (one pair)"."""
    return (table["verdict"] + " " + table["mark"]).str.strip()


def report(table: pd.DataFrame) -> str:
    """`compact` in lines of less than 120 characters, how often each verdict was given, and why some were not."""
    shown = compact(table)
    shown["claim"] = shown["claim"].mask(shown["claim"].duplicated(), "")
    claim, arch, effect, verdict, _ = shown.map(len).max()
    lines = [
        f"{row.claim:<{claim}}  {row.arch:<{arch}}  {row.effect:>{effect}}  {row.verdict:<{verdict}}  {row.comparisons}"
        for row in shown.itertuples()
    ]
    counts = table["verdict"].value_counts()
    given = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    more = "intervals are 95%; a verdict needs Holm-adjusted p of at most .05 as well, and agreement of all seeds"
    more += f'\n"{NO_DIFFERENCE}": of more than {SAME:g} points either way' * (NO_DIFFERENCE in counts)
    missing = [f"{UNTESTED}: {reason}" for reason in table["reason"].dropna().unique()]
    return "\n".join([*map(str.rstrip, lines), "", given, more, *missing])


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """A Markdown table of `08_claims` by preset: a row a claim, a column a preset and architecture; of a claim with
    several cases also which of them the effect is of."""
    columns = {}
    for name, table in tables.items():
        several = table["held"].fillna("").str.contains("for|against|open") & table["at"].notna()
        at = table["at"].astype(str).replace("before", "unchanged images")
        effects = table.apply(told, axis=1) + (", " + at).where(several, "")
        untested = table["verdict"] == UNTESTED
        verdicts = "**" + table["verdict"] + "** " + marked(table)["mark"]
        cells = (verdicts.str.strip() + " " + effects).mask(untested, UNTESTED + " (" + effects + ")")
        cells = cells.mask(untested & table["effect"].isna(), UNTESTED)
        for arch, rows in cells.groupby(table["arch"], sort=False):
            columns[f"{name}, {ARCH_NAMES[arch]}"] = rows.set_axis(table.loc[rows.index, "statement"])
    found = pd.DataFrame(columns).fillna(UNTESTED)
    lines = [["claim", *found], ["---"] * (1 + found.shape[1]), *found.reset_index().to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def answers(table: pd.DataFrame) -> list[str]:
    """A sentence a claim: what was claimed, and its verdict, by architecture where verdicts differ."""
    found, table = [], marked(table)
    for statement, rows in table.assign(verdict=_verdicts(table)).groupby("statement", sort=False):
        verdicts = dict(zip(rows["arch"].replace(ARCH_NAMES), rows["verdict"], strict=True))
        by_arch = ", ".join(f"{arch} {verdict}" for arch, verdict in verdicts.items())
        said = by_arch if rows["verdict"].nunique() > 1 else rows["verdict"].iloc[0]
        found.append(f"{statement} {said[0].upper()}{said[1:]}.")
    return found
