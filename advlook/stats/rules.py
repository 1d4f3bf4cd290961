"""Claims that can fail, and the only verdicts of this study: from samples to estimates, comparisons and verdicts.

A `Claim` says what of the tables is compared, and its `Rule` when it holds. Effects are positive on the side of the
claim. `estimate` makes an `Estimate` of each `Sample`, `judge` a row of each estimate, `conclude` a verdict of the rows
of a claim and architecture. An estimate from elsewhere, such as of a published figure, is judged by the same rules.

A verdict needs three things: comparisons that lie on its side with p of at most 5%, agreement of all seeds in each of
them, and for the claim p of at most 5% after Holm's correction for all claims and architectures of a preset. The p of
a claim is that of the verdict: every comparison on its side needs no correction within the claim, one of several does
(`Rule.p`).

A direction in points of accuracy that stays inconclusive is asked a second question: are all effects within five
points either way? This needs no further correction. An effect cannot be both 0 and five points away, so of the two
questions one at most can be answered wrongly, and a claim counts once in Holm's correction."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from advlook.stats.multiple import holm
from advlook.stats.two_way import Estimate, Sample, estimate

SUPPORTED, CONTRADICTED, NO_DIFFERENCE = "supported", "contradicted", "no difference"
INCONCLUSIVE, UNTESTED = "inconclusive", "not tested"
VERDICTS = SUPPORTED, CONTRADICTED, NO_DIFFERENCE, INCONCLUSIVE, UNTESTED
LEVEL = 0.05
SAME = 5.0  # points by which two losses or accuracies may differ and still count as of the same range
COMPARABLE = 1.0  # points below another accuracy that still count as comparable to it
POINTS, PERCENT, CORRELATION, OCTAVES = "points", "percent", "correlation", "octaves"  # units of effects

_EFFECT = ["effect", "low", "high"]
_RESTS_ON = ["seeds", "units", "each_seed"]
_COMPARED = ["claim", "arch", "at", *_EFFECT, "p", "p_same", "side", *_RESTS_ON, "reason"]  # of `08_comparisons`
_VERDICT = ["verdict", "unit", "at", "held", "p", "p_holm"]
_RULE = ["bound_low", "bound_high", "rule", "reason"]
COLUMNS = ["claim", "statement", "where", "arch", *_EFFECT, *_VERDICT, *_RESTS_ON, *_RULE]  # of `08_claims`

Tables = Mapping[str, pd.DataFrame]


class Untested(Exception):
    """What a preset lacks for a claim; its text is shown beside the verdict."""


@dataclass(frozen=True)
class Rule:
    """The effect must lie between `low` and `high` in every comparison. over: "every", or "turn", where the first is of
    things before a change. reason: why these bounds. A comparison is *for* the claim or *against* it if it lies on that
    side with p of at most 5% and in every seed, else *open*."""

    low: float = 0.0
    high: float = math.inf
    over: str = "every"
    reason: str = ""

    def __str__(self) -> str:
        within = f"above {self.low:g}" if math.isinf(self.high) else f"between {self.low:g} and {self.high:g}"
        told = {
            "every": f"Supported if every effect is {within}, contradicted if one is not.",
            "turn": "Supported if STD is ahead before the change and ADV after it, contradicted if one of these is the "
            "other way round.",
        }[self.over]
        return f"{told} {self.reason}".strip()

    def verdict(self, sides: Sequence[str]) -> str:
        """From the side ("for", "against", "open") of every comparison; before Holm's correction."""
        if "against" in sides:
            return CONTRADICTED
        return SUPPORTED if set(sides) == {"for"} else INCONCLUSIVE

    def p(self, values: np.ndarray, effects: np.ndarray) -> float:
        """p of the claim from those of its comparisons `(n,)`, for the verdict that their effects speak for: that all
        are for it, which is the largest, or that one is against it, which is n times the smallest (Bonferroni)."""
        inside = (self.low < effects) & (effects < self.high)
        return float(min(1, values.max() if inside.all() else len(values) * values[~inside].min()))

    def decisive(self, effects: Sequence[float], sides: Sequence[str]) -> int:
        """Index of the comparison that stands for all, the hardest for the claim among those that made the verdict, and
        of a turn one after the change if there is one. Where nothing is decided it is of those not for the claim."""
        made_it = {SUPPORTED: "for", CONTRADICTED: "against", INCONCLUSIVE: "open"}[self.verdict(sides)]
        places = [place for place, side in enumerate(sides) if side == made_it] or list(range(len(sides)))
        if self.over == "turn":
            places = [place for place in places if place] or places
        return min(reversed(places), key=lambda place: min(effects[place] - self.low, self.high - effects[place]))

    def judged(self, found: Estimate) -> dict[str, object]:
        """Effect, interval, the side, and the p of the bounds that the effect must be clear of where it lies. p_same:
        of "it is SAME or more away from 0"; 1 where some seed is."""
        effect, each = found.effect, np.array(found.each)
        inside = self.low < effect < self.high
        outside = (self.high, math.inf) if effect >= self.high else (-math.inf, self.low)
        first, last = (self.low, self.high) if inside else outside
        p = max(found.p(bound) for bound in (first, last) if np.isfinite(bound))
        certain = p <= LEVEL and bool(((first <= each) & (each <= last)).all())
        side = "open" if not certain else "for" if inside else "against"
        near = bool((abs(np.array([effect, *each])) < SAME).all())
        low, high = found.interval()
        row = {"at": found.at, "effect": effect, "low": low, "high": high, "p": p, "side": side}
        row["p_same"] = max(found.p(-SAME), found.p(SAME)) if near else 1.0
        told = zip(found.seeds or range(len(each)), each, strict=True)
        row |= {"seeds": len(each), "units": found.units, "reason": found.untested or None}
        return row | {"each_seed": ", ".join(f"{seed}: {value:.4g}" for seed, value in told)}


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, in our words. samples: of one architecture, from the tables; raises Untested."""

    name: str
    statement: str
    where: str
    unit: str
    table: str
    samples: Callable[[Tables, str], Sequence[Sample | Estimate]]
    rule: Rule = Rule()

    @property
    def directional(self) -> bool:
        """Whether it is about a direction in points, so that "no difference" may be its verdict."""
        return self.unit == POINTS and (self.rule.low, self.rule.high) == (0, math.inf)

    @property
    def criteria(self) -> str:
        """When it counts as supported, contradicted, or as no difference."""
        what = "effects after the change" if self.rule.over == "turn" else "effects"
        same = f" No difference if all {what} are within {SAME:g} of 0."
        return f"{self.rule}{same if self.directional else ''}"


def compare(tables: Tables, claims: Sequence[Claim]) -> pd.DataFrame:
    """Every comparison of every claim and architecture, as `judge` gives it."""
    asked: list[tuple[Claim, str, Estimate | str]] = []
    archs = dict.fromkeys(arch for table in tables.values() if "arch" in table for arch in table["arch"].unique())
    for claim in claims:
        for arch in archs:
            try:
                found = claim.samples(tables, arch)
                asked += [(claim, arch, estimate(each) if isinstance(each, Sample) else each) for each in found]
            except Untested as missing:
                asked.append((claim, arch, str(missing)))
    return judge(asked)


def judge(asked: Iterable[tuple[Claim, str, Estimate | str]]) -> pd.DataFrame:
    """A row a comparison, as saved in `08_comparisons`, of claims, architectures and estimates, or why there is none.
    side: "for", "against" or "open", none where no verdict may rest on it; p_same: of claims about a direction in
    points; each_seed: the effect by seed; units: how many; reason: why there is no verdict."""
    rows = []
    for claim, arch, found in asked:
        row = {"reason": found} if isinstance(found, str) else claim.rule.judged(found)
        rows.append({"claim": claim.name, "arch": arch} | row | ({} if claim.directional else {"p_same": None}))
    table = pd.DataFrame(rows, columns=_COMPARED)
    table.loc[table["reason"].notna(), ["side", "p_same"]] = None
    return table.astype({"seeds": "Int64", "units": "Int64", **dict.fromkeys([*_EFFECT, "p", "p_same"], float)})


def conclude(compared: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """The verdict on every claim and architecture, as saved in `08_claims` (COLUMNS), from the result of `judge`. The
    effect shown is the decisive one (see `Rule`), of "no difference" the one nearest to SAME; `held` counts comparisons
    for, against and open, and names a lone seed. What was measured but tests nothing is shown with its effect."""
    groups = [
        (claim, arch, each)
        for claim in claims
        for arch, each in compared[compared["claim"] == claim.name].groupby("arch", sort=False)
    ]
    table = pd.DataFrame([_concluded(*group) for group in groups], columns=[*COLUMNS, "p_same", "same"])
    tested = table["verdict"] != UNTESTED
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    table.loc[tested & (table["p_holm"] > LEVEL), "verdict"] = INCONCLUSIVE
    undecided = (table["verdict"] == INCONCLUSIVE) & table["p_same"].notna()
    asked = table["p"].mask(undecided, table["p_same"])
    corrected = pd.Series(holm(asked[tested]), table.index[tested]).reindex(table.index)
    for place in table.index[undecided & (corrected <= LEVEL)]:
        shown = compared.loc[table.at[place, "same"], [*_EFFECT, "at", *_RESTS_ON]]
        table.loc[place, shown.index] = shown
        table.loc[place, ["verdict", "p", "p_holm"]] = NO_DIFFERENCE, asked[place], corrected[place]
    return table[COLUMNS].astype({"seeds": "Int64", "units": "Int64"})


def _concluded(claim: Claim, arch: str, each: pd.DataFrame) -> dict[str, object]:
    """A row of `08_claims` before correction. p_same: of all comparisons that "no difference" is about; same: the label
    of the one that is least clear of it."""
    sides, effects = each["side"].tolist(), each["effect"].to_numpy()
    shown = each.iloc[claim.rule.decisive(effects, sides)]
    row = shown.to_dict() | {"statement": claim.statement, "where": claim.where, "unit": claim.unit, "p_same": np.nan}
    row |= {"bound_low": claim.rule.low, "bound_high": claim.rule.high, "rule": claim.criteria}
    missing = each["reason"].dropna()
    if len(missing):
        return row | {"verdict": UNTESTED, "held": "", "reason": missing.iloc[0]}
    row |= {"verdict": claim.rule.verdict(sides), "p": claim.rule.p(each["p"].to_numpy(), effects)}
    if claim.directional:
        asked = each["p_same"].iloc[1 if claim.rule.over == "turn" else 0 :]
        row |= {"p_same": asked.max(), "same": asked.idxmax()}
    counts = [f"{sides.count(side)} {side}" for side in ("for", "against", "open") if side in sides]
    return row | {"held": ", ".join((counts if len(sides) > 1 else []) + (["one seed"] if shown["seeds"] == 1 else []))}
