"""The plot of notebook 08: every claim with its effects, intervals and verdicts, drawn from `08_claims` alone."""

import math
from functools import partial
from textwrap import shorten

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advlook.core import ARCH_NAMES
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, NO_DIFFERENCE, SUPPORTED, UNTESTED
from advlook.stats.verdict_text import marked, told
from advlook.study.style import new_figure

VERDICT_COLORS = {SUPPORTED: "#007A58", CONTRADICTED: "#B03060", NO_DIFFERENCE: "#2F5D8C"}
VERDICT_COLORS |= {INCONCLUSIVE: "#6E6E6E", UNTESTED: "#A0A0A0"}
_EDGE = 1.06  # of the panel, where the farthest end of a claim's intervals lies at 1
_TEXT, _ARCH, _EFFECT, _VERDICT, _HELD = -0.72, -0.03, 1.03, 1.66, 2.02  # where texts stand, in widths of the panel
_SECTION, _GAP = 1.5, 0.35  # heights, in rows
_REASON = 38  # letters that fit in the place of an effect


def forest(table: pd.DataFrame) -> Figure:
    """A line a claim and architecture: the effect with its 95% interval, seeds as small points. Right of the zero line,
    or inside a shaded margin, lies what the paper says. Units differ, so each claim has a scale of its own. table:
    `08_claims`."""
    table = marked(table)
    sections = table["where"].str.split(",").str[0]
    rows = len(table) + table["claim"].nunique() * (1 + _GAP) + sections.nunique() * _SECTION
    figure, (axis,) = new_figure(1, 1, 12.5, 0.225 * rows + 0.75)
    write = partial(axis.text, transform=axis.get_yaxis_transform(), va="center")  # x in widths of the panel, y in rows
    y = 0.0
    for section, of_section in table.groupby(sections, sort=False):
        write(_TEXT, y + 0.4, section, fontsize=12, fontweight="bold")
        y += _SECTION
        for _, claim in of_section.groupby("claim", sort=False):
            write(_TEXT, y, claim["statement"].iloc[0], fontsize=9.5)
            _draw_effects(axis, claim, y + 1)
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
    axis.set(xlim=(-_EDGE, _EDGE), ylim=(y, -0.6), yticks=[], xticks=[0])
    legend = "diamond: effect; line: 95% interval; points: seeds. Every claim has its own scale.\n"
    axis.set_xlabel(f"{legend}The paper says: right of 0, or inside what is shaded.", fontsize=9.5)
    axis.grid(visible=False)
    figure.set_layout_engine("none")  # which would make the panel narrow for the texts beside it
    axis.set_position((0.25, 0.75 / figure.get_figheight(), 0.33, 1 - 0.75 / figure.get_figheight()))
    axis.spines[["left", "right", "top"]].set_visible(False)
    return figure


def _draw_effects(axis: Axes, rows: pd.DataFrame, y: float) -> None:
    """The effects of one claim, a line an architecture from height `y` on, scaled to the farthest end of all."""
    bounds = rows[["bound_low", "bound_high"]].iloc[0]
    margins = [bound for bound in bounds if math.isfinite(bound)]
    seeds = [_seeds(text) for text in rows["each_seed"]]
    effects = rows[["effect", "low", "high"]].to_numpy().ravel()
    ends = pd.Series([*effects, *margins, *(value for each in seeds for value in each)], dtype=float)
    scale = ends.abs().max() or 1.0
    if any(margins) and (rows["verdict"] != UNTESTED).any():
        first, last = (bounds / scale).clip(-_EDGE, _EDGE)
        axis.add_patch(Rectangle((first, y - 0.5), last - first, len(rows), color="#E7EEF5", lw=0, zorder=0))
    axis.plot([0, 0], [y - 0.5, y + len(rows) - 0.5], color="#444444", lw=1, zorder=1)
    for place, (row, each) in enumerate(zip(rows.itertuples(), seeds, strict=True)):
        at, color = y + place, VERDICT_COLORS[row.verdict]
        if math.isfinite(row.effect):  # also where it tests nothing
            axis.plot([row.low / scale, row.high / scale], [at, at], color=color, lw=2, zorder=2)
            axis.plot(row.effect / scale, at, "D", color=color, ms=5, zorder=4)
            points = [value / scale for value in each]
            axis.plot(points, [at] * len(each), "o", color="white", mec=color, ms=3.2, zorder=3)


def _seeds(told: object) -> list[float]:
    """The effects of single seeds, from the column each_seed: "0: 1.2, 1: 0.9"."""
    return [float(part.split(":")[1]) for part in told.split(",")] if isinstance(told, str) else []
