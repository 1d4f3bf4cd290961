"""Where other models and the published ones disagree: by claim, what was found at every image size, and what could make
the difference. Which claims are listed follows from the tables; only the last column is written by hand, and stands
where all models are this project's own."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from advlook.core import ARCH_NAMES, Preset
from advlook.stats.rules import CONTRADICTED, CORRELATION, INCONCLUSIVE, SUPPORTED, UNTESTED
from advlook.stats.verdict_text import marked
from advlook.study.folders import ROOT

SIZES = {"cifar10": "32 px (CIFAR-10)", "imagenette": "64 px (Imagenette)", "imagenette128": "128 px (Imagenette)"}
PUBLISHED = "224 px (ImageNet, published)"
_REASON = "what could make the difference"  # a column
REASONS = {
    "robustness costs accuracy": "Ten classes or a thousand; the radius, since a small one costs little.",
    "robustness is gained": "The radius of the attack, which the published table states for one of its two.",
    "loss gradients follow edges": "The architecture: AlexNet and ResNet-10 were trained and measured on the same "
    "photographs. Nothing is published on this for 224 px.",
    "blur keeps the difference": "Not the size of images up to 128 px, nor contrast, nor the attack, the norm and the "
    "radius of training: each was changed alone, and ADV overtook. Nor the JPEG files in which published images are "
    "stored after the blur: JPEG favours ADV. Possibly the number of classes (a thousand may need more detail than "
    "ten), images a class, or depth.",
    "blur of 3x3 pixels keeps the difference": "The size of images: of a larger one, three pixels are a smaller part.",
    "median filtering reverses it": "The architecture and the size of the images; no published figure.",
    "stylization reverses it": "The stimuli: published ones are stylized by AdaIN and shown at 224 px, ours by another "
    "network and reduced to 32 or 64 px, where texture has few pixels. Also the radius: CIFAR-10 was trained at 8/255, "
    "the largest published one.",
    "ADV goes by shape": "The stimuli: published ones are stylized and shown at 224 px, ours are quilts at 64 px; the "
    "judge recognises the textures of both. CIFAR-10's photographs of 32 px are not tested.",
    "reversed colours take equal points": "The radius, larger for CIFAR-10; no published figure.",
    "reversed colours take equal shares": "The radius, larger for CIFAR-10; no published figure.",
}

Verdicts = tuple[pd.DataFrame, pd.DataFrame]  # `08_claims` and `08_comparisons`, or the published ones that decide


def committed_paths(preset: str) -> list[Path]:
    """Where the verdicts of a preset lie in figures/ of the repository."""
    return [ROOT / "figures" / preset / "tables" / f"{name}.csv" for name in ("08_claims", "08_comparisons")]


def committed(preset: str) -> Verdicts | None:
    """The verdicts of a preset in figures/ of the repository; None where there are none."""
    paths = committed_paths(preset)
    return (pd.read_csv(paths[0]), pd.read_csv(paths[1])) if all(path.is_file() for path in paths) else None


def columns(preset: Preset | None = None, fresh: Verdicts | None = None) -> dict[str, Verdicts]:
    """The verdicts beside the published ones, by image size: of models from elsewhere the preset's fresh ones alone;
    else those of SIZES as far as they are there, read from figures/ where they are not the preset's."""
    if preset and preset.external:
        return {f"{preset.data.size} px ({preset.title})": fresh}
    own = {preset.name: fresh} if preset else {}
    found = {title: own.get(name) or committed(name) for name, title in SIZES.items()}
    return {title: verdicts for title, verdicts in found.items() if verdicts}


def disagreements(published: Verdicts, others: Mapping[str, Verdicts]) -> pd.DataFrame:
    """A row a claim on which two columns disagree: one has comparisons against it, another has some for it and none
    against it; or one of them shows "no difference". others: of `columns`. Columns: claim, one an image size, and of
    SIZES what could make the difference."""
    found = {**others, PUBLISHED: published}
    statements = {}
    for claims, _ in found.values():
        statements |= dict(zip(claims["claim"], claims["statement"], strict=True))
    rows = []
    for claim, statement in statements.items():
        cells = {title: _cells(claims, compared, claim) for title, (claims, compared) in found.items()}
        stances = {stance for cell in cells.values() for stance, _ in cell.values()} - {""}
        if len(stances) > 1:
            told = {title: "; ".join(_of_arch(cell)) or UNTESTED for title, cell in cells.items()}
            rows.append({"claim": statement} | told | {_REASON: REASONS.get(claim, "")})
    ours = set(others) <= set(SIZES.values())
    return pd.DataFrame(rows, columns=["claim", *found, *([_REASON] if ours else [])])


def _cells(claims: pd.DataFrame, compared: pd.DataFrame, claim: str) -> dict[str, tuple[str, str]]:
    """Of every architecture with a verdict on a claim: its stance, and the verdict with the first and last effect."""
    found = {}
    claims = marked(claims)
    for row in claims[(claims["claim"] == claim) & (claims["verdict"] != UNTESTED)].itertuples():
        each = compared[(compared["claim"] == claim) & (compared["arch"] == row.arch)]
        changed = each[each["at"].ne("before")]
        ends = changed.iloc[[0, -1]] if len(changed) > 1 else changed
        effects = [f"{end.effect:+.{2 if row.unit == CORRELATION else 1}f}" for end in ends.itertuples()]
        if len(ends) > 1:
            effects = [f"{effect} ({at})" for effect, at in zip(effects, ends["at"], strict=True)]
        stance = _stance(row.verdict, set(each["side"]))
        found[row.arch] = stance, " ".join(filter(None, (f"**{row.verdict}**", row.mark, " to ".join(effects))))
    return found


def _stance(verdict: str, sides: set[str]) -> str:
    """What a cell says on a claim: against it, for it, nothing (""), or a verdict of another kind."""
    if verdict not in (SUPPORTED, CONTRADICTED, INCONCLUSIVE):
        return verdict
    return next((side for side in ("against", "for") if side in sides), "")


def _of_arch(cell: Mapping[str, tuple[str, str]]) -> list[str]:
    """The text of every architecture, with its name where there are several."""
    names = [f"{ARCH_NAMES[arch]} " if len(cell) > 1 else "" for arch in cell]
    return [name + text for name, (_, text) in zip(names, cell.values(), strict=True)]
