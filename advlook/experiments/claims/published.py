"""The claims judged by published figures at the paper's own scale: ResNet-50s on ImageNet at 224 px, each trained once
(source and traps: data/published/README.md).

These rules were written before any verdict was computed. Known by then: clean accuracy, Gaussian blur, stylized images,
shape bias and contrast of some of the models. The one rule added later is marked as such.

*Models.* STD is `robust_resnet50_l2_eps0`, which shares the recipe of the robust models. ADV are the five models
trained at L-infinity radii, the paper's threat model. The L2 models are drawn but not judged: their radii begin at
0.01, where a model hardly differs from STD.

*Effects* are ADV - STD as in `samples.py`, of each radius and on average. Radii stand for seeds: a verdict needs all of
them on one side, so that no mean hides a change of sign.

*Error.* An accuracy p on n images has the variance p (1 - p) / n. Accuracies are taken as independent, although the
images are the same, which overstates the variance of their differences. The mean over radii is given the mean of their
variances, not a fifth of it, because STD and the images are common to all. Added is the variance between radii over
their number, with radii - 1 degrees of freedom; both are combined after Satterthwaite. The radius is a dose: an effect
that grows with it counts as disagreement and widens the interval. p values are corrected by Holm for all claims.

*Second readings*, which decide nothing: torchvision's STD in place of the control; and the variance between radii taken
around a straight line over the logarithm of the radius, with radii - 2 degrees of freedom, so that a steady
dose-response is no disagreement.

*What stands for a claim.* Clean accuracy: ImageNet. Under attack: PGD-40 at both of its radii; their numbers of images
are not stated, and taken as all of ImageNet's. Blur: what Gaussian blur of ImageNet-C takes from clean accuracy, at
every severity at which STD, or ADV on average, keeps half of its own. Stylized: ImageNet before, the stylized set of
model-vs-human after. Shape: the shape bias on the cue conflicts; the images that it rests on are at least those right
by shape, without the sixteenth whose shape and texture agree, over the bias. Answers by shape: the accuracy on the cue
conflicts, where shape is the label. Low-passed and high-passed: the share of clean accuracy kept at 0.2 of the Nyquist
frequency, the level closest to 0.09 cycles per pixel (of 1,000 classes, chance takes nothing off). Added later: as
under blur, STD or ADV must keep half. High-passed at that level all models are at chance, and the rule without this
called the claim supported by a fraction of a point. Everything else is not tested; "false colour" keeps the luminance,
so it does not stand for reversed colours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advlook.core import RequestError
from advlook.experiments.claims.measure import CLAIMS
from advlook.experiments.claims.samples import KEPT
from advlook.stats.rules import conclude, judge
from advlook.stats.two_way import Estimate
from advlook.study.folders import ROOT

PATH = ROOT / "data" / "published" / "imagenet_resnet50.csv"
NAME = "ResNet-50 (published)"  # takes the place of an architecture in tables
STD, OTHER_STD = "robust_resnet50_l2_eps0", "tv_resnet50"
READINGS = ("radii as replicates", "torchvision's STD", "trend removed")  # the first decides
CATEGORIES = 16  # of shapes, and of textures, of the cue conflicts

Cell = tuple[str, str, float]  # set, measure, level (0 where there is none)
CLEAN: Cell = ("imagenet", "top1", 0.0)
ATTACKED: tuple[Cell, ...] = (("attack", "PGD-40 low", 0.0), ("attack", "PGD-40 high", 0.0))
STYLIZED, CONFLICTS = (("model-vs-human", name, 0.0) for name in ("stylized", "cue-conflict"))
SHAPE_BIAS: Cell = ("cue-conflict", "shape_bias", 0.0)
LOW, HIGH = (("band-pass", name, 0.2) for name in ("low_pass_kept", "high_pass_kept"))
BLUR = [("imagenet-c", "gaussian_blur", float(severity)) for severity in range(1, 6)]
DOSES: dict[str, Cell] = {  # the panels of the figure
    "clean images": CLEAN,
    "PGD-40 at 0.5/255": ATTACKED[0],
    "PGD-40, larger radius": ATTACKED[1],
    "Gaussian blur, severity 3": BLUR[2],
    "stylized images": STYLIZED,
    "shape bias": SHAPE_BIAS,
    "low-passed, share kept": LOW,
    "contrast, severity 3": ("imagenet-c", "contrast", 3.0),
}
KINDS = {  # of ImageNet-C: what takes away detail, and contrast, which does not
    "gaussian_blur": "Gaussian blur",
    "defocus_blur": "defocus blur",
    "zoom_blur": "zoom blur",
    "motion_blur": "motion blur",
    "glass_blur": "glass blur",
    "pixelate": "coarse pixels",
    "jpeg_compression": "JPEG",
    "contrast": "low contrast",
}


_ABSENT = "not among the published figures"
_REASONS = {  # of other claims without a verdict
    "reversed colours take equal points": f"{_ABSENT}, whose false colours keep the luminance",
    "reversed colours take equal shares": f"{_ABSENT}, whose false colours keep the luminance",
    "high-passed": "neither STD nor ADV keeps half of its clean accuracy",
}


@dataclass(frozen=True)
class Published:
    """The published figures: `percent`, the `images` behind them, and their `variance` [points squared], each a row a
    `Cell` and a column a model; nan where nothing was measured. models: kind, norm and eps by name."""

    percent: pd.DataFrame
    images: pd.DataFrame
    variance: pd.DataFrame
    models: pd.DataFrame

    def radii(self, norm: str = "linf") -> pd.Series:
        """The radii of the models trained adversarially in this norm, ascending, by model."""
        return self.models.loc[self.models["norm"] == norm, "eps"].sort_values()


def load_published(path: Path = PATH) -> Published:
    """The figures of data/published with their variances; RequestError where the file is not there."""
    if not path.is_file():
        raise RequestError(f"{path} does not exist; it comes with the repository")
    table = pd.read_csv(path).fillna({"level": 0.0})
    wide = table.pivot(index=["set", "measure", "level"], columns="model", values=["percent", "images"])
    percent, images, share = wide["percent"], wide["images"].copy(), wide["percent"] / 100
    for cell in ATTACKED:
        images.loc[cell] = images.loc[CLEAN]
    alike = images.loc[CONFLICTS] / CATEGORIES  # whose shape and texture agree: the shape bias leaves them out
    images.loc[SHAPE_BIAS] = (share.loc[CONFLICTS] * images.loc[CONFLICTS] - alike) / share.loc[SHAPE_BIAS]
    variance = percent * (100 - percent) / images
    clean, kept = percent.loc[CLEAN], share.loc[["band-pass"]]
    accuracy = kept * clean
    of_accuracy = accuracy * (100 - accuracy) / images.loc[["band-pass"]]
    variance.loc[kept.index] = (of_accuracy + kept**2 * variance.loc[CLEAN]) * (100 / clean) ** 2  # of a ratio
    models = table.groupby("model", sort=False)[["kind", "norm", "eps"]].first()
    return Published(percent, images, variance, models)


def estimate(published: Published, weights: Mapping[Cell, float], std: str = STD, trend: bool = False) -> Estimate:
    """ADV - STD in points of a weighted sum of figures, over the L-infinity radii. trend: the variance between radii is
    that around a straight line over the logarithm of the radius."""
    cells, factors, radii = list(weights), np.array(list(weights.values())), published.radii()
    percent, variance, images = (
        frame.loc[cells] for frame in (published.percent, published.variance, published.images)
    )
    each = factors @ percent[radii.index].sub(percent[std], axis=0).to_numpy()
    within = (factors**2 @ variance[radii.index].add(variance[std], axis=0).to_numpy()).mean()
    line = np.polyfit(np.log(radii), each, int(trend))
    free = len(radii) - len(line)
    between = ((each - np.polyval(line, np.log(radii))) ** 2).sum() / free / len(radii)
    units = int(images[[std, *radii.index]].min(axis=None))
    df = (within + between) ** 2 / (within**2 / (units - 1) + between**2 / free)
    error, each = float(np.sqrt(within + between)), tuple(map(float, each))
    return Estimate(float(np.mean(each)), error, float(df), each, units, tuple(radii))


def comparisons(published: Published) -> dict[str, list[tuple[str, Mapping[Cell, float]]]]:
    """What stands for a claim, by its name: of each comparison where it is made, and the figures with their weights."""
    percent, radii = published.percent, published.radii().index

    def counts(cell: Cell, whole: pd.Series | float) -> bool:
        share = percent.loc[cell] / whole
        return max(share[STD], share[radii].mean()) >= KEPT

    found: dict[str, list[tuple[str, Mapping[Cell, float]]]] = {
        "robustness costs accuracy": [("", {CLEAN: -1})],
        "robustness is gained": [(cell[1], {cell: 1}) for cell in ATTACKED],
        "blur keeps the difference": [
            (f"severity {cell[2]:g}", {cell: 1, CLEAN: -1}) for cell in BLUR if counts(cell, percent.loc[CLEAN])
        ],
        "stylization reverses it": [("before", {CLEAN: -1}), ("stylized", {STYLIZED: 1})],
        "ADV goes by shape": [("", {SHAPE_BIAS: 1})],
        "ADV answers by shape more often": [("", {CONFLICTS: 1})],
    }
    bands = {"low-passed": (LOW, 1), "high-passed": (HIGH, -1)}
    return found | {name: [("", {cell: sign})] for name, (cell, sign) in bands.items() if counts(cell, 100)}


def verdicts(published: Published, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`08_claims` and `08_comparisons` of the published figures; options as of `estimate`."""
    found, asked = comparisons(published), []
    for claim in CLAIMS:
        for at, weights in found.get(claim.name, ()):
            asked.append((claim, NAME, replace(estimate(published, weights, **options), at=at)))
        if claim.name not in found:
            asked.append((claim, NAME, _REASONS.get(claim.name, _ABSENT)))
    compared = judge(asked)
    return conclude(compared, CLAIMS), compared


