"""The plots of notebook 02."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from advlook.attacks import SUITE
from advlook.core import ARCH_NAMES, NAMES, SETTINGS
from advlook.core import eps_label as eps_label
from advlook.study import style
from advlook.study.models import KEY
from advlook.study.style import summary as summary

_LINES = {  # attacks over the radius
    "pgd": {"label": "PGD", "ls": "-", "marker": "o", "ms": 5},
    "fgsm": {"label": "FGSM", "ls": "--", "marker": "s", "ms": 4},
    "noise": {"label": "random noise", "ls": ":", "marker": "x", "ms": 5},
}
_ITSELF = "itself\n(white box)"
_ACCURACY = "top-1 accuracy [%]"
_LIGHT = sns.blend_palette(["white", "#7FB6D9"], as_cmap=True)  # on all of which dark digits can be read


def accuracy_curves(table: pd.DataFrame, steps: int) -> Figure:
    """Accuracy over the radius of the ball, a panel an architecture. table: `02_attacks`; steps: of the PGD drawn."""
    table = _one_pgd(table, steps).assign(levels=lambda rows: rows["eps"] * 255)
    labels = "radius eps of the L-infinity ball [1/255]", _ACCURACY
    figure, panels = style.arch_columns(table, (4.2, 4.8, 1.2), labels, sharey=True)
    for axis, rows in panels:
        for attack, line in _LINES.items():
            style.bands(axis, rows[rows["attack"].isin(["none", attack])], "levels", "top1", **line)
        axis.set_ylim(-2, 102)
    handles = style.setting_handles() + [style.handle(**line) for line in _LINES.values()]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def attack_comparison(table: pd.DataFrame, eps: float, steps: int) -> Figure:
    """Accuracy under each attack at radius eps, weakest first; in L2 with the radius. The suite's PGD, which is the
    PGD above it with other draws, has no row. table: `02_attacks`; steps: of the PGD that is drawn."""
    table = _one_pgd(table, steps)
    in_l2 = table["norm"] == "l2"
    chosen = np.isclose(table["eps"], eps) | (table["attack"] == "none") | in_l2
    table = table[chosen & (table["attack"] != f"suite: {SUITE[0]}")]
    radius = [
        f" (radius {eps:g})" if each else "" for eps, each in zip(table["eps"], table["norm"] == "l2", strict=True)
    ]
    table = table.assign(attack=table["attack"] + radius)
    order = list(table.groupby("attack")["top1"].mean().sort_values(kind="stable").index)
    figure, panels = style.arch_columns(table, (0.42 * len(order) + 1.6, 4.8, 1.8), (_ACCURACY, ""), sharey=True)
    for axis, rows in panels:
        colors = rows["setting"].map(style.COLORS)
        axis.scatter(rows["top1"], rows["attack"].map(order.index), color=colors, s=45, alpha=0.8)
        axis.set_xlim(-3, 103)
        axis.set_yticks(range(len(order)), order)
    figure.legend(handles=style.setting_handles(marker="o", ls=""), loc="outside right upper")
    return figure


def convergence(table: pd.DataFrame, eps: float, steps: int) -> Figure:
    """Is the attack converged? Accuracy under PGD by more steps or more restarts, beside what the suite leaves; one
    scale for all. table: `02_attacks`; eps: the study's radius; steps: those of each restart."""
    table = table[np.isclose(table["eps"], eps)].assign(gradients=lambda rows: rows["steps"] * rows["restarts"])
    labels = "gradients an image: steps x restarts", _ACCURACY
    shared = {"sharex": True, "sharey": True}
    figure, panels = style.arch_rows(table, dict.fromkeys(SETTINGS, ""), (9.6, 2.9, 0.9), labels, **shared)
    for axis, of_arch, setting in panels:
        rows, color = style.select(of_arch, setting=setting), style.COLORS[setting]
        pgd = style.select(rows, attack="pgd")
        style.band(axis, style.select(pgd, restarts=1), "gradients", "top1", color, marker="o")
        style.band(axis, style.select(pgd, steps=steps), "gradients", "top1", color, ls=":", marker="s")
        suite = rows[rows["attack"].str.startswith("suite")].groupby("seed")["top1"].min()
        axis.axhspan(suite.min(), suite.max(), color=style.GREY, alpha=0.3, lw=0)
        axis.axhline(suite.mean(), color=style.GREY, lw=1.5, zorder=1)
        axis.set(title=f"{ARCH_NAMES[rows['arch'].iloc[0]]} {NAMES[setting]}", xscale="log")
        effort = sorted(pgd["gradients"].unique())
        axis.set_xticks(effort, [str(count) for count in effort])
        axis.minorticks_off()
    axis.set_ylim(-1, None)
    more_steps = style.handle("more steps", marker="o", ms=5)
    more_restarts = style.handle(f"more restarts of {steps} steps", ls=":", marker="s", ms=5)
    style.legend(figure, [more_steps, more_restarts, style.handle("suite of attacks", style.GREY, lw=1.5)])
    return figure


