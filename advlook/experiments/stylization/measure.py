"""What notebook 05 measures: accuracy when the texture is another one, and whether shape or texture decides.

Accuracies are in percent, differences (ADV - STD) in points. A variant of the test images is "standard", "reversed" (in
colours) or "stylized", at a strength from 0, which is the control, to 1. All variants show the same images, so that
models and variants are compared image by image (`intervals`); strengths in between show only the first of them, and are
compared with the control on just these.

Tables: `05_stylization` (Table 2), a row a model, variant and strength; `05_differences`, of the models of a seed, and
of "all" seeds, where what they answer is averaged image by image; `05_shape_bias`, a row a model and class;
`05_checked` and `05_checks`, whether the images count as stylized, image by image and in all; `05_sentences`, which of
the paper's sentences hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from advlook.attacks.suite import percent
from advlook.core.names import CONFLICT, REVERSED, STANDARD, STYLIZED
from advlook.data.image_sets import ImageSet, to_float
from advlook.experiments.stylization.images import (
    STRENGTHS,
    CueConflict,
    Stylized,
    cue_conflict_set,
    styles_digest,
    stylized_set,
)
from advlook.experiments.stylization.validity import checks
from advlook.models.evaluation import predict, top_k
from advlook.stats.bootstrap import interval
from advlook.stats.paired import bias, bias_difference, pack, packed, pooled, relative_difference
from advlook.stats.rules import SAME
from advlook.study.study import Row, Study

COLUMNS = ["arch", "setting", "seed", "variant", "strength", "top1", "top5", "images", "control"]
MEASURES = ("accuracy", "change", "relative")
METHODS = {  # what is made is called by how it is made: it is not Stylized-ImageNet
    "optimised": "each image optimised towards the Gram matrices of random filters",
    "adain": "AdaIN with a decoder trained here",
}

Key = tuple[str, float]  # variant and strength


# Images ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def stylized(study: Study) -> dict[float, Stylized]:
    """The stylized test images at every strength; kept for the last study, since each model answers about them."""
    return {strength: stylized_set(study, strength) for strength in STRENGTHS}


@lru_cache(maxsize=1)
def conflicts(study: Study) -> CueConflict:
    """Images with the shape of one class and the texture of another; kept like those of `stylized`."""
    return cue_conflict_set(study)


def variants(study: Study) -> dict[Key, ImageSet]:
    """What every model is asked about: standard, reversed, and stylized at every strength; labels of the contents."""
    made = stylized(study)
    standard = made[0.0].contents
    negative = 255 - standard.images  # of bytes: what `reverse_colors` is of floats
    return {
        (STANDARD, 0.0): standard,
        (REVERSED, 0.0): ImageSet(negative, standard.labels, standard.classes),
        **{(STYLIZED, strength): one.images for strength, one in made.items()},
    }


@dataclass(frozen=True)
class Shown:
    """Pictures to look at: float `(N, 3, H, W)` in [0, 1] by what they are, and the class of each."""

    pictures: Mapping[str, Tensor]
    names: tuple[str, ...]


def shown(study: Study, count: int) -> Shown:
    """Content, style and the result at every strength above 0, for `count` test images of a fixed draw."""
    made = stylized(study)
    smallest = min(len(one.images) for one in made.values())  # these all strengths have
    chosen = torch.randperm(smallest, generator=torch.Generator().manual_seed(0))[:count]
    full = made[1.0]
    pictures = {"content": to_float(full.contents.images[chosen]), "style": to_float(full.pictures(chosen))}
    pictures |= {f"strength {s:g}": to_float(one.images.images[chosen]) for s, one in made.items() if s}
    return Shown(pictures, tuple(full.contents.classes[label] for label in full.contents.labels[chosen].tolist()))


def shown_conflicts(study: Study, count: int) -> Shown:
    """Shape, texture and both in one, for `count` cue conflicts of a fixed draw; the last alone if it was drawn as one.

    A name says the class of the shape, then that of the texture.
    """
    found = conflicts(study)
    chosen = torch.randperm(len(found.images), generator=torch.Generator().manual_seed(0))[:count]
    parts = {"shape": found.contents, "texture": found.sources, "both in one": found.images}
    pictures = {title: to_float(part.images[chosen]) for title, part in parts.items() if part is not None}
    classes, pairs = found.images.classes, zip(found.images.labels[chosen], found.textures[chosen], strict=True)
    return Shown(pictures, tuple(f"{classes[shape]},\n{classes[texture]}" for shape, texture in pairs))


# Measurements ------------------------------------------------------------------------------------------------------


def variant_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """Accuracy on every variant; "control" is top-1 on the same images as they are. Which images were right in either
    is packed into "right" and "right_control" (`paired`).
    """
    asked = variants(study)
    control, config = asked[STANDARD, 0.0], study.preset.evaluation
    answer = partial(predict, model, batch_size=config.batch_size, device=study.device)
    own = answer(control)
    for (variant, strength), images in asked.items():
        logits = own if torch.equal(images.images, control.images) else answer(images)
        right = logits.argmax(1) == images.labels
        before = own.argmax(1)[: len(images)] == images.labels
        yield {
            "variant": variant,
            "strength": strength,
            "top1": percent(right),
            "top5": top_k(logits, images.labels, config.top_k),
            "images": len(images),
            "control": percent(before),
            "right": pack(right),
            "right_control": pack(before),
        }


def conflict_rows(study: Study, model: nn.Module) -> Iterator[Row]:
    """One row: which cue conflicts the model answers by their shape, and which by their texture, packed (`paired`)."""
    found = conflicts(study)
    size = study.preset.evaluation.batch_size
    answers = predict(model, found.images, batch_size=size, device=study.device).argmax(1)
    by_shape, by_texture = (pack(answers == cue) for cue in (found.images.labels, found.textures))
    yield {"images": len(answers), "by_shape": by_shape, "by_texture": by_texture}


# Tables ------------------------------------------------------------------------------------------------------------


def stylization_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ask every model about everything; save and return `05_stylization`, `05_differences` and `05_shape_bias`.

    `05_variants` and `05_conflicts` are saved as well: what was answered image by image.
    """
    asked = {"05_variants": variant_rows, "05_conflicts": conflict_rows}
    rows, decided = (
        study.save_table(name, study.rows(name, m, inputs=[styles_digest(study)])) for name, m in asked.items()
    )
    tables = {
        "05_stylization": rows[COLUMNS],
        "05_differences": pd.concat([differences(rows), bias_differences(decided)], ignore_index=True),
        "05_shape_bias": shape_bias(decided, conflicts(study).images),
    }
    table, differing, biases = (study.save_table(name, table) for name, table in tables.items())
    return table, differing, biases


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in top-1 on every variant with its 95% interval: arch, variant, strength, seed, measure, ...

    measure: "accuracy"; "change", less the same difference on the images as they are; "relative", where each accuracy
    is taken in percent of the model's own on the images as they are. rows: of `variant_rows`.
    """
    found = []
    for key, runs in rows.groupby(["arch", "variant", "strength"], sort=False):
        for seed, right in pooled(runs, packed("right_control", "right")):
            effects = interval(np.concatenate([right["std"], right["adv"]], axis=1), _effects)
            found += [
                (*key, seed, measure, *effect, len(right["std"]))
                for measure, *effect in zip(MEASURES, *effects, strict=True)
            ]
    return pd.DataFrame(found, columns=_DIFFERENCES)


_DIFFERENCES = ["arch", "variant", "strength", "seed", "measure", "difference", "low", "high", "images"]


def _effects(means: np.ndarray) -> np.ndarray:
    """`(..., 4)`, STD as it is and changed, then ADV, to `(..., 3)`, the MEASURES."""
    std, adv = np.split(means, 2, axis=-1)
    before, after = np.moveaxis(100 * (adv - std), -1, 0)
    return np.stack([after, after - before, relative_difference(means)[..., 1]], axis=-1)


def shape_bias(rows: pd.DataFrame, images: ImageSet) -> pd.DataFrame:
    """Shape bias (Geirhos et al. 2019) of every model, of the models of "all" seeds, by class of the shape and "all".

    Columns: arch, setting, seed, class; shape_bias, the decisions for the shape in percent of those for either cue, and
    its 95% interval over images (low, high), nan where some resample holds no decision (of fewer than about eight);
    by_shape, by_texture, in percent of all images; images. rows: of `conflict_rows`; images: the cue conflicts.
    """
    classes = {"all": torch.ones_like(images.labels, dtype=torch.bool)}
    classes |= {name: images.labels == number for number, name in enumerate(images.classes)}
    found = []
    for arch, runs in rows.groupby("arch", sort=False):
        for seed, decided in pooled(runs, packed("by_shape", "by_texture")):
            for setting, decisions in decided.items():
                for name, members in classes.items():
                    chosen = decisions[members.numpy()]
                    if len(chosen):
                        effects = map(float, interval(chosen, bias))
                        found.append((arch, setting, seed, name, *effects, *100 * chosen.mean(0), len(chosen)))
    columns = ["arch", "setting", "seed", "class", "shape_bias", "low", "high", "by_shape", "by_texture", "images"]
    return pd.DataFrame(found, columns=columns)


def bias_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in shape bias, as further rows of `differences`: variant "cue conflict", measure "shape bias"."""
    found = []
    for arch, runs in rows.groupby("arch", sort=False):
        for seed, decided in pooled(runs, packed("by_shape", "by_texture")):
            both = np.concatenate([decided["std"], decided["adv"]], axis=1)
            effect = map(float, interval(both, bias_difference))
            found.append((arch, CONFLICT, 1.0, seed, "shape bias", *effect, len(both)))
    return pd.DataFrame(found, columns=_DIFFERENCES)


