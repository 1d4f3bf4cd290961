"""The dose-response figure of notebook 08: published ResNet-50s on ImageNet over the radius of their training."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advlook.experiments.claims.published import OTHER_STD, STD
from advlook.study import style

_NORMS = {"linf": "Linf radius [1/255]", "l2": "L2 radius"}
_CONTROLS = {  # trained on stylized images: name, marker
    "resnet50_trained_on_SIN": ("stylized images alone", "^"),
    "resnet50_trained_on_SIN_and_IN": ("stylized and plain images", "s"),
    "resnet50_trained_on_SIN_and_IN_then_finetuned_on_IN": ("both, fine-tuned on plain images", "v"),
}
_COLUMNS = 4  # measures in a line, each with a panel a norm


def dose_response(table: pd.DataFrame) -> Figure:
    """A pair of panels for each measure, Linf and L2: ADV over the radius with 95% intervals over images, both STD as
    horizontal lines, and models trained on stylized images at radius 0. table: `08_dose_response`."""
    table = table[(table["kind"] != "other") | table["model"].isin(_CONTROLS)]
    measures = list(dict.fromkeys(table["measure"]))
    rows = -(-len(measures) // _COLUMNS)
    figure, axes = style.new_figure(rows, 2 * _COLUMNS, 15.5, 3.1 * rows + 0.9)
    for axis in axes[2 * len(measures) :]:
        axis.remove()
    for place, measure in enumerate(measures):
        of_measure, pair = style.select(table, measure=measure), axes[2 * place : 2 * place + 2]
        pair[0].sharey(pair[1])
        for axis, (norm, label) in zip(pair, _NORMS.items(), strict=True):
            _panel(axis, of_measure, norm)
            axis.set_xlabel(label if place + _COLUMNS >= len(measures) else "")
        pair[0].set_title(measure, loc="left")
        pair[0].set_ylim(0, 1.08 * of_measure["high"].max())
        pair[1].tick_params(labelleft=False)
    for axis in axes[:: 2 * _COLUMNS]:
        axis.set_ylabel("percent")
    style.legend(figure, _handles(), ncols=3)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, norm: str) -> None:
    """One measure over the radii of one norm; radius 0 stands a step to the left of the smallest."""
    adv = style.select(rows, norm=norm).sort_values("eps")
    at = np.log2(adv["eps"])
    zero = at.min() - (1.2 if norm == "linf" else 2)
    value = rows.set_index("model")["value"]
    for model, line in ((STD, "-"), (OTHER_STD, "--")):
        axis.axhline(value[model], color=style.COLORS["std"], ls=line, lw=1.5)
    errors = adv[["value", "low", "high"]].to_numpy().T
    axis.errorbar(at, errors[0], np.abs(errors[1:] - errors[0]), color=style.COLORS["adv"], marker="o", ms=5)
    for model, (_, marker) in _CONTROLS.items():
        if model in value:
            axis.plot(zero, value[model], marker, color=style.PURPLE, mfc="none", ms=7)
    names = [f"{radius:g}" for radius in adv["eps"]]
    shown = [name if place % 2 == 0 or norm == "linf" else "" for place, name in enumerate(names)]
    axis.set_xticks([zero, *at], ["0", *shown], fontsize=8.5)
    axis.grid(visible=False, axis="x")


def _handles() -> list[object]:
    """The entries of the legend."""
    std, adv = style.COLORS["std"], style.COLORS["adv"]
    lines = [
        style.handle("STD, recipe of the robust models", std, lw=1.5),
        style.handle("STD, torchvision", std, ls="--", lw=1.5),
        style.handle("ADV, 95% interval over images", adv, marker="o", ms=5),
    ]
    markers = [
        style.handle(f"not robust: trained on {name}", style.PURPLE, marker=marker, mfc="none", ls="", ms=7)
        for name, marker in _CONTROLS.values()
    ]
    return [each for pair in zip(lines, markers, strict=True) for each in pair]
