"""The plots of notebook 01."""

import pandas as pd
from matplotlib.figure import Figure

from advlook.core import ARCH_NAMES
from advlook.core import eps_label as eps_label
from advlook.study import style
from advlook.study.style import image_grid as image_grid
from advlook.study.style import summary as summary

_OTHER_SEEDS = 0.45  # how opaque they are
_CUES = {"texture": style.PURPLE, "neither": "#DDDDDD", "shape": style.GREEN}


def training_curves(history: pd.DataFrame) -> Figure:
    """Training loss, and accuracy clean and under FGSM and PGD, over the epochs of `measure.training_history`."""
    titles = {"loss": "Training loss", "clean": "Clean accuracy [%]", "robust": "Accuracy under attack [%]"}
    figure, panels = style.arch_rows(history, titles, (12.5, 3.1, 0.5), ("epoch", "{}\n"), sharex=True)
    first, several = history["seed"].min(), history["seed"].nunique() > 1
    lines = {"loss": {"loss": "-"}, "clean": {"clean": "o-"}, "robust": {"fgsm": ":", "pgd": "o-"}}
    for axis, rows, panel in panels:
        for (setting, seed), run in rows.groupby(["setting", "seed"], sort=False):
            drawn = {"color": style.COLORS[setting], "alpha": 1 if seed == first else _OTHER_SEEDS, "markersize": 4}
            known = run if panel == "loss" else run.dropna(subset=["pgd"])
            for column, line in lines[panel].items():
                axis.plot(known["epoch"], known[column], line, **drawn)
        axis.set_ylim(0, None if panel == "loss" else 102)
    under_attack = [style.handle("under FGSM", ls=":"), style.handle("under PGD-10", marker="o", ms=4)]
    others = [style.handle("other seeds", alpha=_OTHER_SEEDS)] if several else []
    style.legend(figure, [*style.setting_handles(), *under_attack, *others])
    return figure


def tradeoff(table: pd.DataFrame) -> Figure:
    """Clean against robust accuracy, one point a model; lines join the two settings. table: `01_tradeoff`."""
    figure, (axis,) = style.new_figure(1, 1, 6.4, 5)
    for (arch, _), pair in table.groupby(["arch", "seed"], sort=False):
        line, marker = style.ARCH_STYLES[arch]
        axis.plot(pair["top1"], pair["robust_pgd"], ls=line, color=style.LIGHT, zorder=1, lw=1.2)
        colors = pair["setting"].map(style.COLORS)
        axis.scatter(pair["top1"], pair["robust_pgd"], s=80, marker=marker, color=colors, zorder=2, edgecolor="white")
    robust = f"top-1 accuracy under PGD, eps = {eps_label(table['eps'].iloc[0])} [%]"
    axis.set(xlabel="clean top-1 accuracy [%]", ylabel=robust, ylim=(min(-2, axis.get_ylim()[0]), None))
    archs = {arch: dict(zip(("ls", "marker"), style.ARCH_STYLES[arch], strict=True)) for arch in table["arch"].unique()}
    handles = [style.handle(ARCH_NAMES[arch], **drawn) for arch, drawn in archs.items()]
    axis.legend(handles=[*style.setting_handles(marker="o", ls=""), *handles], loc="best")
    return figure


def cue_choice(table: pd.DataFrame) -> Figure:
    """What decides where the two cues disagree: a bar a model. table: `01_cues`."""
    figure, (axis,) = style.new_figure(1, 1, 8.5, 0.42 * len(table) + 1.5)
    names = [f"{ARCH_NAMES[row.arch]} {row.setting.upper()}, seed {row.seed}" for row in table.itertuples()]
    left = pd.Series(0.0, index=table.index)
    for cue, color in _CUES.items():
        label = "silhouette" if cue == "shape" else cue
        axis.barh(names, table[f"by_{cue}"], left=left, color=color, label=label, height=0.7)
        left = left + table[f"by_{cue}"]
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="answers on cue-conflict images [%]")
    axis.grid(visible=False, axis="y")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