def published_tables(published: Published) -> dict[str, pd.DataFrame]:
    """`08_published` and `08_published_comparisons`: the columns of `08_claims` and `08_comparisons`, and `reading`:
    only the first of READINGS gives verdicts. `seeds` and `each_seed` are of radii in 255ths."""
    found = [verdicts(published, **options) for options in ({}, {"std": OTHER_STD}, {"trend": True})]
    claims, compared = (
        pd.concat([table.assign(reading=reading) for reading, table in zip(READINGS, each, strict=True)])
        for each in zip(*found, strict=True)
    )
    return {"08_published": claims, "08_published_comparisons": compared}


def deciding(table: pd.DataFrame) -> pd.DataFrame:
    """What counts of a table of `published_tables`: the first reading, in the columns of `08_claims` (comparisons)."""
    return table[table["reading"] == READINGS[0]].drop(columns="reading")


def dose_response(published: Published) -> pd.DataFrame:
    """`08_dose_response`: the figures of DOSES for every model, with 95% intervals over images [percent]."""
    rows = []
    for name, cell in DOSES.items():
        of_cell = published.models.assign(value=published.percent.loc[cell], error=published.variance.loc[cell] ** 0.5)
        rows.append(of_cell.dropna(subset="value").reset_index().assign(measure=name))
    table = pd.concat(rows, ignore_index=True)
    reach = 1.96 * table.pop("error")
    return table.assign(low=table["value"] - reach, high=table["value"] + reach)


