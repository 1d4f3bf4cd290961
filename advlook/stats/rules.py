"""Claims that can fail: a rule, and what samples say of it, from effects to intervals and verdicts.

A `Claim` says what of the tables is compared, and a `Rule` when it holds; `claims.CLAIMS` are those of the paper.
Effects are positive on the side that is claimed. A comparison resamples units (images, filters, maximising inputs) and
seeds together: the same units for STD and ADV and for every seed. `low` and `high` are its plain 95% interval. A
verdict asks for more: that the comparison holds at 5% after Holm's correction for all comparisons of all claims at
once, and in every seed by itself. The 5% are about images: a few trainings do not tell how often others would disagree.

Verdicts are SUPPORTED, CONTRADICTED, INCONCLUSIVE, and UNTESTED where the preset lacks what a claim needs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from advlook.core.names import ARCH_NAMES
from advlook.stats.bootstrap import Sample, holm, p_value, resampled_effects

VERDICTS = SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTED = "supported", "contradicted", "inconclusive", "not tested"
DRAWS = 10_000  # resamples: enough for a p that stands the correction for 250 comparisons
LEVEL = 0.05
POINTS, PERCENT, CORRELATION = "points", "percent", "correlation"

Tables = Mapping[str, pd.DataFrame]


class Untested(Exception):
    """What a preset lacks for a claim; its text is shown beside the verdict."""


@dataclass(frozen=True)
class Rule:
    """The effect has to lie between `low` and `high`, in `over` ("every", "most") of the comparisons.

    over "turn": in every one, the first of which is of things as they were before a change. reason: why the bounds are
    what they are. A comparison is *for* the claim or *against* it if it lies on that side of the bounds after
    correction, and in every seed.
    """

    low: float = 0.0
    high: float = math.inf
    over: str = "every"
    reason: str = ""

    def __str__(self) -> str:
        within = f"above {self.low:g}" if math.isinf(self.high) else f"between {self.low:g} and {self.high:g}"
        told = {
            "every": f"Supported if every effect is {within}, contradicted if one is not.",
            "most": f"Supported if more than half of the effects are {within}, contradicted if fewer than half can be.",
            "turn": "Supported if STD is ahead before the change and ADV after it, contradicted if one of these is the "
            "other way round.",
        }[self.over]
        return f"{told} {self.reason}".strip()

    def verdict(self, sides: Sequence[str]) -> str:
        """From "for", "against" or "open" of every comparison that counts."""
        count = {side: list(sides).count(side) for side in ("for", "against", "open")}
        if self.over == "most":
            yes, no = 2 * count["for"] > len(sides), 2 * (count["for"] + count["open"]) < len(sides)
        else:
            yes, no = count["for"] == len(sides), count["against"] > 0
        return SUPPORTED if yes else CONTRADICTED if no else INCONCLUSIVE

    def decisive(self, effects: Sequence[float], sides: Sequence[str]) -> int:
        """Which comparison stands for all: of those that made the verdict the one that is hardest for the claim, or
        that in the middle where most count; of a turn one after it, if there is one."""
        side = {SUPPORTED: "for", CONTRADICTED: "against", INCONCLUSIVE: "open"}[self.verdict(sides)]
        places = [place for place, each in enumerate(sides) if each == side] or list(range(len(sides)))
        if self.over == "turn":
            places = [place for place in places if place] or places
        easiest_first = sorted(places, key=lambda place: -min(effects[place] - self.low, self.high - effects[place]))
        return easiest_first[len(places) // 2 if self.over == "most" else -1]


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, in our words. samples: of one architecture, from the tables; raises Untested."""

    name: str
    statement: str
    where: str
    unit: str
    table: str
    samples: Callable[[Tables, str], list[Sample]]
    rule: Rule = Rule()


