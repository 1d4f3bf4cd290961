"""What the paper says in words, as claims that can fail, read from the tables of a preset.

Each names a table, what of it is compared, and a rule in code that no result can move (`verdicts`). When the rules were
written, earlier runs of presets quick and imagenette had been read. They were changed once since, where a review found
that a rule did not ask what its sentence says; none was changed for a verdict. Tables:
`08_comparisons`, a row a comparison (an image set, a level); `08_claims`, a row a claim and architecture.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd

from advlook.core.errors import RequestError
from advlook.core.names import REVERSED, STYLIZED
from advlook.stats.bootstrap import Effect, Sample
from advlook.stats.paired import (
    PACKED,
    bias_difference,
    by_seed,
    difference,
    labelled,
    lead,
    lead_before,
    less,
    lost_more,
    packed,
    relative_difference,
    right_of,
)
from advlook.stats.rules import (
    COMPARABLE,
    CORRELATION,
    PERCENT,
    POINTS,
    SAME,
    Claim,
    Rule,
    Tables,
    Untested,
    compare,
    conclude,
)
from advlook.study.study import Study

# From tables to samples --------------------------------------------------------------------------------------------


def rows_of(tables: Tables, name: str, arch: str, *columns: str) -> pd.DataFrame:
    """The rows of an architecture in a table; Untested where the table, one of the columns or all rows are missing."""
    if name not in tables:
        raise Untested(f"no table {name}; run notebook {name[:2]}")
    table = tables[name]
    for column in columns:
        if column not in table:
            raise Untested(f"table {name} has no column {column}; run notebook {name[:2]} again")
    rows = table[table["arch"] == arch]
    if rows.empty:
        raise Untested(f"table {name} has no rows of {arch}")
    return rows


def sample_of(rows: pd.DataFrame, values: Callable[[pd.DataFrame], np.ndarray], effect: Effect, at: str = "") -> Sample:
    """A comparison of STD with ADV: `values(rows of one model)` are `(units, columns)`; STD's columns come first."""
    seeds, found = by_seed(rows, values)
    if not len(found):
        raise Untested("for every image some model gives nan" if seeds else "no seed has a STD and an ADV model")
    return Sample(found, effect, seeds, at)


def _tradeoff(column: str, effect: Effect) -> Callable[[Tables, str], list[Sample]]:
    def samples(tables: Tables, arch: str) -> list[Sample]:
        return [sample_of(rows_of(tables, "01_tradeoff", arch, column), packed(column), effect)]

    return samples


def _maps(method: str, measure: str, effect: Effect) -> Callable[[Tables, str], list[Sample]]:
    def samples(tables: Tables, arch: str) -> list[Sample]:
        rows = rows_of(tables, "03_maps", arch, measure)
        values = rows[rows["of"] == method].sort_values("image")
        return [sample_of(values, lambda run: run[[measure]].to_numpy(), effect)]

    return samples


def _units(measure: str, deep: bool) -> Callable[[Tables, str], list[Sample]]:
    def samples(tables: Tables, arch: str) -> list[Sample]:
        rows = rows_of(tables, "03_scale", arch)
        rows = rows[rows["measure"] == measure]
        first, *_ = [*rows["of"], None]
        rows = rows[rows["of"] != first] if deep else rows
        return [sample_of(rows.sort_values(["of", "at"]), lambda run: run[["value"]].to_numpy(), less)]

    return samples


def _sweep(tables: Tables, arch: str, operation: str, effect: Effect) -> list[list[Sample]]:
    """For each window of an operation of notebook 04, a comparison for every level that counts, from the lowest: where
    STD or ADV keeps half of its own accuracy. Beyond, both go towards chance, where every difference vanishes.
    """
    rows = rows_of(tables, "04_sweeps", arch, "right")
    rows = rows[rows["operation"].str.split().str[0] == operation]
    found = []
    for title, levels in rows.groupby("operation", sort=False):
        kept = levels.groupby(["level", "setting"])["top1"].mean().unstack()
        kept = kept.div(kept.loc[0]).max(axis=1) if 0 in kept.index else kept[:0]
        counting = []
        for level in sorted(set(kept[kept >= 0.5].index) - {0}):
            both = levels[levels["level"].isin([0, level])].sort_values("level")
            at = f"sigma {level:g} px" if operation == "blur" else f"{title}, {level:g} passes"
            counting.append(sample_of(both, lambda run: right_of(run).T, effect, at))
        found += [counting] if counting else []
    if not found:
        raise Untested(f"table 04_sweeps has no level of {operation} that leaves half of an accuracy")
    return found


