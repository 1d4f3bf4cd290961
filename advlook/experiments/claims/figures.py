"""The plot of notebook 08: every claim with its effects, intervals and verdicts, drawn from `08_claims` alone."""

import math
from functools import partial
from textwrap import shorten

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advlook.core import ARCH_NAMES
from advlook.stats.rules import (
    CONTRADICTED,
    CORRELATION,
    INCONCLUSIVE,
    NO_DIFFERENCE,
    OCTAVES,
    PERCENT,
    POINTS,
    SUPPORTED,
    UNTESTED,
)
from advlook.stats.verdict_text import marked, told
from advlook.study.style import new_figure

VERDICT_COLORS = {SUPPORTED: "#007A58", CONTRADICTED: "#B03060", NO_DIFFERENCE: "#2F5D8C"}
VERDICT_COLORS |= {INCONCLUSIVE: "#6E6E6E", UNTESTED: "#A0A0A0"}
_TEXT, _ARCH, _EFFECT, _VERDICT, _HELD = -0.72, -0.03, 1.03, 1.66, 2.02  # where texts stand, in widths of a panel
_GAP, _MARGIN = 0.35, 2.6  # heights, in rows: between claims, and between panels
_REASON = 38  # letters that fit in the place of an effect
_BEYOND = 0.04  # of the width, left free at both ends
UNITS = {  # the unit of the effects of a panel, and its title
    OCTAVES: "Effects in octaves of spatial frequency",
    POINTS: "Effects in points of accuracy, or of another share",
    PERCENT: "Effects in percent of STD",
    CORRELATION: "Effects in units of a correlation",
}


