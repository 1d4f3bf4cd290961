"""Drawing notebook 09: what changes with the radius, and where each control lies between STD and ADV."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from advlook.core import ARCH_NAMES, NAMES, SETTINGS, eps_label
from advlook.core.names import CONTROL, DOSE
from advlook.experiments.claims.published import CLEAN as PUBLISHED_CLEAN
from advlook.experiments.claims.published import LOW, STD, load_published
from advlook.experiments.controls.measure import OVERTAKES
from advlook.experiments.controls.rulers import CLEAN, HYBRIDS, LOW_PASSED, PGD, RULERS, UNITS, WEIGHTS
from advlook.study import style

PANELS = (CLEAN, PGD, HYBRIDS, "noise of one octave", LOW_PASSED, OVERTAKES, UNITS, WEIGHTS)
ELSEWHERE = {CLEAN: PUBLISHED_CLEAN, LOW_PASSED: LOW}  # what was published of ResNet-50s on ImageNet
_COLUMNS = 4
_FARTHEST = (-0.75, 2.25)  # positions that are drawn; beyond them an arrow stands at the edge
_MARKERS = "osD^vPX*"
_PALETTE = ("#E69F00", "#009E73", "#CC79A7", "#8C6BB1", "#56B4E9", "#A6761D", "#666666", "#1B7F3B")


def dose_response(models: pd.DataFrame, rulers: pd.DataFrame) -> Figure:
    """A panel a ruler: its value over the radius of training, a thin line a seed and a thick one their mean; where it
    was published, ImageNet's dashed beside it. models: `09_models`; rulers: `09_rulers`."""
    doses = models[models["kind"] == DOSE].sort_values("eps")
    eps = doses["eps"].tolist()
    rows = rulers.merge(doses[["setting", "eps"]], on="setting")
    count = -(-len(PANELS) // _COLUMNS)
    figure, axes = style.new_figure(count, _COLUMNS, 14.5, 3.3 * count + 0.8)
    for axis, name in zip(axes, PANELS, strict=False):
        of_ruler = rows[rows["ruler"] == name].assign(at=lambda table: [places(eps)[each] for each in table["eps"]])
        for arch, of_arch in of_ruler.groupby("arch", sort=False):
            _over_radius(axis, of_arch, *style.ARCH_STYLES[arch])
        if name in ELSEWHERE:
            _published(axis, name, eps)
        title, unit = titles(name)
        if name in RULERS and RULERS[name].octaves:
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_locator(LogLocator(base=2, subs=[2 ** (quarter / 4) for quarter in range(4)]))
            axis.yaxis.set_major_formatter("{x:.2g}")
        axis.set_title(title, fontsize=11)
        axis.set_ylabel(unit)
        axis.set_xticks(list(places(eps).values()), [eps_label(each).removesuffix("/255") for each in eps])
    for axis in axes[-_COLUMNS:]:
        axis.set_xlabel("radius in training [1/255]")
    style.legend(figure, _dose_handles(rows["arch"].unique()))
    return figure


def places(eps: Sequence[float]) -> dict[float, float]:
    """Radii on a logarithmic axis, with 0 a step to the left of the smallest."""
    positive = [each for each in eps if each > 0]
    return {each: float(np.log2(each / positive[0])) + 1 if each else 0.0 for each in eps}


def titles(name: str) -> tuple[str, str]:
    """What a ruler is called, and its unit."""
    return ("sigma of blur: ADV overtakes STD", "px") if name == OVERTAKES else (RULERS[name].title, RULERS[name].unit)


def _over_radius(axis: Axes, rows: pd.DataFrame, line: str, marker: str) -> None:
    finite = rows[np.isfinite(rows["value"])]
    for _, run in finite.sort_values("at").groupby("seed"):
        axis.plot(run["at"], run["value"], color=style.LIGHT, lw=1, zorder=1)
    means = finite.groupby("at")["value"].mean()
    colors = [style.COLORS["adv" if at else "std"] for at in means.index]
    axis.plot(means.index, means, line, color=style.INK, lw=1.5, zorder=2)
    axis.scatter(means.index, means, c=colors, marker=marker, s=42, zorder=3)


def _published(axis: Axes, name: str, eps: Sequence[float]) -> None:
    """The figures of data/published at the same radii, and at 0 of the STD with the recipe of the robust models."""
    published, at = load_published(), places(eps)
    radii = published.radii()
    value = published.percent.loc[ELSEWHERE[name]]
    shown = {0.0: value[STD]} | {radius / 255: value[model] for model, radius in radii.items()}
    pairs = [(at[mine], shown[theirs]) for mine in eps for theirs in shown if abs(mine - theirs) < 1e-6]
    axis.plot(*zip(*pairs, strict=True), "--", color=style.PURPLE, marker="d", ms=5, lw=1.5)


def _dose_handles(archs: Sequence[str]) -> list[object]:
    lines = {arch: style.ARCH_STYLES[arch] for arch in archs}
    handles = [
        style.handle(f"{ARCH_NAMES[arch]}, mean of seeds", style.INK, ls=line, marker=marker)
        for arch, (line, marker) in lines.items()
    ]
    ends = style.setting_handles(marker="o", ls="none")
    handles += [*ends, style.handle("single seeds", style.LIGHT, lw=1)]
    return [*handles, style.handle("ImageNet, ResNet-50, 224 px (published)", style.PURPLE, ls="--", marker="d", ms=5)]


def between(models: pd.DataFrame, positions: pd.DataFrame) -> Figure:
    """A line a ruler with STD at 0 and ADV at 1, and a dot a control and seed, or an arrow where it lies off the axis;
    pale where STD and ADV themselves do not lie clearly apart. A panel an architecture. positions: `09_positions`."""
    titles = models[models["kind"] == CONTROL].set_index("setting")["title"]
    rows = positions[positions["setting"].isin(titles.index)]
    names = list(dict.fromkeys(rows["ruler"]))
    looks = {
        setting: (_PALETTE[place % len(_PALETTE)], _MARKERS[place % len(_MARKERS)])
        for place, setting in enumerate(titles.index)
    }
    size = (0.36 * len(names) + 1.7, 7.2, 2.4)
    figure, panels = style.arch_columns(rows, size, ("position between STD and ADV", ""), sharey=True)
    for axis, of_arch in panels:
        for row in of_arch.itertuples():
            shift = 0.1 * (list(titles.index).index(row.setting) - (len(titles) - 1) / 2)
            at = float(np.clip(row.position, *_FARTHEST))
            color, marker = looks[row.setting]
            if at != row.position:
                marker = "<" if row.position < at else ">"
            alpha = 0.9 if row.apart else 0.25
            axis.plot(at, names.index(row.ruler) + shift, marker, color=color, ms=7, alpha=alpha, mew=0)
        for at, setting in enumerate(("std", "adv")):
            axis.axvline(at, color=style.COLORS[setting], lw=2, zorder=0)
            axis.text(at, -1.1, NAMES[setting], color=style.COLORS[setting], ha="center", fontweight="bold")
        axis.set_yticks(range(len(names)), [RULERS[name].title for name in names])
        axis.set(xlim=(_FARTHEST[0] - 0.1, _FARTHEST[1] + 0.1), ylim=(len(names) - 0.4, -2.0))
    handles = [
        style.handle(titles[setting], color, marker=marker, ls="none", ms=7)
        for setting, (color, marker) in looks.items()
    ]
    style.legend(figure, handles, ncols=3)
    return figure


def described(models: pd.DataFrame) -> pd.DataFrame:
    """To be read: what each control is."""
    table = models.assign(radius=[eps_label(each) for each in models["eps"]], like=models["like"].map(NAMES))
    return table[["title", "like", "radius", "kind"]].set_index("title")


def values(models: pd.DataFrame, rulers: pd.DataFrame) -> pd.DataFrame:
    """To be read: every ruler of every model, mean and range over seeds; a row a ruler."""
    titles = dict(zip(models["setting"], models["title"], strict=True))

    def text(column: pd.Series) -> str:
        if not np.isfinite(column).all():
            return "never" if not np.isfinite(column).any() else f"{column.min():.3g} to never"
        spread = f" ({column.min():.3g} to {column.max():.3g})" if len(column) > 1 else ""
        return f"{column.mean():.3g}{spread}"

    rows = rulers.assign(model=rulers["setting"].map(titles))
    table = rows.groupby(["arch", "ruler", "model"], sort=False)["value"].agg(text).unstack("model")
    order = [title for title in titles.values() if title in table]
    return table[order].rename(index=ARCH_NAMES).reindex([*RULERS, OVERTAKES], level="ruler")


def control_values(models: pd.DataFrame, rulers: pd.DataFrame, positions: pd.DataFrame) -> pd.DataFrame:
    """To be read: STD, every control and ADV on the first rulers, a row a model, mean and range over seeds; and its
    median position over the measures on which STD and ADV lie apart. Of a single architecture."""
    controls = models.loc[models["kind"] == CONTROL, "setting"]
    order = [SETTINGS[0], *controls, SETTINGS[1]]
    table = values(models, rulers[rulers["setting"].isin(order)]).droplevel("arch")
    shown = table.loc[[CLEAN, PGD, HYBRIDS, LOW_PASSED]].T
    shown.columns = ["{} [{}]".format(*titles(name)) for name in shown]
    apart = positions[positions["apart"]].groupby(["setting", "ruler"])["position"].mean()
    middle = apart.groupby("setting").median().map("{:.2f}".format)
    named = models.set_index("setting").loc[order, "title"]
    ends = dict(zip(SETTINGS, ("0", "1"), strict=True))
    places = [ends.get(setting) or middle[setting] for setting in order]
    return shown.loc[list(named)].assign(**{"median position": places}).rename_axis("model").reset_index()


def dose_values(models: pd.DataFrame, rulers: pd.DataFrame) -> pd.DataFrame:
    """To be read: the rulers of the figure over the radius; a row a ruler and architecture, a column a radius."""
    doses = models[models["kind"] == DOSE].sort_values("eps")
    table = values(doses, rulers[rulers["setting"].isin(doses["setting"])])
    table = table[table.index.get_level_values("ruler").isin(PANELS)].reset_index()
    named = ["{} [{}]".format(*titles(name)).removesuffix(" []") for name in table["ruler"]]
    table.insert(0, "by radius", named)
    radii = {row.title: "STD" if not row.eps else eps_label(row.eps) for row in doses.itertuples()}
    several = table["arch"].nunique() > 1
    return table.drop(columns=["ruler"] if several else ["ruler", "arch"]).rename(columns=radii).fillna("")
