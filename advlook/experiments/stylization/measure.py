"""What notebook 05 measures: accuracy under another texture, and whether shape or texture decides.

Accuracies are in percent, differences (ADV - STD) in points; "all" seeds are averaged image by image. A variant of the
test images is "standard", "reversed" (in colours) or "stylized", at a strength from 0, the control, to 1. All variants
show the same images, strengths in between the first of them: the answers are in `05_variants`. `05_conflicts` holds
those to cue conflicts, `05_blocks` and `05_sizes` those to cue conflicts of photographs by size of blocks and picture.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core.names import CONFLICT, REVERSED, STANDARD, STYLIZED
from advlook.data import ImageSet, to_float
from advlook.experiments.stylization import conflicts as cues
from advlook.experiments.stylization import images as made
from advlook.experiments.stylization import judged
from advlook.experiments.stylization.validity import checks
from advlook.models.evaluation import predict, top_k
from advlook.stats import answers, interval, pooled
from advlook.stats.paired import bias, bias_difference, relative_difference
from advlook.study import ModelKey, Row, Study
from advlook.study.models import KEY

COLUMNS = ["arch", "setting", "seed", "variant", "strength", "top1", "top5", "images", "control"]
MEASURES = ("accuracy", "change", "relative")
ENGINES = {  # described by their method: neither makes Stylized-ImageNet
    "optimised": "each image optimised towards the Gram matrices of random filters",
    "network": "style transfer by a trained network at 256 px, then reduced",
}

_DIFFERENCES = ["arch", "variant", "strength", "seed", "measure", "difference", "low", "high", "images"]

Some = slice | Tensor | None  # numbers of images; None: all
Variant = tuple[str, float]  # name and strength
VARIANTS: tuple[Variant, ...] = ((STANDARD, 0.0), (REVERSED, 0.0), *((STYLIZED, each) for each in made.STRENGTHS))


@lru_cache(maxsize=1)
def stylized(study: Study) -> dict[float, made.Stylized]:
    """The stylized test images at every strength; kept for the last study, since every model is shown them."""
    return {strength: made.stylized_set(study, strength) for strength in made.STRENGTHS}


@lru_cache(maxsize=1)
def conflicts(study: Study) -> cues.CueConflict:
    """All cue conflicts; kept like the images of `stylized`."""
    return cues.cue_conflict_set(study)


@lru_cache(maxsize=1)
def of_blocks(study: Study) -> dict[int, cues.CueConflict]:
    """The cue conflicts for tuning by size of their blocks [pixels of 160]; kept like the images of `stylized`."""
    return {block: cues.tuning_set(study, block) for block in judged.BLOCKS}


@lru_cache(maxsize=1)
def of_sizes(study: Study) -> dict[int, cues.CueConflict]:
    """All cue conflicts by the size to which they are reduced before they are shown at the study's own [pixels]: those
    of `judged.SIZES` below, and this; kept like the images of `stylized`."""
    own = study.preset.data.size
    sizes = [*(each for each in judged.SIZES if each < own), own]
    return {size: cues.reduced_set(study, size) for size in sizes}


def variant_images(study: Study, variant: str, strength: float, chosen: Some = None) -> ImageSet:
    """A variant of the test images, with the labels of the contents; all of it, or the images of the numbers chosen."""
    if variant == STYLIZED:
        return (stylized(study)[strength] if chosen is None else made.stylized_set(study, strength, chosen)).images
    standard = made.contents_of(study)[slice(None) if chosen is None else chosen]
    # Of bytes: what `reverse_colors` is of floats.
    return ImageSet(255 - standard.images, standard.labels, standard.classes) if variant == REVERSED else standard


def shown(study: Study, count: int) -> tuple[dict[str, Tensor], list[str]]:
    """Content, style and the result at every strength above 0, of `count` test images of a fixed draw, float `(N, 3, H,
    W)` in [0, 1] by what they are; and the class of each."""
    every = stylized(study)
    full, smallest = every[1.0], min(len(one.images) for one in every.values())  # every strength has these
    chosen = torch.randperm(smallest, generator=torch.Generator().manual_seed(0))[:count]
    pictures = {"content": to_float(full.contents.images[chosen]), "style": to_float(full.pictures(chosen))}
    pictures |= {f"strength {s:g}": to_float(one.images.images[chosen]) for s, one in every.items() if s}
    return pictures, [full.contents.classes[label] for label in full.contents.labels[chosen].tolist()]


def shown_conflicts(study: Study, count: int) -> tuple[dict[str, Tensor], list[str]]:
    """Shape and texture (where they were apart) and their cue conflict, like `shown`; the classes of both."""
    found = conflicts(study)
    chosen = torch.randperm(len(found.images), generator=torch.Generator().manual_seed(0))[:count]
    parts = {"shape": found.contents, "texture": found.sources, "both in one": found.images}
    pictures = {title: to_float(part.images[chosen]) for title, part in parts.items() if part is not None}
    classes, pairs = found.images.classes, zip(found.images.labels[chosen], found.textures[chosen], strict=True)
    return pictures, [f"{classes[shape]},\n{classes[texture]}" for shape, texture in pairs]


def variant_rows(study: Study, key: ModelKey, only: Variant | None = None, chosen: Some = None) -> Iterator[Row]:
    """Accuracy on every variant; "control" is top-1 on the same images as they are; "right" and "right_control" hold
    which were right. only: one variant; chosen: the images of these numbers alone, which answer as among all."""
    ask = partial(predict, study.model(*key), **study.batches)
    standard = variant_images(study, STANDARD, 0.0, chosen)
    own = ask(standard)
    for variant, strength in [only] if only else VARIANTS:
        images = variant_images(study, variant, strength, chosen)
        logits = own if torch.equal(images.images, standard.images) else ask(images)
        right, before = (found.argmax(1) == images.labels for found in (logits, own[: len(images)]))
        best = top_k(logits, images.labels, study.preset.evaluation.top_k)
        row = {"variant": variant, "strength": strength, "top1": percent(right), "top5": best}
        row |= {"images": len(images), "control": percent(before)}
        yield row | {"right": right.numpy(), "right_control": before.numpy()}


def conflict_rows(study: Study, key: ModelKey, chosen: Some = None) -> Iterator[Row]:
    """One row: which cue conflicts (all, or those chosen) the model answers by their shape, which by their texture;
    source: of each a number that conflicts with the same source share; valid, and else the reason, whether a claim may
    rest on them. A set without cue conflicts has a row of no images."""
    found, data = conflicts(study) if chosen is None else cues.cue_conflict_set(study, chosen), study.preset.data
    reason = judged.untested(data.name, data.size)
    yield _decided(study, key, found) | {"source": found.drawn.numpy(), "valid": not reason, "reason": reason}


def block_rows(study: Study, key: ModelKey, only: int | None = None, chosen: Some = None) -> Iterator[Row]:
    """Answers as of `conflict_rows` to the cue conflicts for tuning, by their `block`. only: one size of blocks."""
    for block in [only] if only else judged.BLOCKS:
        found = of_blocks(study)[block] if chosen is None else cues.tuning_set(study, block, chosen)
        yield {"block": block} | _decided(study, key, found)


def size_rows(study: Study, key: ModelKey, only: int | None = None, chosen: Some = None) -> Iterator[Row]:
    """Answers as of `conflict_rows` to the same cue conflicts, reduced to a `size` and enlarged to the study's own.
    only: one size, in place of all of `of_sizes`."""
    for size in [only] if only else of_sizes(study):
        found = of_sizes(study)[size] if chosen is None else cues.reduced_set(study, size, chosen)
        yield {"size": size} | _decided(study, key, found)


def _decided(study: Study, key: ModelKey, found: cues.CueConflict) -> dict[str, object]:
    """How many images, and which of them the model answers by shape and which by texture."""
    named = torch.empty(0)
    if len(found.images):
        named = predict(study.model(*key), found.images, **study.batches).argmax(1)
    by_shape, by_texture = ((named == cue).numpy() for cue in (found.images.labels, found.textures))
    return {"images": len(named), "by_shape": by_shape, "by_texture": by_texture}


def stylization_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measure every model; save all tables and return `05_stylization`, `05_differences` and `05_shape_bias`."""
    measured, inputs = {"05_variants": variant_rows, "05_conflicts": conflict_rows}, inputs_of(study)
    rows, decided = (study.save_table(name, study.rows(name, each, inputs=inputs)) for name, each in measured.items())
    tables = {"05_stylization": rows[COLUMNS], "05_differences": every_difference(rows, decided)}
    tables["05_shape_bias"] = shape_bias(decided, conflicts(study).images)
    return tuple(study.save_table(name, table) for name, table in tables.items())