def compare(tables: Tables, claims: Sequence[Claim]) -> pd.DataFrame:
    """Every comparison of every claim and architecture: claim, arch, at, effect, low, high, p, p_holm, side, ...

    side: "for", "against" or "open", after correction; each_seed: the effect in the models of one seed; units: of what
    is resampled, how many; reason: what was missing, where a claim could not be tested.
    """
    asked: list[tuple[dict[str, object], Claim, Sample | None]] = []
    for claim in claims:
        for arch in dict.fromkeys(arch for table in tables.values() for arch in table.get("arch", ())):
            about = {"claim": claim.name, "arch": arch}
            try:
                asked += [(about | {"at": sample.at}, claim, sample) for sample in claim.samples(tables, arch)]
            except Untested as missing:
                asked.append((about | {"reason": str(missing)}, claim, None))
    resampled = iter(resampled_effects([sample for *_, sample in asked if sample], DRAWS))
    rows = pd.DataFrame(
        [about | (_judged(claim.rule, sample, next(resampled)) if sample else {}) for about, claim, sample in asked],
        columns=[*_COMPARED, "inside", "agreed"],
    )
    tested = rows["p"].notna()
    rows.loc[tested, "p_holm"] = holm(rows.loc[tested, "p"].to_numpy())
    certain = (rows["p_holm"] <= LEVEL) & rows["agreed"].eq(True)
    inside = rows["inside"].eq(True)
    rows["side"] = np.select([~tested, certain & inside, certain], [None, "for", "against"], "open")
    return rows[_COMPARED].astype({"seeds": "Int64", "units": "Int64"})


_COMPARED = [
    "claim",
    "arch",
    "at",
    "effect",
    "low",
    "high",
    "p",
    "p_holm",
    "side",
    "seeds",
    "units",
    "each_seed",
    "reason",
]


def _judged(rule: Rule, sample: Sample, effects: np.ndarray) -> dict[str, object]:
    """Effect, interval, and the p of the bounds that the effect has to be clear of, on the side where it lies."""
    units, means = len(sample.values), sample.values.mean(0)
    effect, each = float(sample.effect(means.mean(0))), sample.effect(means)
    low, high = np.percentile(effects, [2.5, 97.5], method="inverted_cdf")
    inside = rule.low < effect < rule.high
    first, last = (
        (rule.low, rule.high) if inside else (rule.high, math.inf) if effect >= rule.high else (-math.inf, rule.low)
    )
    p = max(p_value(effects, bound, units) for bound in (first, last) if np.isfinite(bound))
    told = ", ".join(f"{seed}: {value:.4g}" for seed, value in zip(sample.seeds, each, strict=True))
    return {
        "effect": effect,
        "low": low,
        "high": high,
        "p": p,
        "inside": inside,
        "seeds": len(each),
        "units": units,
        "each_seed": told,
        "agreed": bool(((first <= each) & (each <= last)).all()),
    }


def conclude(compared: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """One row a claim and architecture: claim, statement, where, arch, effect, low, high, verdict, unit, ...

    Of several comparisons the effect shown is the decisive one (see `Rule`); `at` tells which, `held` how many were
    for, against and open, and where a single seed has to speak for all. Between bound_low and bound_high the claim
    holds; rule says so in words. compared: of `compare`.
    """
    rows = []
    for claim in claims:
        for arch, each in compared[compared["claim"] == claim.name].groupby("arch", sort=False):
            about = {"claim": claim.name, "statement": claim.statement, "where": claim.where, "arch": arch}
            bounds = {"bound_low": claim.rule.low, "bound_high": claim.rule.high, "rule": str(claim.rule)}
            shown, verdict, held = each.iloc[0], UNTESTED, ""
            if each["reason"].isna().all():
                sides = each["side"].tolist()
                shown = each.iloc[claim.rule.decisive(each["effect"].tolist(), sides)]
                verdict = claim.rule.verdict(sides)
                counts = [f"{sides.count(side)} {side}" for side in ("for", "against", "open") if side in sides]
                held = ", ".join((counts if len(sides) > 1 else []) + (["one seed"] if shown["seeds"] == 1 else []))
            rows.append(
                about
                | shown.drop(["claim", "arch"]).to_dict()
                | bounds
                | {"verdict": verdict, "unit": claim.unit, "held": held}
            )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"seeds": "Int64", "units": "Int64"})


