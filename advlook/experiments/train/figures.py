"""The plots of notebook 01."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advlook.core.names import ARCH_NAMES, eps_label
from advlook.study import style
from advlook.study.style import image_grid, summary

__all__ = ["cue_choice", "eps_label", "image_grid", "summary", "tradeoff", "training_curves"]

_OTHER_SEEDS = 0.45  # how opaque they are


def training_curves(history: pd.DataFrame) -> Figure:
    """Loss and learning, and the check on catastrophic overfitting: FGSM and PGD accuracy over the epochs.

    history: one row an epoch: arch, setting, seed, epoch, loss, and where measured clean, fgsm, pgd (percent).
    """
    archs, seeds = history["arch"].unique(), history["seed"].unique()
    figure, axes = style.new_figure(len(archs), 3, 12.5, 3.1 * len(archs) + 0.5, sharex=True)
    for arch, (loss, clean, robust) in zip(archs, np.reshape(axes, (-1, 3)), strict=True):
        for (setting, seed), run in history[history["arch"] == arch].groupby(["setting", "seed"], sort=False):
            drawn = {
                "color": style.COLORS[setting],
                "alpha": 1 if seed == min(seeds) else _OTHER_SEEDS,
                "markersize": 4,
            }
            checked = run.dropna(subset=["pgd"])
            loss.plot(run["epoch"], run["loss"], **drawn)
            clean.plot(checked["epoch"], checked["clean"], "o-", **drawn)
            robust.plot(checked["epoch"], checked["fgsm"], ":", **drawn)
            robust.plot(checked["epoch"], checked["pgd"], "o-", **drawn)
        loss.set_ylim(0)
        clean.set_ylim(0, 102)
        robust.set_ylim(0, 102)
    titles = ("Training loss", "Clean accuracy [%]", "Accuracy under attack [%]")
    style.label_outer(axes, titles, "epoch", [f"{ARCH_NAMES[arch]}\n" for arch in archs])
    under_attack = [style.handle("under FGSM", ls=":"), style.handle("under PGD-10", marker="o", ms=4)]
    others = [style.handle("other seeds", alpha=_OTHER_SEEDS)] if len(seeds) > 1 else []
    style.legend(figure, [*style.setting_handles(), *under_attack, *others])
    return figure


def tradeoff(table: pd.DataFrame) -> Figure:
    """Clean against robust accuracy, one point a model; lines join the two settings of an architecture and seed.

    table: `01_tradeoff`.
    """
    figure, (axis,) = style.new_figure(1, 1, 6.4, 5)
    for (arch, _), pair in table.groupby(["arch", "seed"], sort=False):
        line, marker = style.ARCH_STYLES[arch]
        axis.plot(pair["top1"], pair["robust_pgd"], ls=line, color=style.LIGHT, zorder=1, lw=1.2)
        colors = pair["setting"].map(style.COLORS)
        axis.scatter(pair["top1"], pair["robust_pgd"], s=80, marker=marker, color=colors, zorder=2, edgecolor="white")
    axis.set_xlabel("clean top-1 accuracy [%]")
    axis.set_ylabel(f"top-1 accuracy under PGD, eps = {eps_label(table['eps'].iloc[0])} [%]")
    axis.set_ylim(bottom=min(-2, axis.get_ylim()[0]))
    handles = style.setting_handles(marker="o", ls="")
    for arch in table["arch"].unique():
        line, marker = style.ARCH_STYLES[arch]
        handles.append(style.handle(ARCH_NAMES[arch], ls=line, marker=marker))
    axis.legend(handles=handles, loc="best")
    return figure


def cue_choice(table: pd.DataFrame) -> Figure:
    """What decides where the two cues disagree: a bar a model, its answers by texture, by neither, by silhouette.

    table: `01_cues`.
    """
    figure, (axis,) = style.new_figure(1, 1, 8.5, 0.42 * len(table) + 1.5)
    names = [f"{ARCH_NAMES[row.arch]} {row.setting.upper()}, seed {row.seed}" for row in table.itertuples()]
    left = pd.Series(0.0, index=table.index)
    colors = {"texture": style.PURPLE, "neither": "#DDDDDD", "silhouette": style.GREEN}
    columns = ("by_texture", "by_neither", "by_shape")
    for column, (label, color) in zip(columns, colors.items(), strict=True):
        axis.barh(names, table[column], left=left, color=color, label=label, height=0.7)
        left = left + table[column]
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("answers on cue-conflict images [%]")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
