"""The plot of notebook 08: every claim with its effects, intervals and verdicts, drawn from `08_claims` alone."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advlook.core.names import ARCH_NAMES
from advlook.stats.rules import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED, told
from advlook.study.style import new_figure

COLORS = {SUPPORTED: "#007A58", CONTRADICTED: "#B03060", INCONCLUSIVE: "#6E6E6E", UNTESTED: "#A0A0A0"}
_EDGE = 1.06  # of the panel, where the farthest end of a claim's intervals lies at 1
_TEXT, _ARCH, _EFFECT, _VERDICT, _HELD = -0.72, -0.03, 1.03, 1.66, 2.02  # where texts stand, in widths of the panel
_SECTION, _GAP = 1.5, 0.35  # heights, in rows


def forest(table: pd.DataFrame) -> Figure:
    """A line a claim and architecture, by section: the effect with its 95% interval, seeds as small points.

    Right of the zero line, or inside a shaded margin, lies what the paper says. Units differ, so each claim has a scale
    of its own, on which its architectures compare, and the numbers stand beside it.
    table: `08_claims`.
    """
    sections = table["where"].str.split(",").str[0]
    rows = len(table) + table["claim"].nunique() * (1 + _GAP) + sections.nunique() * _SECTION
    figure, (axis,) = new_figure(1, 1, 12.5, 0.225 * rows + 0.75)
    texts = axis.get_yaxis_transform()  # x in widths of the panel, y in rows
    y = 0.0
    for section, of_section in table.groupby(sections, sort=False):
        axis.text(_TEXT, y + 0.4, section, transform=texts, fontsize=12, fontweight="bold", va="center")
        y += _SECTION
        for _, claim in of_section.groupby("claim", sort=False):
            axis.text(_TEXT, y, claim["statement"].iloc[0], transform=texts, fontsize=9.5, va="center")
            _claim(axis, claim, y + 1)
            y += 1 + len(claim) + _GAP
    axis.set(xlim=(-_EDGE, _EDGE), ylim=(y, -0.6), yticks=[], xticks=[0])
    axis.set_xlabel(
        "diamond: effect; line: 95% interval; points: seeds. Every claim has its own scale.\n"
        "The paper says: right of 0, or inside what is shaded.",
        fontsize=9.5,
    )
    axis.grid(visible=False)
    figure.set_layout_engine("none")  # which would make the panel narrow for the texts beside it
    axis.set_position((0.25, 0.75 / figure.get_figheight(), 0.33, 1 - 0.75 / figure.get_figheight()))
    for side in ("left", "right", "top"):
        axis.spines[side].set_visible(False)
    return figure


def _claim(axis: Axes, rows: pd.DataFrame, y: float) -> None:
    seeds = [_seeds(row) for row in rows.itertuples()]
    bounds = [bound for bound in rows[["bound_low", "bound_high"]].iloc[0] if math.isfinite(bound)]
    intervals = rows[["effect", "low", "high"]].to_numpy().ravel()
    ends = pd.Series([*intervals, *bounds, *(value for each in seeds for value in each)], dtype=float)
    scale = ends.abs().max() or 1.0
    if any(bounds) and (rows["verdict"] != UNTESTED).any():
        first, last = (max(-_EDGE, min(_EDGE, bound / scale)) for bound in rows[["bound_low", "bound_high"]].iloc[0])
        axis.add_patch(Rectangle((first, y - 0.5), last - first, len(rows), color="#E7EEF5", lw=0, zorder=0))
    axis.plot([0, 0], [y - 0.5, y + len(rows) - 0.5], color="#444444", lw=1, zorder=1)
    texts = axis.get_yaxis_transform()
    for place, ((_, row), each) in enumerate(zip(rows.iterrows(), seeds, strict=True)):
        at, color = y + place, COLORS[row["verdict"]]
        axis.text(
            _ARCH, at, ARCH_NAMES[row["arch"]], transform=texts, fontsize=9, va="center", ha="right", color="#555555"
        )
        if isinstance(row["held"], str):
            axis.text(_HELD, at, row["held"], transform=texts, fontsize=8.5, va="center", color="#555555")
        if row["verdict"] != UNTESTED:
            axis.plot([row["low"] / scale, row["high"] / scale], [at, at], color=color, lw=2, zorder=2)
            axis.plot(row["effect"] / scale, at, "D", color=color, ms=5, zorder=4)
            axis.plot(
                [value / scale for value in each], [at] * len(each), "o", color="white", mec=color, ms=3.2, zorder=3
            )
            axis.text(_EFFECT, at, told(row), transform=texts, fontsize=9, va="center")
        axis.text(
            _VERDICT,
            at,
            row["verdict"],
            transform=texts,
            fontsize=9,
            va="center",
            color=color,
            fontweight="normal" if row["verdict"] == UNTESTED else "bold",
        )


def _seeds(row: tuple) -> list[float]:
    """The effects of single seeds, as the table tells them: "0: 1.2, 1: 0.9"."""
    return [float(part.split(":")[1]) for part in row.each_seed.split(",")] if isinstance(row.each_seed, str) else []