def _blur(tables: Tables, arch: str) -> list[Sample]:
    return [sample for window in _sweep(tables, arch, "blur", lost_more) for sample in window]


def _median(tables: Tables, arch: str) -> list[Sample]:
    last = [window[-1] for window in _sweep(tables, arch, "median", lead)]
    return [Sample(last[0].values, lead_before, last[0].seeds, "before"), *last]


def _as_stylized(tables: Tables) -> None:
    """Untested where notebook 05 found that what it made does not count as stylized images."""
    if "05_checks" in tables and not tables["05_checks"]["passed"].all():
        raise Untested("by 05_checks these images do not count as stylized")


def _variant(tables: Tables, arch: str, variant: str, effect: Effect) -> Sample:
    rows = rows_of(tables, "05_variants", arch, "right", "right_control")
    rows = rows[(rows["variant"] == variant) & ((rows["strength"] == 1) | (variant != STYLIZED))]
    return sample_of(rows, packed("right_control", "right"), effect, variant)


def _reversed(effect: Effect) -> Callable[[Tables, str], list[Sample]]:
    return lambda tables, arch: [_variant(tables, arch, REVERSED, effect)]


def _stylized(tables: Tables, arch: str) -> list[Sample]:
    _as_stylized(tables)
    after = _variant(tables, arch, STYLIZED, lead)
    return [Sample(after.values, lead_before, after.seeds, "before"), after]


def _conflicts(tables: Tables, arch: str) -> list[Sample]:
    _as_stylized(tables)
    rows = rows_of(tables, "05_conflicts", arch, "by_shape", "by_texture")
    return [sample_of(rows, packed("by_shape", "by_texture"), bias_difference)]


def _ensembles(first: str, *others: str, low: bool | None = None) -> Callable[[Tables, str], list[Sample]]:
    """How far a combination is ahead of the best of the others, on every image set, or on those of `low` resolution or
    the others. Fine-tuned or frozen, whichever is more accurate over all combinations: the other has not learned the
    set. Runs take the place of seeds; those of the same checkpoints count as one.
    """

    def ahead(means: np.ndarray) -> np.ndarray:
        return 100 * (means[..., 0] - means[..., 1:].max(-1))

    def samples(tables: Tables, arch: str) -> list[Sample]:
        rows = rows_of(tables, "06_runs", arch, "right", "members")
        rows = rows if low is None else rows[rows["low"] == low]
        found = []
        for (dataset, pixels), both in rows.sort_values("seed").groupby(["dataset", "pixels"], sort=False):
            mode = both.groupby("mode")["top1"].mean().idxmax()
            runs = {name: each.set_index("seed") for name, each in both[both["mode"] == mode].groupby("combination")}
            for name in (first, *others):
                if name not in runs:
                    raise Untested(f"no {name} was trained; two of a kind take two seeds")
            right = np.stack([right_of(runs[name]).T for name in (first, *others)], axis=2)
            alike: dict[tuple[frozenset[str], ...], list[int]] = {}
            for place, seed in enumerate(runs[first].index):
                checkpoints = tuple(frozenset(runs[name].loc[seed, "members"].split()) for name in (first, *others))
                alike.setdefault(checkpoints, []).append(place)
            values = np.stack([right[:, places].mean(1) for places in alike.values()], axis=1)
            seeds = [runs[first].index[places[0]] for places in alike.values()]
            found.append(Sample(values, ahead, seeds, f"{dataset}, {pixels} px, {mode}"))
        if len(found) < 2:
            wanted = "" if low is None else "of low resolution " if low else "of high resolution "
            raise Untested(f"image sets {wanted}that were run: {len(found)}; it takes two")
        return found

    return samples