# Does it count as stylized? ----------------------------------------------------------------------------------------


def check_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the images of strength 1 (`patches.checks`); save and return `05_checked` and `05_checks`."""
    checked = study.save_table("05_checked", checks(study, stylized(study)[1.0]))
    return checked, study.save_table("05_checks", verdicts(checked, 100 / study.preset.data.classes))


def verdicts(checked: pd.DataFrame, chance: float) -> pd.DataFrame:
    """One row a check: check, finding, and in percent value, its 95% interval over images (low, high), bound, passed.

    The first two ask of how many images it is true, and pass where that is most of them, beyond the interval. The last
    asks how much of its lead over chance (percent) the patch classifier keeps, and passes below a half; where it does
    not lead beyond the interval, it does not pass.
    """
    nearer = checked["patches_to_style"] < checked["patches_to_content"]
    kept = checked["edges_content"] > checked["edges_style"]
    right = 100 * checked[["patch_right_before", "patch_right"]].to_numpy(dtype=float)
    before, after = right.mean(0)

    def lead(means: np.ndarray) -> np.ndarray:
        led = means - chance
        return 100 * np.divide(led[..., 1], led[..., 0], out=np.full(led.shape[:-1], np.nan), where=led[..., 0] > 0)

    found = []
    for check, holds, text in (
        ("texture", nearer, "patches are nearer to the style's than to the content's on {:.0f}% of the images"),
        ("shape", kept, "edges agree more with the content's than with the style's on {:.0f}% of the images"),
    ):
        value, low, high = map(float, interval(100 * holds.to_numpy(dtype=float)))
        found.append((check, text.format(value), value, low, high, 50.0, low > 50))
    value, low, high = map(float, interval(right, lead))
    before, after, least = (f"{share:.{0 if chance >= 1 else 1}f}%" for share in (before, after, chance))
    text = f"the patch classifier falls from {before} to {after}, chance is {least}"
    found.append(("small patches", text, value, low, high, 50.0, high < 50))
    return pd.DataFrame(found, columns=["check", "finding", "value", "low", "high", "bound", "passed"])


# Which sentences hold? ---------------------------------------------------------------------------------------------

_ALIKE = f"within {SAME:g} points"
SENTENCES: dict[str, tuple[Key, str, str]] = {  # of section 4.1: where to look, at which measure, and what it has to be
    "STD is more accurate on the images as they are": ((STANDARD, 0.0), "accuracy", "below 0"),
    "reversed colours take the same range from both": ((REVERSED, 0.0), "change", _ALIKE),
    "the same, in percent of what each had": ((REVERSED, 0.0), "relative", _ALIKE),
    "ADV is more accurate on stylized images": ((STYLIZED, 1.0), "accuracy", "above 0"),
    "ADV keeps the larger share of its accuracy there": ((STYLIZED, 1.0), "relative", "above 0"),
    "ADV decides by shape rather than texture more often": ((CONFLICT, 1.0), "shape bias", "above 0"),
}


def sentences(differing: pd.DataFrame) -> pd.DataFrame:
    """Which of SENTENCES hold, for "all" seeds and each: sentence, arch, seed, asked, difference, low, high, verdict.

    "yes": the whole interval says so; "no": the whole interval speaks against it; "open": it allows both.
    differing: `05_differences`.
    """
    found = []
    for sentence, ((variant, strength), measure, asked) in SENTENCES.items():
        rows = differing[(differing["variant"] == variant) & (differing["strength"] == strength)]
        for row in rows[rows["measure"] == measure].itertuples():
            verdict = _verdict(asked, row.low, row.high)
            found.append((sentence, row.arch, row.seed, asked, row.difference, row.low, row.high, verdict))
    columns = ["sentence", "arch", "seed", "asked", "difference", "low", "high", "verdict"]
    return pd.DataFrame(found, columns=columns)


def _verdict(asked: str, low: float, high: float) -> str:
    first, last = {"below 0": (-np.inf, 0.0), "above 0": (0.0, np.inf), _ALIKE: (-SAME, SAME)}[asked]
    if first < low and high < last:
        return "yes"
    return "no" if high < first or last < low else "open"
