"""Every plot of the study, and their common style. A figure is drawn from a table, and computes nothing.

STD is vermilion and ADV is blue everywhere (colours that differ for colour-blind readers too); architectures differ by
line style and marker.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

_INK = "#222222"  # of titles above pictures
COLORS = {"std": "#D55E00", "adv": "#0072B2", "random": "#7F7F7F"}
NAMES = {"random": "random", "std": "STD", "adv": "ADV"}
ARCH_STYLES = {"alexnet_bn": ("--", "s"), "resnet10": ("-", "o"), "resnet18": ("-.", "^"),
               "resnet50": ("-", "o"), "resnet101": (":", "D")}  # fmt: skip
ARCH_NAMES = {"alexnet_bn": "AlexNet (BN)", "resnet10": "ResNet-10", "resnet18": "ResNet-18",
              "resnet50": "ResNet-50", "resnet101": "ResNet-101"}  # fmt: skip


def new_figure(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels (inches), outside pyplot's registry, in the study's style."""
    sns.set_theme(context="notebook", style="whitegrid", rc=STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


STYLE: dict[str, object] = {
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.labelsize": 11, "axes.edgecolor": "#888888",
    "grid.color": "#E4E4E4", "legend.frameon": False, "legend.fontsize": 10, "xtick.labelsize": 10,
    "ytick.labelsize": 10, "font.family": "DejaVu Sans", "lines.linewidth": 2, "lines.markersize": 6,
}  # fmt: skip


def eps_label(eps: float) -> str:
    """4/255 rather than 0.0157 wherever it is a whole number of grey levels."""
    levels = eps * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


def summary(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds of percentages, with the range behind it where there are several: "81.2 (80.9-81.5)"."""

    def text(column: pd.Series) -> str:
        spread = f" ({column.min():.1f}-{column.max():.1f})" if len(column) > 1 else ""
        return f"{column.mean():.1f}{spread}"

    rows = table.groupby(list(by), sort=False)[list(values)].agg(text)
    return rows.rename(index=ARCH_NAMES | NAMES)


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
    handles += [Line2D([], [], color="#444444", ls=":", label="under FGSM"),
                Line2D([], [], color="#444444", marker="o", ms=4, label="under PGD-10")]  # fmt: skip
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
            axis.scatter(model["top1"], model["robust_pgd"], s=80, marker=marker, color=COLORS[setting], zorder=2,
                         edgecolor="white")  # fmt: skip
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


def accuracy_curves(table: pd.DataFrame, steps: int) -> Figure:
    """Accuracy over the radius of the ball, a panel an architecture, under PGD, FGSM and noise; seeds as a band.

    table: `02_attacks`; steps: of the PGD that is drawn.
    """
    drawn = {"pgd": "-", "fgsm": ":", "noise": (0, (1, 3))}
    clean, standard = table[table["attack"] == "none"], _plain_pgd(table, steps)
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(1, len(archs), 4.8 * len(archs) + 1.2, 4.2, sharey=True)
    for axis, arch in zip(axes, archs, strict=True):
        for setting, color in COLORS.items():
            for attack, line in drawn.items():
                rows = pd.concat([clean, standard[standard["attack"] == attack]])
                rows = rows[(rows["arch"] == arch) & (rows["setting"] == setting)]
                rows = rows.assign(levels=rows["eps"] * 255)
                _band(axis, rows, "levels", color, ls=line, marker="o" if attack == "pgd" else "")
        axis.set_title(ARCH_NAMES[arch])
        axis.set_xlabel("radius eps of the L-infinity ball [1/255]")
        axis.set_ylim(-2, 102)
    axes[0].set_ylabel("top-1 accuracy [%]")
    handles = [Line2D([], [], color=COLORS[s], label=s.upper()) for s in ("std", "adv")]
    names = {"pgd": "PGD", "fgsm": "FGSM", "noise": "random noise"}
    handles += [
        Line2D([], [], color="#444444", ls=line, marker="o" if attack == "pgd" else "", ms=5, label=names[attack])
        for attack, line in drawn.items()
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def attack_comparison(table: pd.DataFrame, eps: float, steps: int) -> Figure:
    """Accuracy under each attack at the study's radius, one point a model, weakest attack first.

    table: `02_attacks`; eps, steps: the radius and the steps at which noise, FGSM and PGD are taken from the curves.
    """
    table = _plain_pgd(table, steps)
    table = table[_at(table, eps) | (table["attack"] == "none") | (table["norm"] == "l2")]
    order = table.groupby("attack")["top1"].mean().sort_values(ascending=False, kind="stable").index
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(1, len(archs), 4.8 * len(archs) + 1.8, 0.42 * len(order) + 1.6, sharey=True)
    places = {attack: place for place, attack in enumerate(reversed(order))}
    for axis, arch in zip(axes, archs, strict=True):
        for setting, rows in table[table["arch"] == arch].groupby("setting"):
            axis.scatter(rows["top1"], rows["attack"].map(places), color=COLORS[setting], s=45, alpha=0.8,
                         label=setting.upper())  # fmt: skip
        axis.set_title(ARCH_NAMES[arch])
        axis.set_xlabel("top-1 accuracy [%]")
        axis.set_xlim(-3, 103)
        axis.set_yticks(list(places.values()), list(places))
    handles = [Line2D([], [], color=COLORS[s], marker="o", ls="", label=s.upper()) for s in ("std", "adv")]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def convergence(table: pd.DataFrame, eps: float, steps: int) -> Figure:
    """Is the attack converged? Accuracy under PGD over the gradients it may use, by more steps or by more restarts.

    A panel an architecture and setting, each on its own scale; a grey line is what the suite of attacks leaves.
    table: `02_attacks`; eps: the study's radius; steps: those of each restart.
    """
    table = table[_at(table, eps)]
    archs = list(dict.fromkeys(table["arch"]))
    figure, axes = new_figure(len(archs), 2, 9.6, 2.9 * len(archs) + 0.9, sharex=True)
    panels = [(arch, setting) for arch in archs for setting in ("std", "adv")]
    for axis, (arch, setting) in zip(axes, panels, strict=True):
        rows = table[(table["arch"] == arch) & (table["setting"] == setting)]
        pgd = rows[rows["attack"] == "pgd"].assign(gradients=lambda r: r["steps"] * r["restarts"])
        ways = ((pgd["restarts"] == 1, "-", "o"), (pgd["steps"] == steps, ":", "s"))
        for chosen, line, marker in ways:
            _band(axis, pgd[chosen], "gradients", COLORS[setting], ls=line, marker=marker)
        suite = rows[rows["attack"].str.startswith("suite")].groupby("seed")["top1"].min()
        axis.axhspan(suite.min(), suite.max(), color="#999999", alpha=0.3, lw=0)
        axis.axhline(suite.mean(), color="#777777", lw=1.5, zorder=1)
        axis.set(title=f"{ARCH_NAMES[arch]} {setting.upper()}", xscale="log", ylabel="top-1 accuracy [%]")
        bottom, top = axis.get_ylim()
        axis.set_ylim(max(-1, min(bottom, suite.min() - 1)), max(top, bottom + 5))
        effort = sorted(pgd["gradients"].unique())
        axis.set_xticks(effort, [str(count) for count in effort])
        axis.minorticks_off()
    for axis in axes[-2:]:
        axis.set_xlabel("gradients an image: steps x restarts")
    handles = [
        Line2D([], [], color="#444444", marker="o", ms=5, label="more steps"),
        Line2D([], [], color="#444444", ls=":", marker="s", ms=5, label=f"more restarts of {steps} steps"),
        Line2D([], [], color="#777777", lw=1.5, label="suite of attacks"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def transfer_matrix(table: pd.DataFrame) -> Figure:
    """Accuracy of each kind of model (rows) on examples made against each kind (columns), mean over pairs of models.

    Only pairs of different models count; the last column is every model on the examples made against itself.
    table: `02_transfer`.
    """
    table = table.assign(
        source=[f"{ARCH_NAMES[r.arch]}\n{r.setting.upper()}" for r in table.itertuples()],
        target=[f"{ARCH_NAMES[r.target_arch]} {r.target_setting.upper()}" for r in table.itertuples()],
    )
    white = (
        (table["arch"] == table["target_arch"])
        & (table["setting"] == table["target_setting"])
        & (table["seed"] == table["target_seed"])
    )
    table = table.assign(source=table["source"].where(~white, "itself\n(white box)"))
    names = list(dict.fromkeys(table["source"]))
    order = [*(n for n in names if not n.startswith("itself")), "itself\n(white box)"]
    rows = list(dict.fromkeys(table["target"]))
    means = table.groupby(["target", "source"])["top1"].mean().unstack().reindex(index=rows, columns=order)
    figure, (axis,) = new_figure(1, 1, 1.6 * len(order) + 2.2, 0.7 * len(rows) + 1.8)
    sns.heatmap(means, annot=True, fmt=".0f", vmin=0, vmax=100, cmap="viridis", ax=axis, linewidths=1,
                annot_kws={"size": 12}, cbar_kws={"label": "top-1 accuracy [%]"})  # fmt: skip
    axis.set(xlabel="examples made against", ylabel="accuracy of")
    axis.grid(visible=False)
    axis.tick_params(axis="y", rotation=0)
    return figure


def radius_histogram(table: pd.DataFrame) -> Figure:
    """How far images are from an error: the share of images that PGD loses first at each L2 radius; mean over seeds.

    table: `02_radii`, whose first and last radius stand for "wrong as it is" and "never lost".
    """
    archs = list(dict.fromkeys(table["arch"]))
    radii = sorted(table["eps"].unique())
    figure, axes = new_figure(len(archs), 1, 9.5, 2.6 * len(archs) + 0.9, sharex=True)
    names = ["wrong\nas it is", *(f"{eps:.2g}" for eps in radii[1:-1]), "never\nlost"]
    for axis, arch in zip(axes, archs, strict=True):
        for setting, shift in (("std", -0.2), ("adv", 0.2)):
            rows = table[(table["arch"] == arch) & (table["setting"] == setting)]
            spread = rows.groupby("eps")["lost"].agg(["mean", "min", "max"]).loc[radii]
            places = [place + shift for place in range(len(radii))]
            error = [spread["mean"] - spread["min"], spread["max"] - spread["mean"]]
            axis.bar(places, spread["mean"], 0.4, color=COLORS[setting], label=setting.upper(), yerr=error,
                     error_kw={"elinewidth": 1, "ecolor": "#444444"})  # fmt: skip
        axis.set(title=ARCH_NAMES[arch], ylabel="images [%]", xticks=range(len(radii)), xticklabels=names)
        axis.grid(visible=False, axis="x")
    axes[-1].set_xlabel("L2 radius at which PGD first loses the image")
    axes[0].legend()
    return figure


def adversarial_examples(found: Mapping[str, Mapping[str, Tensor]], classes: Sequence[str], eps: float) -> Figure:
    """Columns: images of one draw. Rows: the original, then per model the perturbation, magnified, and the result.

    found: what `measurements.examples` returns, by the model's label ("STD", "ADV"), all of the same images.
    """
    first = next(iter(found.values()))
    count = len(first["labels"])
    rows = 1 + 2 * len(found)
    figure, axes = new_figure(rows, count, 1.75 * count + 0.6, 2.05 * rows)
    bare(axes)
    for column in range(count):
        picture(axes[column], first["images"][column], classes[first["labels"][column]], size=9, color=_INK)
    axes[0].set_ylabel("original")
    for place, (label, parts) in enumerate(found.items()):
        noise_row, image_row = axes[(1 + 2 * place) * count :], axes[(2 + 2 * place) * count :]
        noise_row[0].set_ylabel(f"perturbation\nagainst {label}")
        image_row[0].set_ylabel(f"what {label} sees")
        for column in range(count):
            noise = (parts["attacked"][column] - parts["images"][column]) / (2 * eps) + 0.5
            picture(noise_row[column], noise)
            fooled = parts["after"][column] != parts["labels"][column]
            text = f"{classes[parts['after'][column]]} {100 * parts['after_probability'][column]:.0f}%"
            picture(
                image_row[column], parts["attacked"][column], text, color="#B00020" if fooled else "#1B7F3B", size=9
            )
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


def bare(axes: Sequence[Axes], *, frame: bool = True) -> None:
    """Take ticks and grid from axes that show pictures, and the frame where it is not wanted."""
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=frame)
        axis.grid(visible=False)


def picture(axis: Axes, image: Tensor, title: str = "", *, size: float = 9.5, **style: object) -> None:
    """An image `(3, H, W)` in [0, 1], pixel by pixel, below a title of so many points and of a style, as `color`."""
    axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=size, fontweight="normal", **style)


def brightest(values: Tensor) -> Tensor:
    """Where a scale of signed values ends: at the 99.5th percentile of magnitudes, as a few are far above the others.

    Above 0 also where all are 0, so that it can be divided by.
    """
    magnitudes = values.abs().flatten()  # not `quantile`, which takes no more than 2**24 values
    return magnitudes.kthvalue(max(1, round(0.995 * len(magnitudes)))).values.clamp_min(1e-30)


def image_grid(images: Tensor, titles: Sequence[str], columns: int = 10) -> Figure:
    """Images `(N, 3, H, W)` in [0, 1], row by row, with a title each."""
    rows = ceil(len(images) / columns)
    figure, axes = new_figure(rows, columns, 1.45 * columns, 1.7 * rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        picture(axis, image, title, size=9, color=_INK)
    return figure


def _at(table: pd.DataFrame, eps: float) -> pd.Series:
    """Which rows are at this radius, as far as a decimal in a file can tell."""
    return (table["eps"] - eps).abs() < 1e-9


def _plain_pgd(table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The rows of every attack, but of PGD only those of so many steps and one restart."""
    return table[(table["attack"] != "pgd") | ((table["steps"] == steps) & (table["restarts"] == 1))]


def _band(axis: Axes, rows: pd.DataFrame, over: str, color: str, **line: object) -> None:
    """Mean accuracy over a column as a line, and its range as a band."""
    spread = rows.groupby(over)["top1"].agg(["mean", "min", "max"])
    axis.plot(spread.index, spread["mean"], color=color, ms=5, **line)
    axis.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.15, lw=0)
