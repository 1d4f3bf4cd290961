"""What could explain that Gaussian blur favours ADV here and not at 224 px: a line for each circumstance that was
changed, one at a time."""

import pandas as pd

from advlook.core import ARCH_NAMES, Preset
from advlook.core.preset_files import load_preset
from advlook.experiments.corruptions.contrast import RESTORED
from advlook.report.committed import load
from advlook.report.sizes import ARCH, HALF, blur_over_sizes, compared
from advlook.stats.crossing import overtaken_at
from advlook.study import style

REFERENCE = "imagenette"  # the preset whose circumstances are changed
COLUMNS = ("what is changed", "ADV overtakes at sigma [px]", "in cycles per image", "greatest lead of ADV [points]")


def explanations() -> pd.DataFrame:
    """COLUMNS, as text: of accuracies over the sigma of Gaussian blur, means over the training seeds that ADV and STD
    both have, from committed tables and published figures. Cycles per image: of the frequency that the blur halves."""
    preset = load_preset(REFERENCE)
    sweeps = pd.concat([load(REFERENCE, table) for table in ("04_corruptions", "09_sweeps")])
    sweeps = style.select(sweeps, operation="blur")
    contrast = style.select(load(REFERENCE, "04_contrast").rename(columns={"sigma": "level"}), change=RESTORED)
    leads = {"nothing: ResNet-10, FGSM at 4/255, ten classes, 64 px": _lead(sweeps)}
    others = [arch for arch in preset.archs if arch != ARCH]
    leads |= {f"architecture: {ARCH_NAMES[arch]}": _lead(sweeps, arch=arch) for arch in others}
    for adv, std in _trainings(preset):
        if {adv, std} <= set(sweeps["setting"]):
            leads[f"training: {preset.controls[adv].title}"] = _lead(sweeps, adv, std)
    leads["contrast: restored after the blur"] = _lead(contrast)
    rows = [_told(changed, lead, preset.data.size) for changed, lead in leads.items()]
    shown = compared(blur_over_sizes()).rename(columns={"sigma": "level", "model": "seed"}).assign(arch=ARCH)
    for (size, classes, images), found in shown.groupby(["size", "classes", "images"]):
        if (size, classes) != (preset.data.size, preset.data.classes):
            lead = _lead(found.assign(seed=0))
            rows.append(_told(f"images: {images}, {size} px, {classes:,} classes", lead, size))
    return pd.DataFrame(rows, columns=COLUMNS)


def _trainings(preset: Preset) -> list[tuple[str, str]]:
    """Pairs of ADV and STD: each control that is trained like ADV, beside the STD model; beside the control that is
    trained like STD for less long, where it is so, too."""
    controls = preset.controls
    shorter = next((name for name, each in controls.items() if each.like == "std" and each.epochs), "std")
    return [(name, shorter if each.epochs else "std") for name, each in controls.items() if each.like == "adv"]


def _lead(rows: pd.DataFrame, adv: str = "adv", std: str = "std", arch: str = ARCH) -> pd.Series:
    """ADV - STD in points by level. rows: with arch, setting, seed, level and top1."""
    wide = style.select(rows, arch=arch).pivot_table("top1", ["level", "seed"], "setting")
    return (wide[adv] - wide[std]).groupby("level").mean()


def _told(changed: str, lead: pd.Series, size: int) -> tuple[str, str, str, str]:
    sigma = overtaken_at(lead.index.to_numpy(float), lead.to_numpy()).item()
    overtakes = (f"{sigma:.2f}", f"{HALF * size / sigma:.1f}") if sigma < float("inf") else ("not in its range", "")
    return changed, *overtakes, f"{lead.max():+.1f} (sigma {lead.idxmax():g} px)"
