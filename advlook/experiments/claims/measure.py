"""What the paper says in words, as claims that can fail, and their verdicts on the tables of a preset.

Each claim names a table, what of it is compared (`samples.py`), and a rule that no result can move (`stats/rules.py`).
When the rules were written, earlier runs of presets quick and imagenette had been read. They were changed once since,
where a review found that a rule did not ask what its sentence says; none was changed for a verdict. The four on
ensembles then asked for most or every image set, which two to four sets seldom decided; they became claims about the
mean when that had been seen. The two on resolution were added when the trends of three presets had been read."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pandas as pd

from advlook.core import RequestError
from advlook.core.names import REVERSED
from advlook.experiments.claims import doses, fusion, samples
from advlook.stats.paired import bias_difference, difference, lead, lead_before, less, lost_more
from advlook.stats.rules import (
    COMPARABLE,
    CORRELATION,
    OCTAVES,
    PERCENT,
    POINTS,
    SAME,
    Claim,
    Rule,
    Tables,
    compare,
    conclude,
)
from advlook.study import Study

_MAPS, _LAYERS, _SANITY = "Section 4.1, Figure 2", "Section 4.1, Figures 3 and 4", "Appendix A, Figure 12"
_COSTS, _FILTERS, _VARIANTS = "Section 4, Table 1", "Section 4.1, Figure 7", "Section 4.1, Table 2"
_FUSION, _SCALE = "Section 4.2, Figure 9", "Title, larger scale"
_KEPT = Rule(-SAME, SAME, reason="Differences within five points count as kept. Levels at which both have lost half of "
             "their own accuracy do not count: towards chance every difference vanishes.")  # fmt: skip
_ANSWERS = Rule(reason="Ours: the paper shows maps and maximising inputs, where this asks for answers.")
_DOSES = Rule(reason="Ours: the paper has one radius. Each is compared with the next larger one.")
_SETS = Rule(reason="A mean, as a single small set cannot decide about a point. Backbones are frozen; sets that are "
             "part of what they were trained on are left out.")  # fmt: skip
_SAME_SETS = ("From the finest to the coarsest resolution of frozen ensembles; sets that the backbones were trained on "
              "count too, since each is compared with itself.")  # fmt: skip
_EQUALS = ("STD+STD", "ADV+ADV")

# Tables that say what cannot be tested, and what the controls are.
_BESIDE = ("03_undefined", "07_undefined", "05_checks", "05_checked", "09_models")

CLAIMS = (
    Claim("hybrid images", "In hybrid images ADV switches to the coarse image at a lower cut-off than STD.",
          _SCALE, OCTAVES, "04_hybrids", partial(samples.hybrids, False), _ANSWERS),
    Claim("hybrid images, controls",
          "In four controls (roles swapped, grey, equal contrast, sharp filter) ADV switches at a lower cut-off, too.",
          _SCALE, OCTAVES, "04_hybrids", partial(samples.hybrids, True), _ANSWERS),
    Claim("low-passed", "With low frequencies alone ADV retains a larger share of its clean accuracy than STD.",
          _SCALE, POINTS, "04_answers", partial(samples.retained, "low-pass", 1), _ANSWERS),
    Claim("high-passed", "With high frequencies alone ADV retains a smaller share of its clean accuracy than STD.",
          _SCALE, POINTS, "04_answers", partial(samples.retained, "high-pass", -1), _ANSWERS),
    Claim("shuffled in blocks",
          "With pixels shuffled inside small blocks ADV retains a larger share of its clean accuracy than STD.",
          _SCALE, POINTS, "04_answers", partial(samples.retained, "shuffled", 1), _ANSWERS),
    Claim("masked by noise", "The noise that masks images most is of lower frequency for ADV than for STD.",
          _SCALE, OCTAVES, "04_masking", samples.masked, _ANSWERS),
    Claim("scale follows the radius",
          "At each larger radius in training, models switch to the coarse image at a lower cut-off.",
          _SCALE, OCTAVES, "09_hybrids", doses.hybrids, _DOSES),
    Claim("robustness costs accuracy", "Adversarial training lowers the accuracy on images as they are.",
          _COSTS, POINTS, "01_tradeoff", partial(samples.tradeoff, "right", lead_before)),
    Claim("robustness is gained", "Adversarial training raises the accuracy under attack.",
          _COSTS, POINTS, "01_tradeoff", partial(samples.tradeoff, "right_pgd", lead)),
    Claim("cost follows the radius", "Each larger radius in training lowers the accuracy on images as they are.",
          _COSTS, POINTS, "09_tradeoff", doses.accuracy, _DOSES),
    Claim("loss gradients follow edges", "Loss gradients of ADV models follow the edges of the image more closely.",
          _MAPS, CORRELATION, "03_maps", partial(samples.maps, "loss_gradient", "edge_correlation", difference),
          Rule(reason='Ours for "more perceivable" there and "stronger edges" in section 5.')),
    Claim("guided maps are coarser", "Guided backpropagation of ADV models answers less to fine texture.",
          _MAPS, PERCENT, "03_maps", partial(samples.maps, "guided_backprop", "median_frequency", less)),
    Claim("first-layer weights are smaller", "First-layer filters have smaller weights in ADV models.",
          _LAYERS, PERCENT, "03_scale", partial(samples.units, "filter_norm")),
    Claim("deep units seek larger structures", "Inputs that maximise deep units of ADV models show larger structures.",
          _LAYERS, PERCENT, "03_scale", partial(samples.units, "unit_median_frequency", deep=True)),
    Claim("deep units seek fewer colours", "Inputs that maximise deep units of ADV models vary less in colour.",
          _LAYERS, PERCENT, "03_scale", partial(samples.units, "unit_colour_variance", deep=True)),
    Claim("blur keeps the difference", "An uncut Gaussian blur leaves the difference between STD and ADV as it was.",
          _FILTERS, POINTS, "04_sweeps", partial(samples.blur, "blur"), _KEPT),
    Claim("blur of 3x3 pixels keeps the difference", "Gaussian blur cut to 3x3 pixels leaves the difference as it was.",
          _FILTERS, POINTS, "04_sweeps", partial(samples.blur, "blur 3x3"), _KEPT),
    Claim("median filtering reverses it", "Under repeated median filtering ADV overtakes STD.",
          _FILTERS, POINTS, "04_sweeps", samples.median,
          Rule(over="turn", reason="Compared after the most passes that leave STD or ADV half of its own accuracy, "
               "for every window.")),
    Claim("reversed colours take equal points",
          "Reversed colours take as many points of accuracy from STD as from ADV.",
          _VARIANTS, POINTS, "05_variants", partial(samples.variant, REVERSED, lost_more),
          Rule(-SAME, SAME, reason="The same range: points that differ by less than five.")),
    Claim("reversed colours take equal shares",
          "Reversed colours take the same share of accuracy from STD as from ADV.",
          _VARIANTS, POINTS, "05_variants", partial(samples.variant, REVERSED, samples.relative_change),
          Rule(-SAME, SAME, reason="Shares that differ by less than five points. Ours: the paper counts points of "
               "accuracy, of which the model that starts with fewer has fewer to lose.")),
    Claim("stylization reverses it", "On stylized images ADV overtakes STD.",
          _VARIANTS, POINTS, "05_variants", samples.stylized, Rule(over="turn")),
    Claim("ADV goes by shape", "Of answers by shape or by texture, ADV gives a larger share by shape than STD.",
          _VARIANTS, POINTS, "05_conflicts", partial(samples.conflicts, ("by_shape", "by_texture"), bias_difference)),
    Claim("ADV answers by shape more often",
          "Where shape and texture disagree, ADV gives more answers by shape than STD.",
          _VARIANTS, POINTS, "05_conflicts", partial(samples.conflicts, ("by_shape",), lead)),
    Claim("STD+ADV beats single models",
          "In the mean over image sets, STD and ADV joined are more accurate than the better of the two alone.",
          _FUSION, POINTS, "06_runs", partial(fusion.ensembles, ("STD+ADV", "STD", "ADV")), _SETS),
    Claim("STD+STD leads at high resolution",
          "In the mean over image sets of high resolution two STD models beat two ADV models.",
          _FUSION, POINTS, "06_runs", partial(fusion.ensembles, _EQUALS, low=False), _SETS),
    Claim("ADV+ADV leads at low resolution",
          "In the mean over image sets of low resolution two ADV models beat two STD models.",
          _FUSION, POINTS, "06_runs", partial(fusion.ensembles, _EQUALS[::-1], low=True), _SETS),
    Claim("STD+ADV stays with the best",
          "In the mean over image sets, STD and ADV joined come within a point of the best other combination.",
          _FUSION, POINTS, "06_runs", partial(fusion.ensembles, ("STD+ADV", *_EQUALS, "STD", "ADV")),
          Rule(-COMPARABLE, reason=f"At most one point behind, about what another run changes. {_SETS.reason}")),
    Claim("ADV gains at low resolution",
          "Of the same photographs at lower resolution, the lead of two STD models over two ADV models is smaller.",
          _FUSION, POINTS, "06_resolution", partial(fusion.resolution, _EQUALS, -1),
          Rule(reason=f"Ours: the paper compares different sets. {_SAME_SETS}")),
    Claim("STD+ADV does not depend on resolution",
          "Of the same photographs at lower resolution, STD and ADV joined come as close to the better pair of equals.",
          _FUSION, POINTS, "06_resolution", partial(fusion.resolution, ("STD+ADV", *_EQUALS), 1),
          Rule(-COMPARABLE, COMPARABLE, reason="As close: the distance changes by less than a point. Ours: the paper "
               f"compares different sets. {_SAME_SETS}")),
    Claim("guided maps change with training",
          "Maps of guided backpropagation of trained models differ from those of untrained ones.",
          _SANITY, CORRELATION, "07_sanity", partial(samples.alike, "trained"),
          Rule(reason="Two models trained alike resemble each other more than a trained and an untrained one.")),
    Claim("guided maps show what was learned",
          "Maps of guided backpropagation of models trained alike are more alike than those of untrained ones.",
          _SANITY, CORRELATION, "07_sanity", partial(samples.alike, "untrained"),
          Rule(reason="Ours: the paper does not ask whether trained models agree with each other.")),
)  # fmt: skip


def load_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The tables that claims read, by name, as far as they are there; RequestError where there is none at all. Two gain
    a column: `04_answers` and `04_masking` the accuracy of `chance`. No image or model is opened."""
    tables = {}
    for name in dict.fromkeys([*(claim.table for claim in CLAIMS), *_BESIDE]):
        with suppress(RequestError):  # what needs it is not tested
            tables[name] = study.load_table(name)
    if not tables:
        remedy = f"run `advlook reproduce --preset {study.preset.name}` first"
        raise RequestError(f"{study.earlier / 'tables'} has no tables; {remedy}")
    for name in ("04_answers", "04_masking"):
        if name in tables:
            tables[name]["chance"] = 1 / study.preset.data.classes
    return tables


def derived_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """`08_claims` and `08_comparisons` from what `load_tables` gives: no image and no model is needed."""
    compared = compare(tables, CLAIMS)
    return {"08_claims": conclude(compared, CLAIMS), "08_comparisons": compared}


def evaluate(tables: Tables, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """The verdict on every claim and architecture, as `conclude` gives it. tables: of `load_tables`."""
    return conclude(compare(tables, claims), claims)


def claim_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge every claim by the study's tables; save and return `08_claims` and `08_comparisons`."""
    derived = derived_tables(load_tables(study))
    return tuple(study.save_table(name, table) for name, table in derived.items())