def sweep_tables(study: Study) -> pd.DataFrame:
    """Measure every model on cue conflicts of photographs by size of blocks and of pictures; save `05_blocks`,
    `05_sizes` and `05_curves`, and return the last. An empty table, not saved, where there are no such conflicts."""
    if not judged.has_tables(study.preset.data.name):
        return pd.DataFrame()
    measured, inputs = {"05_blocks": block_rows, "05_sizes": size_rows}, inputs_of(study)
    found = [study.save_table(name, study.rows(name, each, inputs=inputs)) for name, each in measured.items()]
    return study.save_table("05_curves", curves(study, *found))


def inputs_of(study: Study) -> list[object]:
    """Hashes of what images are made of besides those of the study: styles and the judge's tables."""
    return [made.styles_digest(study), judged.judged_digest(study.preset.data.name)]


def curves(study: Study, blocks: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """`05_curves` from `05_blocks` and `05_sizes`: shape bias [%] with its 95% interval over images, by arch, setting
    and seed as of `shape_bias`, and for arch and setting "judge". over: "block" or "size", `at` which [pixels]; shown:
    pixels a side of the picture at its smallest; images: how many; of_claim: whether `at` is what claims rest on."""
    data, found = study.preset.data, []
    for over, table in (("block", blocks), ("size", sizes)):
        for (arch, at, seed), decisions in _answered(table, ["arch", over], "by_shape", "by_texture"):
            shown = min(at, data.size) if over == "size" else data.size
            found += [(over, at, shown, arch, setting, seed, each) for setting, each in decisions.items()]
    tuning, claim = (judged.conflicts(data.name, part) for part in (judged.TUNING, judged.CLAIM))
    for block, shown in product(judged.BLOCKS, {judged.SIDE, data.size} & {*judged.TUNING_SIZES}):
        answers = judged.decided(tuning[tuning["block"] == block], shown)
        found.append(("block", block, shown, "judge", "judge", "all", answers))
    found += [("size", size, size, "judge", "judge", "all", judged.decided(claim, size)) for size in judged.SIZES]
    rows = [(*each, *map(float, interval(answers, bias)), len(answers)) for *each, answers in found]
    table = pd.DataFrame(rows, columns=["over", "at", "shown", *KEY, "shape_bias", "low", "high", "images"])
    return table.assign(of_claim=table["at"] == table["over"].map({"block": claim["block"].iloc[0], "size": data.size}))


def every_difference(rows: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """`05_differences` from `05_variants` and `05_conflicts`."""
    found = differences(rows), bias_differences(decided)
    return pd.concat([each for each in found if len(each)], ignore_index=True)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in top-1 on every variant, with its 95% interval, by arch, variant, strength, seed and measure.
    measure: "accuracy"; "change", minus the same difference on the images as they are; "relative", with each accuracy
    in percent of the model's own on the images as they are. rows: of `variant_rows`."""
    found = []
    for key, right in _answered(rows, ["arch", "variant", "strength"], "right_control", "right"):
        effects = zip(MEASURES, *interval(np.concatenate([right["std"], right["adv"]], axis=1), _effects), strict=True)
        found += [(*key, *effect, len(right["std"])) for effect in effects]
    return pd.DataFrame(found, columns=_DIFFERENCES)


def _answered(rows: pd.DataFrame, by: list[str], *columns: str) -> Iterator[tuple[tuple, dict[str, np.ndarray]]]:
    """`(*key, seed)`, seeds as of `pooled`, and by setting what models answer in these columns: `(images, columns)`."""
    for key, runs in rows.groupby(by, sort=False):
        yield from (((*key, seed), found) for seed, found in pooled(runs, answers(*columns)))


def _effects(means: np.ndarray) -> np.ndarray:
    """`(..., 4)`, STD as it is and changed, then ADV, to `(..., 3)`, the MEASURES."""
    std, adv = np.split(means, 2, axis=-1)
    before, after = np.moveaxis(100 * (adv - std), -1, 0)
    return np.stack([after, after - before, relative_difference(means)[..., 1]], axis=-1)


def shape_bias(rows: pd.DataFrame, images: ImageSet) -> pd.DataFrame:
    """Shape bias (Geirhos et al. 2019) by arch, setting, seed (each and "all") and class of the shape (each and "all"):
    decisions for the shape in percent of those for either cue, with its 95% interval over images, nan where some
    resample holds no decision; by_shape, by_texture: in percent of all images. rows: of `conflict_rows`."""
    classes = {name: images.labels == number for number, name in enumerate(images.classes)}
    classes = {"all": images.labels >= 0, **classes}
    found = []
    for (arch, seed), decided in _answered(rows, ["arch"], "by_shape", "by_texture"):
        for (setting, decisions), (name, members) in product(decided.items(), classes.items()):
            chosen = decisions[members.numpy()]
            if len(chosen):
                effects = map(float, interval(chosen, bias))
                found.append((arch, setting, seed, name, *effects, *100 * chosen.mean(0), len(chosen)))
    columns = ["arch", "setting", "seed", "class", "shape_bias", "low", "high", "by_shape", "by_texture", "images"]
    return pd.DataFrame(found, columns=columns)


def bias_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in shape bias, as further rows of `differences`: variant "cue conflict", measure "shape bias"."""
    found = []
    for (arch, seed), decided in _answered(rows[rows["images"] > 0], ["arch"], "by_shape", "by_texture"):
        both = np.concatenate([decided["std"], decided["adv"]], axis=1)
        effect = map(float, interval(both, bias_difference))
        found.append((arch, CONFLICT, 1.0, seed, "shape bias", *effect, len(both)))
    return pd.DataFrame(found, columns=_DIFFERENCES)


def named_by_judge(study: Study) -> np.ndarray | None:
    """Which of other photographs the judge names rightly as they are and stylized like those of the study, bool `(n,
    2)`; None where it was not asked."""
    network = study.preset.stylization.engine == made.NETWORK
    return judged.stylized_answers(study.preset.data.name) if network else None


def check_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the images of strength 1 (`checks`); save and return `05_checked` and `05_checks`."""
    checked = study.save_table("05_checked", checks(study, stylized(study)[1.0]))
    return checked, study.save_table(
        "05_checks", validity(checked, 100 / study.preset.data.classes, named_by_judge(study))
    )


def validity(checked: pd.DataFrame, chance: float, named: np.ndarray | None = None) -> pd.DataFrame:
    """One row a check: check, finding, and in percent value, its 95% interval over images (low, high), bound, passed.
    The first two pass if they hold for most images (interval above 50%). The third is the share of its lead over chance
    [%] that the patch classifier keeps: it passes if the interval is below 50%, and never where there was no lead. The
    last, with `named_by_judge`, is its accuracy on stylized photographs: it passes between 30 and 60%."""
    nearer = checked["patches_to_style"] < checked["patches_to_content"]
    kept = checked["edges_content"] > checked["edges_style"]
    right = 100 * checked[["patch_right_before", "patch_right"]].to_numpy(dtype=float)

    def lead(means: np.ndarray) -> np.ndarray:
        led = means - chance
        return 100 * np.divide(led[..., 1], led[..., 0], out=np.full(led.shape[:-1], np.nan), where=led[..., 0] > 0)

    found = []
    holding = {"texture": (nearer, "patches are nearer to the style's than to the content's")}
    holding["shape"] = (kept, "edges agree more with the content's than with the style's")
    for check, (holds, text) in holding.items():
        value, low, high = map(float, interval(100 * holds.to_numpy(dtype=float)))
        found.append((check, f"{text} on {value:.0f}% of the images", value, low, high, 50.0, low > 50))
    value, low, high = map(float, interval(right, lead))
    before, after, least = (f"{share:.{0 if chance >= 1 else 1}f}%" for share in (*right.mean(0), chance))
    text = f"the patch classifier falls from {before} to {after}, chance is {least}"
    found.append(("small patches", text, value, low, high, 50.0, high < 50))
    if named is not None:
        plain, stylized = 100 * named.mean(0)
        least, most = judged.STYLIZED
        text = f"the judge falls from {plain:.0f}% to {stylized:.0f}% on {len(named)} other images, at 256 px"
        value, low, high = map(float, interval(100 * named[:, 1]))
        found.append(("judge", text, value, low, high, most, least <= value <= most))
    return pd.DataFrame(found, columns=["check", "finding", "value", "low", "high", "bound", "passed"])
