"""The plots of notebook 02."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from advlook.core.names import ARCH_NAMES
from advlook.study.style import _INK, COLORS, bare, new_figure, picture


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
            axis.scatter(
                rows["top1"], rows["attack"].map(places), color=COLORS[setting], s=45, alpha=0.8, label=setting.upper()
            )
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
    sns.heatmap(
        means,
        annot=True,
        fmt=".0f",
        vmin=0,
        vmax=100,
        cmap="viridis",
        ax=axis,
        linewidths=1,
        annot_kws={"size": 12},
        cbar_kws={"label": "top-1 accuracy [%]"},
    )
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
            axis.bar(
                places,
                spread["mean"],
                0.4,
                color=COLORS[setting],
                label=setting.upper(),
                yerr=error,
                error_kw={"elinewidth": 1, "ecolor": "#444444"},
            )
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