def _dependence(tables: Tables, arch: str) -> list[Sample]:
    """Similarity of a trained model's maps to those of its kind with other seeds, less that to an untrained one's.

    Two seeds have one such pair, and count as one.
    """
    rows = labelled(rows_of(tables, "07_sanity", arch))
    rows = rows[(rows["method"] == "guided_backprop") & (rows["measure"] == "spearman_abs")]
    found = []
    for setting in ("std", "adv"):
        alike, fresh = (rows[rows["comparison"] == f"{other}-{setting}"] for other in (setting, "random"))
        models = sorted(set(fresh["model_b"]))
        if alike.empty or not models:
            raise Untested("no second seed to compare with")
        pairs = [
            (alike[(alike["model_a"] == m) | (alike["model_b"] == m)], fresh[fresh["model_b"] == m]) for m in models
        ]
        values = np.array([[side.groupby("image")["value"].mean() for side in pair] for pair in pairs]).transpose(
            2, 0, 1
        )
        values = values[~np.isnan(values).any((1, 2))]
        if not len(values):
            raise Untested("for every image some model's map has no rank correlation")
        seeds = [int(model.split("-")[1]) for model in models]
        if len(seeds) == 2:
            values, seeds = values.mean(1, keepdims=True), seeds[:1]
        found.append(Sample(values, lambda means: means[..., 0] - means[..., 1], seeds, setting.upper()))
    return found


# The claims --------------------------------------------------------------------------------------------------------