def kinds_of_blur(published: Published) -> pd.DataFrame:
    """`08_kinds_of_blur`: ADV - STD in points by kind, severity and L-infinity radius [255ths], for both STD models."""
    rows = []
    for kind, name in KINDS.items():
        for severity, of_level in published.percent.loc["imagenet-c", kind].iterrows():
            for model, radius in published.radii().items():
                row = {"kind": name, "severity": int(severity), "radius": radius}
                leads = {
                    "lead": of_level[model] - of_level[STD],
                    "lead_torchvision": of_level[model] - of_level[OTHER_STD],
                }
                rows.append(row | leads)
    return pd.DataFrame(rows)


def told_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """`08_kinds_of_blur` to be read: ADV - STD by radius, mean over severities; the most that ADV leads or trails by in
    any of them; and in how many of all pairs of severity and radius it leads."""
    found = table.pivot_table("lead", "kind", "radius", sort=False).map("{:+.1f}".format)
    found.columns = [f"{radius:g}/255" for radius in found]
    leads = table.groupby("kind", sort=False)["lead"]
    extremes = leads.agg(["min", "max"]).map("{:+.1f}".format)
    found["range"] = extremes["min"] + " to " + extremes["max"]
    found["ADV ahead"] = leads.agg(lambda lead: f"{(lead > 0).sum()} of {len(lead)}")
    return found
