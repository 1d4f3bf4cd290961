"""What notebook 04 says of the results of its run, generated from their tables."""

import numpy as np
import pandas as pd
from IPython.display import Markdown

from advlook.core import NAMES, SETTINGS
from advlook.core.names import MAIN
from advlook.experiments.corruptions.contrast import LOWERED, RESTORED
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, joined, lines_of, with_interval

_TITLES = {  # of operations in `04_crossings`, with what a level is
    "blur": ("Gaussian blur", "sigma {:.2f} px"),
    "blur 3x3": ("Gaussian blur cut to 3x3 pixels", "sigma {:.2f} px"),
    "median": ("the 3x3 median", "{:.2f} passes"),
    "median 5x5": ("the 5x5 median", "{:.2f} passes"),
}


def told(study: Study) -> Markdown:
    """The scale that models read in hybrid images, where ADV overtakes STD, and what contrast has to do with that."""
    lines = lines_of(study, {"04_scales": hybrids, "04_crossings": overtakes, "04_contrast_effects": of_contrast})
    return bullets(lines, "In brackets 95% intervals:")


def hybrids(table: pd.DataFrame) -> list[str]:
    """A line an architecture: the cut-offs at which STD and ADV switch to the coarse image. table: `04_scales`."""
    lines = []
    for name, rows in by_arch(table[(table["condition"] == MAIN) & (table["seed"] == "all")]):
        found = rows.set_index("of")
        std, adv = (f"{found.at[of, 'scale']:.3f}" for of in ("std", "adv"))
        text = f"{name}: in hybrid images STD switches to the coarse image at {std} cycles per pixel, ADV at {adv}"
        lines.append(f"{text}; ADV is lower by {with_interval(found.loc['apart'], 'scale', '.2f')} octaves.")
    return lines


def overtakes(table: pd.DataFrame) -> list[str]:
    """A line an architecture: the level of each operation at which ADV overtakes STD. table: `04_crossings`."""
    lines = []
    for name, rows in by_arch(table[table["seed"] == "all"]):
        levels, never = [], []
        for row in rows.to_dict("records"):
            title, unit = _TITLES.get(row["operation"], (row["operation"], "level {:.2f}"))
            if np.isfinite(row["level"]):
                high = f"{row['high']:.2f}" if np.isfinite(row["high"]) else "-"
                levels.append(f"{title} at {unit.format(row['level'])} [{row['low']:.2f}, {high}]")
            else:
                never.append(title)
        text = [f"ADV overtakes STD under {joined(levels)}"] if levels else []
        text += [f"ADV does not overtake within the range under {joined(never)}"] if never else []
        lines.append(f"{name}: {'; '.join(text)}.")
    return lines


def of_contrast(table: pd.DataFrame) -> list[str]:
    """A line an architecture: the most that restoring the contrast gives after blur, and that lowering it takes without
    blur. table: `04_contrast_effects`."""
    lines = []
    for name, rows in by_arch(table[table["seed"] == "all"]):
        said = []
        for change, most in ((RESTORED, "idxmax"), (LOWERED, "idxmin")):
            told = []
            for setting in SETTINGS:
                effects = rows[(rows["change"] == change) & (rows["setting"] == setting)].set_index("sigma")["effect"]
                sigma = getattr(effects, most)()
                told.append(f"{effects[sigma]:+.1f} points for {NAMES[setting]} (sigma {sigma:g} px)")
            said.append(joined(told))
        text = f"{name}: restoring the contrast after blur changes accuracy by up to {said[0]}"
        lines.append(f"{text}; lowering it as much, without blur, by up to {said[1]}.")
    return lines
