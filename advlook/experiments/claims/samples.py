"""What each claim compares: from the tables of a preset to the samples of one architecture. Functions take their own
arguments first, then the tables and the architecture, and raise Untested where a table lacks what they need."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from advlook.core.names import MAIN, STYLIZED
from advlook.experiments.defined import SUBJECTS
from advlook.stats import Sample, answers, difference, paired, right_of
from advlook.stats.bootstrap import Effect
from advlook.stats.crossing import masked_octave, octave_of, octaves_apart
from advlook.stats.paired import Answers, lead, lead_before
from advlook.stats.rules import Tables, Untested

KEPT = 0.5  # of its own accuracy that STD or ADV keeps at the levels that count
_CROP = "_cropped"  # in the name of a painting that is part of another


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


def require_defined(tables: Tables, name: str, arch: str, method: str) -> None:
    """Raise Untested where a map, or what else is of SUBJECTS, is not defined for an architecture, by `03_undefined` or
    `07_undefined`."""
    found = tables.get(name)
    if found is not None:
        for row in found[(found["arch"] == arch) & (found["method"] == method)].itertuples():
            raise Untested(f"{SUBJECTS[method]} is not defined: {row.reason}")


def sample_of(rows: pd.DataFrame, values: Answers, effect: Effect, at: str = "", untested: str = "") -> Sample:
    """A comparison of STD with ADV: `values(rows of one model)` are `(units, columns)`; STD's columns come first."""
    seeds, found = paired.by_seed(rows, values)
    if not len(found):
        raise Untested("for every image some model gives nan" if seeds else "no seed has a STD and an ADV model")
    return Sample(found, effect, seeds, at, untested)


def column(name: str) -> Answers:
    """A column of a model with one row an image or unit: `(units, 1)`."""
    return lambda run: run[[name]].to_numpy()


def tradeoff(answer: str, effect: Effect, tables: Tables, arch: str) -> list[Sample]:
    """Notebook 01: which images were right, clean or under attack."""
    return [sample_of(rows_of(tables, "01_tradeoff", arch, answer), answers(answer), effect)]


def maps(method: str, measure: str, effect: Effect, tables: Tables, arch: str) -> list[Sample]:
    """Notebook 03: a measure of the maps of a method, image by image."""
    require_defined(tables, "03_undefined", arch, method)
    rows = rows_of(tables, "03_maps", arch, measure)
    return [sample_of(rows[rows["of"] == method].sort_values("image"), column(measure), effect)]


def units(measure: str, tables: Tables, arch: str, deep: bool = False) -> list[Sample]:
    """Notebook 03: a measure of filters or maximising inputs; `deep`: of all layers but the first. Layers are no
    clusters: all that were asked about are there, none was drawn from others."""
    for what in ("filters", "strength") if measure == "filter_norm" else ():
        require_defined(tables, "03_undefined", arch, what)
    rows = rows_of(tables, "03_scale", arch)
    rows = rows[rows["measure"] == measure]
    if rows.empty:
        raise Untested(f"table 03_scale has no {measure} of {arch}")
    rows = rows[rows["of"] != next(iter(rows["of"]), None)] if deep else rows
    return [sample_of(rows.sort_values(["of", "at"]), column("value"), paired.less)]


def _sweep(tables: Tables, arch: str, wanted: Callable[[str], bool], effect: Effect) -> list[list[Sample]]:
    """For each of the operations of notebook 04 that are wanted, a comparison for every level that counts, in ascending
    order: where STD or ADV keeps half of its own accuracy. Beyond, both approach chance, where every difference
    vanishes."""
    rows = rows_of(tables, "04_sweeps", arch, "right")
    rows = rows[rows["operation"].map(wanted)]
    if rows.empty:
        raise Untested("table 04_sweeps lacks this filter; run notebook 04 again")
    found = []
    for title, levels in rows.groupby("operation", sort=False):
        kept = levels.groupby(["level", "setting"])["top1"].mean().unstack()
        kept = kept.div(kept.loc[0]).max(axis=1) if 0 in kept.index else kept[:0]
        counting = []
        for level in sorted(set(kept[kept >= KEPT].index) - {0}):
            both = levels[levels["level"].isin([0, level])].sort_values("level")
            at = f"sigma {level:g} px" if title.startswith("blur") else f"{title}, {level:g} passes"
            counting.append(sample_of(both, lambda run: right_of(run).T, effect, at))
        found += [counting] if counting else []
    if not found:
        raise Untested("table 04_sweeps has no level of this filter that leaves half of an accuracy")
    return found


def _turn(after: Sequence[Sample]) -> list[Sample]:
    """The comparison before the change, and those after it."""
    return [Sample(after[0].values, lead_before, after[0].seeds, "before"), *after]


def blur(operation: str, tables: Tables, arch: str) -> list[Sample]:
    """By how much more STD loses than ADV, at every level of blur that counts. operation: "blur" for an uncut Gaussian,
    "blur 3x3" for one cut to a window."""
    return [sample for window in _sweep(tables, arch, operation.__eq__, paired.lost_more) for sample in window]


def median(tables: Tables, arch: str) -> list[Sample]:
    """Before, and after the most passes that count of each window."""
    return _turn([window[-1] for window in _sweep(tables, arch, lambda title: title.startswith("median"), lead)])