COLUMNS = [
    "claim",
    "statement",
    "where",
    "arch",
    "effect",
    "low",
    "high",
    "verdict",
    "unit",
    "at",
    "held",
    "p",
    "p_holm",
    "seeds",
    "units",
    "each_seed",
    "bound_low",
    "bound_high",
    "rule",
    "reason",
]


def told(row: pd.Series) -> str:
    """The effect of a row of `08_claims` with its interval, in its unit; "-" for what is not known."""
    if row["verdict"] == UNTESTED:
        return "-"
    digits = 3 if row["unit"] == CORRELATION else 1
    low, high = ("-" if np.isnan(row[end]) else f"{row[end]:.{digits}f}" for end in ("low", "high"))
    return f"{row['effect']:+.{digits}f} [{low}, {high}] {row['unit']}"


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """To be read: claim, arch, effect with its interval and unit, verdict, comparisons where there are several.

    table: `08_claims`.
    """
    found = table[["claim", "arch", "verdict"]].assign(
        effect=table.apply(told, axis=1), comparisons=table["held"].fillna("")
    )
    return found.replace({"arch": ARCH_NAMES})[["claim", "arch", "effect", "verdict", "comparisons"]]


def report(table: pd.DataFrame) -> str:
    """`compact` as lines of less than 120 characters, then how often each verdict was given, and why some were not."""
    shown = compact(table)
    again = shown["claim"].duplicated()
    widths = shown.map(len).max()
    lines = [
        f"{'' if again[place] else row.claim:<{widths['claim']}}  {row.arch:<{widths['arch']}}  "
        f"{row.effect:>{widths['effect']}}  {row.verdict:<{widths['verdict']}}  {row.comparisons}".rstrip()
        for place, row in zip(shown.index, shown.itertuples(), strict=True)
    ]
    counts = table["verdict"].value_counts()
    given = (f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    missing = (f"not tested: {reason}" for reason in table["reason"].dropna().unique())
    more = (
        "intervals are 95%; a verdict asks for Holm's correction as well, and that the comparison holds in every seed"
    )
    return "\n".join([*lines, "", ", ".join(given), more, *missing])


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """A Markdown table: a row a claim, in words; a column a preset and architecture, verdict and effect.

    tables: `08_claims` by the name of its preset.
    """
    columns = {}
    for name, table in tables.items():
        full = "**" + table["verdict"] + "** " + table.apply(told, axis=1)
        cells = full.mask(table["verdict"] == UNTESTED, UNTESTED)
        for arch, rows in cells.groupby(table["arch"], sort=False):
            columns[f"{name}, {ARCH_NAMES[arch]}"] = rows.set_axis(table.loc[rows.index, "statement"])
    found = pd.DataFrame(columns).fillna(UNTESTED)
    lines = [["claim", *found], ["---"] * (1 + found.shape[1]), *found.reset_index().to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def answers(table: pd.DataFrame) -> list[str]:
    """A sentence a claim: what was claimed and the verdict of each architecture. table: `08_claims`."""
    found = []
    for _, rows in table.groupby("claim", sort=False):
        verdicts = dict(zip(rows["arch"].replace(ARCH_NAMES), rows["verdict"], strict=True))
        alike = len(set(verdicts.values())) == 1
        said = (
            rows["verdict"].iloc[0] if alike else ", ".join(f"{arch} {verdict}" for arch, verdict in verdicts.items())
        )
        found.append(f"{rows['statement'].iloc[0]} {said[0].upper() + said[1:]}.")
    return found


SAME = 5.0  # points by which two losses may differ and still count as of the same range


COMPARABLE = 1.0  # points below another accuracy that still count as comparable to it