_LAYERS = "Section 4.1, Figures 3 and 4"
CLAIMS = (
    Claim(
        "robustness costs accuracy",
        "Adversarial training lowers the accuracy on images as they are.",
        "Section 4, Table 1",
        POINTS,
        "01_tradeoff",
        _tradeoff("right", lead_before),
    ),
    Claim(
        "robustness is gained",
        "Adversarial training raises the accuracy under attack.",
        "Section 4, Table 1",
        POINTS,
        "01_tradeoff",
        _tradeoff("right_pgd", lead),
    ),
    Claim(
        "loss gradients follow edges",
        "Loss gradients of ADV models follow the edges of the image more closely.",
        "Section 4.1, Figure 2",
        CORRELATION,
        "03_maps",
        _maps("loss_gradient", "edge_correlation", difference),
        Rule(reason='Ours for "more perceivable" there and "stronger edges" in section 5.'),
    ),
    Claim(
        "guided maps are coarser",
        "Guided backpropagation of ADV models answers less to fine texture.",
        "Section 4.1, Figure 2",
        PERCENT,
        "03_maps",
        _maps("guided_backprop", "median_frequency", less),
    ),
    Claim(
        "first-layer weights are smaller",
        "The filters that see the image have smaller weights in ADV models.",
        _LAYERS,
        PERCENT,
        "03_scale",
        _units("filter_norm", deep=False),
    ),
    Claim(
        "deep units seek larger structures",
        "What excites deeper units of ADV models consists of larger structures.",
        _LAYERS,
        PERCENT,
        "03_scale",
        _units("unit_median_frequency", deep=True),
    ),
    Claim(
        "deep units seek fewer colours",
        "What excites deeper units of ADV models is less cluttered with colours.",
        _LAYERS,
        PERCENT,
        "03_scale",
        _units("unit_colour_variance", deep=True),
    ),
    Claim(
        "blur keeps the difference",
        "Gaussian blur leaves the difference between STD and ADV as it was.",
        "Section 4.1, Figure 7",
        POINTS,
        "04_sweeps",
        _blur,
        Rule(
            -SAME,
            SAME,
            reason="Differences within five points count as kept. Levels at which both have lost half of "
            "their own accuracy do not count: towards chance every difference vanishes.",
        ),
    ),
    Claim(
        "median filtering reverses it",
        "Under repeated median filtering ADV overtakes STD.",
        "Section 4.1, Figure 7",
        POINTS,
        "04_sweeps",
        _median,
        Rule(
            over="turn",
            reason="Compared after the most passes that leave STD or ADV half of its own accuracy, for every window.",
        ),
    ),
    Claim(
        "reversed colours take equal points",
        "Reversed colours take as many points of accuracy from STD as from ADV.",
        "Section 4.1, Table 2",
        POINTS,
        "05_variants",
        _reversed(lost_more),
        Rule(-SAME, SAME, reason="The same range: points that differ by less than five."),
    ),
    Claim(
        "reversed colours take equal shares",
        "Reversed colours take the same share of accuracy from STD as from ADV.",
        "Section 4.1, Table 2",
        POINTS,
        "05_variants",
        _reversed(lambda means: relative_difference(means)[..., 1]),
        Rule(
            -SAME,
            SAME,
            reason="Shares that differ by less than five points. Ours: the paper counts points of "
            "accuracy, of which the model that starts with fewer has fewer to lose.",
        ),
    ),
    Claim(
        "stylization reverses it",
        "Where textures are replaced ADV overtakes STD.",
        "Section 4.1, Table 2",
        POINTS,
        "05_variants",
        _stylized,
        Rule(over="turn"),
    ),
    Claim(
        "ADV goes by shape",
        "Where shape and texture disagree, ADV goes by the shape more often than STD.",
        "Section 4.1, Table 2",
        POINTS,
        "05_conflicts",
        _conflicts,
    ),
    Claim(
        "STD+ADV beats single models",
        "STD and ADV joined are more accurate than either alone, on most image sets.",
        "Section 4.2, Figure 9",
        POINTS,
        "06_runs",
        _ensembles("STD+ADV", "STD", "ADV"),
        Rule(over="most"),
    ),
    Claim(
        "STD+STD leads at high resolution",
        "On most image sets of high resolution two STD models beat two ADV models.",
        "Section 4.2, Figure 9",
        POINTS,
        "06_runs",
        _ensembles("STD+STD", "ADV+ADV", low=False),
        Rule(over="most"),
    ),
    Claim(
        "ADV+ADV leads at low resolution",
        "On most image sets of low resolution two ADV models beat two STD models.",
        "Section 4.2, Figure 9",
        POINTS,
        "06_runs",
        _ensembles("ADV+ADV", "STD+STD", low=True),
        Rule(over="most"),
    ),
    Claim(
        "STD+ADV stays with the best",
        "STD and ADV joined are about as accurate as the best, on every image set.",
        "Section 4.2, Figure 9",
        POINTS,
        "06_runs",
        _ensembles("STD+ADV", "STD+STD", "ADV+ADV", "STD", "ADV"),
        Rule(-COMPARABLE, reason="Comparable is at most one point behind, about what another run changes."),
    ),
    Claim(
        "guided maps depend on learning",
        "Maps of guided backpropagation change with what a model has learned.",
        "Appendix A, Figure 12",
        CORRELATION,
        "07_sanity",
        _dependence,
    ),
)


# Their verdicts ----------------------------------------------------------------------------------------------------


def load_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The tables that claims read, by name, as far as they are there.

    `06_runs` is told of each set whether it is of `low` resolution: at most half of the pixels a side that models
    see. `05_checks` says whether stylized images count as such. Raises RequestError where there is no table at all.
    """
    tables = {}
    for name in dict.fromkeys([*(claim.table for claim in CLAIMS), "05_checks"]):
        with suppress(RequestError):  # what needs it is not tested
            # Hexadecimal texts may look like numbers.
            tables[name] = study.load_table(name, dtype=dict.fromkeys(PACKED, str))
    if not tables:
        raise RequestError(
            f"{study.earlier / 'tables'} has no tables; run `advlook reproduce --preset {study.preset.name}` first"
        )
    if "06_runs" in tables:
        tables["06_runs"]["low"] = tables["06_runs"]["pixels"] <= study.preset.data.size / 2
    return tables


def evaluate(tables: Tables, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """The verdict on every claim and architecture, as `conclude` gives it. tables: of `load_tables`."""
    return conclude(compare(tables, claims), claims)


def claim_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge every claim by the study's tables; save and return `08_claims` and `08_comparisons`."""
    compared = compare(load_tables(study), CLAIMS)
    return study.save_table("08_claims", conclude(compared, CLAIMS)), study.save_table("08_comparisons", compared)
