"""The plots of notebook 01."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from advlook.core.names import ARCH_NAMES, eps_label
from advlook.study.style import ARCH_STYLES, COLORS, new_figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Loss and learning, and the check on catastrophic overfitting: FGSM and PGD accuracy over the epochs.

    history: one row an epoch: arch, setting, seed, epoch, loss, and where measured clean, fgsm, pgd (percent).
    """
    archs = list(dict.fromkeys(history["arch"]))
    figure, axes = new_figure(len(archs), 3, 12.5, 3.1 * len(archs) + 0.5, sharex=True)
    for row, arch in enumerate(archs):
        loss, clean, robust = axes[3 * row : 3 * row + 3]
        for (setting, seed), run in history[history["arch"] == arch].groupby(["setting", "seed"], sort=False):
            color, alpha = COLORS[setting], 1 if seed == history["seed"].min() else 0.45
            checked = run.dropna(subset=["pgd"])
            loss.plot(run["epoch"], run["loss"], color=color, alpha=alpha)
            clean.plot(checked["epoch"], checked["clean"], "o-", color=color, alpha=alpha, markersize=4)
            robust.plot(checked["epoch"], checked["fgsm"], ":", color=color, alpha=alpha)
            robust.plot(checked["epoch"], checked["pgd"], "o-", color=color, alpha=alpha, markersize=4)
        loss.set_ylabel(f"{ARCH_NAMES[arch]}\n")
        titles = ("Training loss", "Clean accuracy [%]", "Accuracy under attack [%]")
        for axis, title in zip((loss, clean, robust), titles, strict=True):
            axis.set_title(title if row == 0 else "")
            axis.set_xlabel("epoch" if row == len(archs) - 1 else "")
            axis.set_ylim(0, 102 if axis is not loss else None)
    handles = [Line2D([], [], color=COLORS[s], label=s.upper()) for s in ("std", "adv")]
    handles += [
        Line2D([], [], color="#444444", ls=":", label="under FGSM"),
        Line2D([], [], color="#444444", marker="o", ms=4, label="under PGD-10"),
    ]
    if history["seed"].nunique() > 1:
        handles.append(Line2D([], [], color="#444444", alpha=0.45, label="other seeds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def tradeoff(table: pd.DataFrame) -> Figure:
    """Clean against robust accuracy, one point a model; lines join the two settings of an architecture and seed.

    table: `01_tradeoff`.
    """
    figure, (axis,) = new_figure(1, 1, 6.4, 5)
    for (arch, _), pair in table.groupby(["arch", "seed"], sort=False):
        line, marker = ARCH_STYLES[arch]
        axis.plot(pair["top1"], pair["robust_pgd"], ls=line, color="#BBBBBB", zorder=1, lw=1.2)
        for setting, model in pair.groupby("setting"):
            axis.scatter(
                model["top1"],
                model["robust_pgd"],
                s=80,
                marker=marker,
                color=COLORS[setting],
                zorder=2,
                edgecolor="white",
            )
    axis.set_xlabel("clean top-1 accuracy [%]")
    axis.set_ylabel(f"top-1 accuracy under PGD, eps = {eps_label(table['eps'].iloc[0])} [%]")
    axis.set_ylim(bottom=min(-2, axis.get_ylim()[0]))
    handles = [Line2D([], [], color=COLORS[s], marker="o", ls="", label=s.upper()) for s in ("std", "adv")]
    handles += [
        Line2D([], [], color="#666666", marker=ARCH_STYLES[arch][1], ls=ARCH_STYLES[arch][0], label=ARCH_NAMES[arch])
        for arch in dict.fromkeys(table["arch"])
    ]
    axis.legend(handles=handles, loc="best")
    return figure


def cue_choice(table: pd.DataFrame) -> Figure:
    """What decides where the two cues disagree: a bar a model, its answers by texture, by neither, by silhouette.

    table: `01_cues`.
    """
    figure, (axis,) = new_figure(1, 1, 8.5, 0.42 * len(table) + 1.5)
    names = [f"{ARCH_NAMES[row.arch]} {row.setting.upper()}, seed {row.seed}" for row in table.itertuples()]
    left = pd.Series(0.0, index=table.index)
    parts = (
        ("by_texture", "texture", "#8C6BB1"),
        ("by_neither", "neither", "#DDDDDD"),
        ("by_shape", "silhouette", "#41AB5D"),
    )
    for column, label, color in parts:
        axis.barh(names, table[column], left=left, color=color, label=label, height=0.7)
        left = left + table[column]
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("answers on cue-conflict images [%]")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
