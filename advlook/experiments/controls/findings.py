"""What notebook 09 says of the results of its run, generated from their tables."""

from itertools import pairwise

import numpy as np
import pandas as pd
from IPython.display import Markdown

from advlook.core import SETTINGS, eps_label
from advlook.core.names import CONTROL, DOSE
from advlook.experiments.controls.figures import PANELS, titles
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, existing, joined


def told(study: Study) -> Markdown:
    """What follows the radius, where each control lies between STD and ADV, and how adversarial trainings ended."""
    tables = existing(study, "09_models", "09_rulers", "09_positions", "09_training")
    if len(tables) < 4:
        return bullets([])
    models, rulers, positions, history = tables.values()
    lines = [*over_radius(models, rulers), *between(models, positions), *trained(models, history)]
    return bullets(lines, "Means over seeds:")


def over_radius(models: pd.DataFrame, rulers: pd.DataFrame) -> list[str]:
    """A line an architecture and panel of the figure: its values over the radius, and whether they turn. models:
    `09_models`; rulers: `09_rulers`."""
    doses = models[models["kind"] == DOSE].set_index("setting")["eps"]
    rows = rulers[rulers["setting"].isin(doses.index)]
    rows = rows.assign(eps=rows["setting"].map(doses))
    lines = []
    for name, of_arch in by_arch(rows):
        if of_arch["setting"].nunique() <= len(SETTINGS):
            continue
        for ruler in PANELS:
            means = of_arch[of_arch["ruler"] == ruler].groupby("eps")["value"].mean()
            title, unit = titles(ruler)
            values = ", ".join(f"{value:.3g}" if np.isfinite(value) else "never" for value in means)
            radii = ", ".join(eps_label(each).removesuffix("/255") for each in means.index)
            values = " ".join(filter(None, [values, unit]))
            lines.append(f"{name}, {title} at {radii}/255: {values}; it {course(means)}.")
    return lines


def course(means: pd.Series) -> str:
    """How a value goes with the radius: "rises at every step", or at which radii it turns."""
    if not np.isfinite(means).all():
        return "is not reached at every radius"
    signs = np.sign(np.diff(means.to_numpy()))
    words = {1.0: "rises", -1.0: "falls", 0.0: "stays"}
    if len(set(signs)) == 1:
        return f"{words[signs[0]]} at every step"
    turns = [at for at, (one, other) in enumerate(pairwise(signs), 1) if one != other]
    at = joined([eps_label(means.index[place]) for place in turns])
    return f"{words[signs[0]]} at first, and turns at {at}"


def between(models: pd.DataFrame, positions: pd.DataFrame) -> list[str]:
    """A line an architecture and control: where it lies between STD (0) and ADV (1) on the measures on which these lie
    apart. models: `09_models`; positions: `09_positions`."""
    titles = models[models["kind"] == CONTROL].set_index("setting")["title"]
    rows, lines = positions[positions["apart"] & positions["setting"].isin(titles.index)], []
    for name, of_arch in by_arch(rows):
        for setting, of_setting in of_arch.groupby("setting", sort=False):
            means = of_setting.groupby("ruler", sort=False)["position"].mean()
            low, middle, high = means.quantile([0.25, 0.5, 0.75])
            text = f"{name}, {titles[setting]}: median position {middle:.2f} (quartiles {low:.2f} and {high:.2f})"
            lines.append(f"{text} over {len(means)} measures, between STD (0) and ADV (1).")
    return lines


def trained(models: pd.DataFrame, history: pd.DataFrame) -> list[str]:
    """A line an architecture and control trained adversarially: the accuracies under FGSM and PGD at the last check. A
    model that has learned to defeat the single step has far more of the first. history: `09_training`."""
    titles = models[models["like"] == "adv"].set_index("setting")["title"]
    checks, lines = history.dropna(subset=["pgd"]), []
    checks = checks[checks["setting"].isin(titles.index)]
    for name, of_arch in by_arch(checks):
        for setting, of_setting in of_arch.groupby("setting", sort=False):
            last = of_setting.groupby("seed")[["fgsm", "pgd"]].last()
            each = [f"{row.fgsm:.1f}% and {row.pgd:.1f}% (seed {row.Index})" for row in last.itertuples()]
            lines.append(f"{name}, {titles[setting]}: at the end of training FGSM and PGD leave {joined(each)}.")
    return lines