def hybrids(controls: bool, tables: Tables, arch: str) -> list[Sample]:
    """By how many octaves the cut-off of hybrid images at which ADV changes from the fine to the coarse image is lower;
    of hybrid images as they are, or in every control."""
    rows = rows_of(tables, "04_hybrids", arch, "by_coarse", "by_fine")
    rows = rows[(rows["setting"] != "random") & ((rows["condition"] != MAIN) == controls)]
    return [coarser(each, condition) for condition, each in rows.groupby("condition", sort=False)]


def coarser(rows: pd.DataFrame, at: str) -> Sample:
    """By how many octaves the cut-off is lower at which ADV switches. rows: of `04_hybrids`, of one condition."""
    return sample_of(rows, paired.named, octaves_apart(octave_of(np.sort(rows["cutoff"].unique()))), at)


def retained(operation: str, sign: int, tables: Tables, arch: str) -> list[Sample]:
    """By how many points more (or with sign -1, fewer) ADV retains of its clean accuracy after an operation, accuracies
    less chance, as a mean over its levels."""
    rows = rows_of(tables, "04_answers", arch, "right")
    rows, chance = rows[rows["operation"].isin(["clean", operation])], rows["chance"].iloc[0]

    def effect(means: np.ndarray) -> np.ndarray:
        return sign * paired.relative_difference(means - chance)[..., 1:].mean(-1)

    return [sample_of(rows, lambda run: right_of(run.sort_values("level")).T, effect)]


def masked(tables: Tables, arch: str) -> list[Sample]:
    """By how many octaves the noise that masks ADV is coarser: the distance of the centres of the two channels."""
    rows = rows_of(tables, "04_masking", arch, "right")
    of_one = masked_octave(*paired.bands_and_noise(rows), rows["chance"].iloc[0])
    return [sample_of(rows, paired.under_noise, octaves_apart(of_one))]


def variant(name: str, effect: Effect, tables: Tables, arch: str) -> list[Sample]:
    """Notebook 05: images as they are, and a variant of them at full strength."""
    rows = rows_of(tables, "05_variants", arch, "right", "right_control")
    rows = rows[(rows["variant"] == name) & ((rows["strength"] == 1) | (name != STYLIZED))]
    return [sample_of(rows, answers("right_control", "right"), effect, name)]


def relative_change(means: np.ndarray) -> np.ndarray:
    """Of what is left in percent of a model's own accuracy: ADV - STD in points."""
    return paired.relative_difference(means)[..., 1]


def _require_stylized(tables: Tables) -> None:
    if "05_checks" in tables and not tables["05_checks"]["passed"].all():
        raise Untested("by 05_checks these images do not count as stylized")


def stylized(tables: Tables, arch: str) -> list[Sample]:
    """Before stylization, and after it. Images share few styles, other styles might have been taken, and a model may do
    well on one and badly on another: after it, images in one style are a cluster."""
    _require_stylized(tables)
    (after,) = variant(STYLIZED, lead, tables, arch)
    if "05_checked" not in tables:
        raise Untested("no table 05_checked; run notebook 05")
    # A painting and its crop are one style.
    styles = tables["05_checked"].sort_values("image")["style"].str.replace(_CROP, "").to_numpy()
    return _turn([replace(after, clusters=styles)])


def conflicts(columns: Sequence[str], effect: Effect, tables: Tables, arch: str) -> list[Sample]:
    """Answers by shape and by texture on cue conflicts; images whose texture is that of one photograph are a cluster.
    No verdict rests on photographs where a network from elsewhere does not recognise their textures (`valid`): its
    shape bias, 27% on the stimuli of Geirhos et al. (2019), must be at most 45% on ours at the size that the models
    see. What notebook 05 says of the stylized images has no bearing on these."""
    rows = rows_of(tables, "05_conflicts", arch, *columns, "source", "valid")
    first = rows.iloc[0]
    untested = "" if first["valid"] else str(first["reason"])
    if not first["images"]:
        raise Untested(untested)
    return [replace(sample_of(rows, answers(*columns), effect, untested=untested), clusters=first["source"])]


def alike(others: str, tables: Tables, arch: str) -> list[Sample]:
    """How much more alike maps of guided backpropagation are of two models trained alike, with other seeds, than of a
    trained and an untrained network ("trained"), or of two untrained ones ("untrained"); of two seeds, which have one
    pair trained alike, as of one."""
    require_defined(tables, "07_undefined", arch, "guided_backprop")
    rows = paired.labelled(rows_of(tables, "07_sanity", arch, "by_image"))
    rows = rows[(rows["method"] == "guided_backprop") & (rows["measure"] == "spearman_abs")]
    found = []
    for setting in ("std", "adv"):
        kind = setting if others == "trained" else "random"
        pairs = [rows[rows["comparison"] == name] for name in (f"random-{kind}", f"{setting}-{setting}")]
        if any(each.empty for each in pairs):
            raise Untested("no second seed (pair of models) to compare with")
        seeds = sorted({int(model.split("-")[1]) for model in pairs[1][["model_a", "model_b"]].to_numpy().ravel()})
        columns = []
        for each, of in zip(pairs, (kind, setting), strict=True):
            by_image = np.stack(list(each["by_image"]), axis=1)
            checkpoints = [f"{of}-{seed}" for seed in seeds]
            columns.append(paired.by_checkpoint(list(each["model_a"] + " " + each["model_b"]), by_image, checkpoints))
        values = np.stack(columns, axis=2)
        values = values[~np.isnan(values).any((1, 2))]
        if not len(values):
            raise Untested("for every image some model's map has no rank correlation")
        if len(seeds) == 2:
            values, seeds = values.mean(1, keepdims=True), seeds[:1]
        found.append(Sample(values, difference, seeds, setting.upper()))
    return found