def transfer_matrix(table: pd.DataFrame) -> Figure:
    """Accuracy of each kind of model on examples against each kind, and against itself: means of `02_transfer`."""
    own = (table[["arch", "setting", "seed"]].to_numpy() == table.filter(like="target_").to_numpy()).all(1)
    source = table["arch"].map(ARCH_NAMES) + "\n" + table["setting"].map(NAMES)
    target = table["target_arch"].map(ARCH_NAMES) + " " + table["target_setting"].map(NAMES)
    order = [name for name in source.unique() if name in set(source[~own])] + [_ITSELF]
    means = table["top1"].groupby([target, source.mask(own, _ITSELF)]).mean().unstack()
    means = means.reindex(index=target.unique(), columns=order)
    figure, (axis,) = style.new_figure(1, 1, 1.6 * len(order) + 2.2, 0.7 * len(means) + 1.8)
    colors = {"vmin": 0, "vmax": 100, "cmap": _LIGHT, "cbar_kws": {"label": _ACCURACY}}
    digits = {"size": 12, "color": style.INK}
    sns.heatmap(means, annot=True, fmt=".0f", ax=axis, linewidths=1, annot_kws=digits, **colors)
    axis.set(xlabel="examples made against", ylabel="accuracy of")
    axis.grid(visible=False)
    axis.tick_params(axis="y", rotation=0)
    return figure


def survival(table: pd.DataFrame) -> Figure:
    """The share of images that PGD has not lost at each L2 radius of `02_radii`; mean and range over seeds."""
    table = table.sort_values("eps", kind="stable")
    left = table.assign(left=100 - table.groupby(KEY)["lost"].cumsum())
    left = left[np.isfinite(left["eps"])]
    radii = sorted(left["eps"].unique())
    places = {radius: np.log2(radius / radii[1]) + 1 if radius else 0 for radius in radii}
    left = left.assign(at=left["eps"].map(places))
    labels = "L2 radius", "images for which PGD finds no wrong answer [%]"
    figure, panels = style.arch_columns(left, (4.2, 4.8, 1.2), labels, sharey=True)
    for axis, rows in panels:
        style.bands(axis, rows, "at", "left", ls="-", marker="o", ms=4)
        axis.set_xticks(list(places.values())[::2], [f"{radius:.2g}" for radius in radii[::2]])
        axis.set_ylim(-2, 102)
    figure.legend(handles=style.setting_handles(), loc="outside right upper")
    return figure


def adversarial_examples(found: Mapping[str, Mapping[str, Tensor]], classes: Sequence[str], eps: float) -> Figure:
    """The original, and by model what `measure.examples` found: the perturbation, magnified, and the result."""
    first = next(iter(found.values()))
    figure, (originals, *lines) = style.blocks([1 + 2 * len(found)], [len(first["labels"])], 1.75, 2.05)
    originals[0].set_ylabel("original")
    for axis, image, label in zip(originals, first["images"], first["labels"], strict=True):
        style.picture(axis, image, classes[label], size=9, color=style.INK)
    for (name, parts), noises, results in zip(found.items(), lines[::2], lines[1::2], strict=True):
        noises[0].set_ylabel(f"perturbation\nagainst {name}")
        results[0].set_ylabel(f"what {name} sees")
        for place, (noise, result) in enumerate(zip(noises, results, strict=True)):
            one = {key: values[place] for key, values in parts.items()}
            style.picture(noise, (one["attacked"] - one["images"]) / (2 * eps) + 0.5)
            color = style.RIGHT if one["after"] == one["labels"] else style.WRONG
            text = f"{classes[one['after']]} {100 * one['after_probability']:.0f}%"
            style.picture(result, one["attacked"], text, size=9, color=color)
    return figure


def _one_pgd(table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The rows of every attack, but of PGD only those of so many steps and one restart."""
    return table[(table["attack"] != "pgd") | ((table["steps"] == steps) & (table["restarts"] == 1))]
