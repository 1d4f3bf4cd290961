"""Claims that can fail, and the only verdicts of this study: from samples to effects, intervals and verdicts.

A `Claim` says what of the tables is compared, and its `Rule` when it holds. Effects are positive on the side of the
claim. A comparison resamples units (images, filters, maximising inputs) and seeds together, the same units for STD and
ADV and for every seed; `low` and `high` are its plain 95% interval. A verdict needs more: p of at most 5% after Holm's
correction for all comparisons of all claims, and agreement of all seeds. The 5% are about images: a few trainings do
not tell how often others would disagree."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from advlook.stats.bootstrap import Sample, holm, p_value, resampled_effects

VERDICTS = SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTED = "supported", "contradicted", "inconclusive", "not tested"
DRAWS = 10_000  # resamples: the smallest p, 2 / 10,001, stays below 5% after correction for 250 comparisons
LEVEL = 0.05
SAME = 5.0  # points by which two losses may differ and still count as of the same range
COMPARABLE = 1.0  # points below another accuracy that still count as comparable to it
POINTS, PERCENT, CORRELATION = "points", "percent", "correlation"  # units of effects

_EFFECT = ["effect", "low", "high"]
_RESTS_ON = ["seeds", "units", "each_seed"]
_COMPARED = ["claim", "arch", "at", *_EFFECT, "p", "p_holm", "side", *_RESTS_ON, "reason"]
_VERDICT = ["verdict", "unit", "at", "held", "p", "p_holm"]
_RULE = ["bound_low", "bound_high", "rule", "reason"]
COLUMNS = ["claim", "statement", "where", "arch", *_EFFECT, *_VERDICT, *_RESTS_ON, *_RULE]  # of `08_claims`

Tables = Mapping[str, pd.DataFrame]


class Untested(Exception):
    """What a preset lacks for a claim; its text is shown beside the verdict."""


@dataclass(frozen=True)
class Rule:
    """The effect must lie between `low` and `high` in `over` of the comparisons: "every", "most", or "turn", which asks
    for every one, the first of which is of things before a change. reason: why these bounds. A comparison is *for* the
    claim or *against* it if it lies on that side after correction and in every seed, else *open*."""

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
        """From the side ("for", "against", "open") of every comparison."""
        count = {side: list(sides).count(side) for side in ("for", "against", "open")}
        if self.over == "most":
            yes, no = 2 * count["for"] > len(sides), 2 * (count["for"] + count["open"]) < len(sides)
        else:
            yes, no = count["for"] == len(sides), count["against"] > 0
        return SUPPORTED if yes else CONTRADICTED if no else INCONCLUSIVE

    def decisive(self, effects: Sequence[float], sides: Sequence[str]) -> int:
        """Index of the comparison that stands for all, among those that made the verdict: the hardest for the claim,
        the middle one where most count, and of a turn one after the change if there is one."""
        side = {SUPPORTED: "for", CONTRADICTED: "against", INCONCLUSIVE: "open"}[self.verdict(sides)]
        places = [place for place, each in enumerate(sides) if each == side] or list(range(len(sides)))
        if self.over == "turn":
            places = [place for place in places if place] or places
        easiest_first = sorted(places, key=lambda place: -min(effects[place] - self.low, self.high - effects[place]))
        return easiest_first[len(places) // 2 if self.over == "most" else -1]

    def judged(self, sample: Sample, effects: np.ndarray) -> dict[str, object]:
        """Effect, interval, and the p of the bounds that the effect must be clear of, on the side where it lies.
        effects: resampled, `(draws,)`. inside: within the bounds; agreed: every seed is on its side."""
        units, means = len(sample.values), sample.values.mean(0)
        effect, each = float(sample.effect(means.mean(0))), sample.effect(means)
        low, high = np.percentile(effects, [2.5, 97.5], method="inverted_cdf")
        inside = self.low < effect < self.high
        outside = (self.high, math.inf) if effect >= self.high else (-math.inf, self.low)
        first, last = (self.low, self.high) if inside else outside
        p = max(p_value(effects, bound, units) for bound in (first, last) if np.isfinite(bound))
        told = ", ".join(f"{seed}: {value:.4g}" for seed, value in zip(sample.seeds, each, strict=True))
        agreed = bool(((first <= each) & (each <= last)).all())
        row = {"effect": effect, "low": low, "high": high, "p": p, "inside": inside, "agreed": agreed}
        return row | {"seeds": len(each), "units": units, "each_seed": told}


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
    """Every comparison of every claim and architecture, as saved in `08_comparisons`. side: "for", "against" or "open",
    after correction for all; each_seed: the effect by seed; units: how many; reason: why there is no verdict."""
    asked: list[tuple[dict[str, object], Rule, Sample | None]] = []
    archs = dict.fromkeys(arch for table in tables.values() if "arch" in table for arch in table["arch"].unique())
    for claim in claims:
        for arch in archs:
            about = {"claim": claim.name, "arch": arch}
            try:
                for sample in claim.samples(tables, arch):
                    asked.append((about | {"at": sample.at, "reason": sample.untested or None}, claim.rule, sample))
            except Untested as missing:
                asked.append((about | {"reason": str(missing)}, claim.rule, None))
    resampled = iter(resampled_effects([sample for *_, sample in asked if sample], DRAWS))
    rows = [about | (rule.judged(sample, next(resampled)) if sample else {}) for about, rule, sample in asked]
    table = pd.DataFrame(rows, columns=[*_COMPARED, "inside", "agreed"])
    known = table["p"].notna()
    table.loc[known, "p_holm"] = holm(table.loc[known, "p"].to_numpy())
    certain = (table["p_holm"] <= LEVEL) & table["agreed"].eq(True)
    inside, untested = table["inside"].eq(True), table["reason"].notna()
    table["side"] = np.select([untested, certain & inside, certain], [None, "for", "against"], "open")
    return table[_COMPARED].astype({"seeds": "Int64", "units": "Int64"})


def conclude(compared: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """The verdict on every claim and architecture, as saved in `08_claims` (COLUMNS), from the result of `compare`. The
    effect shown is the decisive one (see `Rule`); `held` counts those for, against and open, and names a lone seed."""
    rows = []
    for claim in claims:
        rule = {"bound_low": claim.rule.low, "bound_high": claim.rule.high, "rule": str(claim.rule)}
        about = {"claim": claim.name, "statement": claim.statement, "where": claim.where, "unit": claim.unit, **rule}
        for arch, each in compared[compared["claim"] == claim.name].groupby("arch", sort=False):
            missing = each["reason"].dropna()
            if len(missing):
                rows.append(about | {"arch": arch, "verdict": UNTESTED, "held": "", "reason": missing.iloc[0]})
                continue
            sides = each["side"].tolist()
            shown = each.iloc[claim.rule.decisive(each["effect"].tolist(), sides)]
            counts = [f"{sides.count(side)} {side}" for side in ("for", "against", "open") if side in sides]
            held = (counts if len(sides) > 1 else []) + (["one seed"] if shown["seeds"] == 1 else [])
            verdict = {"verdict": claim.rule.verdict(sides), "held": ", ".join(held)}
            rows.append(shown.to_dict() | about | verdict)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"seeds": "Int64", "units": "Int64"})