def forest(table: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """A line a claim and architecture: the effect with its 95% interval, seeds as small points, and where a claim has
    several cases, all of them in pale. A claim holds right of 0, or inside what is shaded. A panel for each
    unit, with one scale for all its claims. table: `08_claims`; compared: `08_comparisons`."""
    table = marked(table)
    units = [unit for unit in UNITS if unit in set(table["unit"])]
    rows = [_rows(table[table["unit"] == unit]) for unit in units]
    figure = new_figure(1, 1, 12.5, 0.225 * sum(rows) + 0.225 * _MARGIN * len(rows) + 0.2)[0]
    figure.clear()
    figure.set_layout_engine("none")  # which would make the panels narrow for the texts beside them
    height = figure.get_figheight()
    key = "Diamond: effect; line: 95% interval; circles: seeds; pale: every case of a claim that has several."
    figure.text(
        0.07, 1 - 0.12 / height, f"A claim holds right of 0, or inside what is shaded. {key}", va="top", fontsize=9.5
    )
    top = 1 - 0.4 / height
    for unit, count in zip(units, rows, strict=True):
        tall = 0.225 * count / height
        axis = figure.add_axes((0.25, top - tall - 0.02 / height, 0.33, tall))
        _panel(axis, table[table["unit"] == unit], compared, UNITS[unit])
        top -= tall + 0.225 * _MARGIN / height
    return figure


def _rows(table: pd.DataFrame) -> float:
    """The height of a panel: its title, its claims and their lines."""
    return 1.5 + len(table) + table["claim"].nunique() * (1 + _GAP)


def _panel(axis: Axes, table: pd.DataFrame, compared: pd.DataFrame, title: str) -> None:
    """The claims of one unit below each other."""
    write = partial(axis.text, transform=axis.get_yaxis_transform(), va="center")  # x in widths of the panel, y in rows
    write(_TEXT, 0.4, title, fontsize=12, fontweight="bold")
    write(_HELD, 0.4, "cases", fontsize=9, color="#555555")
    y = 1.5
    for name, claim in table.groupby("claim", sort=False):
        where = claim["where"].iloc[0].split(",")[0]
        write(_TEXT, y, f"{claim['statement'].iloc[0]} ({where})", fontsize=9.5)
        _draw_effects(axis, claim, compared[compared["claim"] == name], y + 1)
        for place, (_, row) in enumerate(claim.iterrows(), 1):
            verdict, measured = row["verdict"], math.isfinite(row["effect"])
            bold = {"color": VERDICT_COLORS[verdict], "weight": "normal" if verdict == UNTESTED else "bold"}
            write(_ARCH, y + place, ARCH_NAMES[row["arch"]], fontsize=9, ha="right", color="#555555")
            undefined = "".join(str(row["reason"]).partition("not defined")[1:])  # "" for any other reason
            undefined = shorten(undefined, _REASON)
            write(_EFFECT, y + place, told(row) if measured else undefined, fontsize=9 if measured else 8.5)
            write(_VERDICT, y + place, verdict, fontsize=9, **bold)
            write(_HELD, y + place, " ".join([row["mark"], row["held"]]).strip(), fontsize=8.5, color="#555555")
        y += 1 + len(claim) + _GAP
    low, high = _ends(table, compared[compared["claim"].isin(table["claim"])])
    axis.set(xlim=(low - _BEYOND * (high - low), high + _BEYOND * (high - low)), ylim=(y - _GAP, -0.6), yticks=[])
    axis.tick_params(axis="x", labelsize=9)
    axis.grid(visible=False)
    axis.spines[["left", "right", "top"]].set_visible(False)


def _ends(table: pd.DataFrame, compared: pd.DataFrame) -> tuple[float, float]:
    """The range of a panel: effects and margins, and intervals as far as they are no wider than thrice that."""
    bounds = table[["bound_low", "bound_high"]].to_numpy().ravel()
    seeds = [value for text in table["each_seed"] for value in _seeds(text)]
    found = pd.Series([0.0, *bounds, *table["effect"], *compared["effect"], *seeds], dtype=float)
    found = found[found.map(math.isfinite)]
    low, high = found.min(), found.max()
    reach = max(high - low, 1e-9)
    ends = table[["low", "high"]].clip(low - reach, high + reach)
    return min(low, ends["low"].min()), max(high, ends["high"].max(), low + reach)


def _draw_effects(axis: Axes, rows: pd.DataFrame, compared: pd.DataFrame, y: float) -> None:
    """The effects of one claim, a line an architecture from height `y` on."""
    first, last = rows[["bound_low", "bound_high"]].iloc[0]
    margins = [bound for bound in (first, last) if math.isfinite(bound)]
    if any(margins) and (rows["verdict"] != UNTESTED).any():
        last = last if math.isfinite(last) else 1e6  # as far as the panel goes
        axis.add_patch(Rectangle((first, y - 0.5), last - first, len(rows), color="#E7EEF5", lw=0, zorder=0))
    axis.plot([0, 0], [y - 0.5, y + len(rows) - 0.5], color="#444444", lw=1, zorder=1)
    for place, row in enumerate(rows.itertuples()):
        at, color, each = y + place, VERDICT_COLORS[row.verdict], _seeds(row.each_seed)
        others = compared[compared["arch"] == row.arch].dropna(subset=["effect"])
        if len(others) > 1:
            spread = [at + 0.3 * (2 * number / (len(others) - 1) - 1) for number in range(len(others))]
            axis.hlines(spread, others["low"], others["high"], color=color, lw=0.7, alpha=0.35, zorder=1)
            axis.plot(others["effect"], spread, "|", color=color, ms=4, alpha=0.7, zorder=1)
        if math.isfinite(row.effect):  # also where it tests nothing
            axis.plot([row.low, row.high], [at, at], color=color, lw=2, zorder=2)
            axis.plot(row.effect, at, "D", color=color, ms=5, zorder=4)
            axis.plot(each, [at] * len(each), "o", color="white", mec=color, ms=3.2, zorder=3)


def _seeds(told: object) -> list[float]:
    """The effects of single seeds, from the column each_seed: "0: 1.2, 1: 0.9"."""
    return [float(part.split(":")[1]) for part in told.split(",")] if isinstance(told, str) else []
