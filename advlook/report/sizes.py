"""Accuracy under Gaussian blur on all photographs of the study, and by published figures at 224 px: one figure.

`python -m advlook.report.sizes` reads `04_corruptions` of PRESETS and data/published, and writes
figures/blur_over_sizes.png and .csv."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from advlook.core.preset_files import load_preset
from advlook.experiments.claims.published import BLUR, CLEAN, STD, load_published
from advlook.report.committed import load, table_path
from advlook.study import style
from advlook.study.folders import ROOT

PRESETS = ("cifar10", "tiny-imagenet", "imagenette", "imagenette128")  # those without tables are left out
SWEPT = "04_corruptions"
ARCH = "resnet10"  # the architecture that all of them have
PATH = ROOT / "figures" / "blur_over_sizes.csv"
# Hendrycks and Dietterich (2019): the sigma [px] of ImageNet-C's Gaussian blur by severity, at 224 px.
SIGMAS = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 6.0}
PUBLISHED_SIZE, PUBLISHED_CLASSES = 224, 1000  # px
PUBLISHED_RADIUS = 4  # 255ths, as in the Imagenette presets
HALF = math.sqrt(math.log(2) / 2) / math.pi  # sigma times the frequency whose amplitude a Gaussian halves
_COLORS = {  # by size and number of classes
    (32, 10): "#E69F00",
    (32, 200): "#CC79A7",
    (64, 10): "#009E73",
    (128, 10): "#56B4E9",
    (PUBLISHED_SIZE, PUBLISHED_CLASSES): "#8C6BB1",
}
_NONE = 0.1875  # where no blur stands on a logarithmic axis of sigma


def blur_over_sizes() -> pd.DataFrame:
    """Columns: images, size [px], classes, setting, model (a training seed, or a radius), sigma [px], cycles (cycles
    per image of the frequency whose amplitude the blur halves; infinite without blur), top1 [%]."""
    parts = [_of_preset(name) for name in PRESETS if table_path(name, SWEPT).is_file()]
    table = pd.concat([*parts, _of_published()], ignore_index=True)
    table.insert(6, "cycles", HALF * table["size"] / table["sigma"])
    return table


def _of_preset(name: str) -> pd.DataFrame:
    rows = style.select(load(name, SWEPT), arch=ARCH, operation="blur")
    rows = rows.rename(columns={"level": "sigma", "seed": "model"})[["setting", "model", "sigma", "top1"]]
    preset = load_preset(name)
    title, _, _ = preset.title.partition(" at ")
    rows.insert(0, "images", title)
    rows.insert(1, "size", preset.data.size)
    rows.insert(2, "classes", preset.data.classes)
    return rows


def _of_published() -> pd.DataFrame:
    """ResNet-50s on ImageNet and ImageNet-C; ADV of radii from 1/255 on, as 0.5/255 hardly differs from STD."""
    published = load_published()
    models = {STD: ("std", 0.0)} | {
        model: ("adv", radius) for model, radius in published.radii().items() if radius >= 1
    }
    cells = {0.0: CLEAN} | {SIGMAS[int(cell[2])]: cell for cell in BLUR}
    rows = [
        ("ImageNet (published)", PUBLISHED_SIZE, PUBLISHED_CLASSES, *about, sigma, published.percent.loc[cell, model])
        for model, about in models.items()
        for sigma, cell in cells.items()
    ]
    return pd.DataFrame(rows, columns=["images", "size", "classes", "setting", "model", "sigma", "top1"])


def leads(table: pd.DataFrame) -> pd.DataFrame:
    """ADV - STD in points by size, classes, sigma and cycles: of the means over seeds; of published models at one
    radius."""
    means = compared(table).pivot_table("top1", ["size", "classes", "images", "sigma", "cycles"], "setting")
    return (means["adv"] - means["std"]).rename("lead").reset_index()


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose means are drawn: of published ADV models those of one radius."""
    return table[(table["size"] != PUBLISHED_SIZE) | table["model"].isin([0, PUBLISHED_RADIUS])]


def draw(table: pd.DataFrame) -> Figure:
    """Above, a panel for each set of images: accuracy of STD and ADV over sigma, a thin line a model. Below: ADV - STD
    of all of them, over sigma in pixels and over cycles per image. table: of `blur_over_sizes`."""
    figure, difference = style.new_figure(1, 1, 16, 8)[0], leads(table)
    figure.clear()
    shown = list(table.groupby(["size", "classes", "images"]))
    names = [f"{size} px, {classes:,} classes" for (size, classes, _), _ in shown]
    above = [name for name in names for _ in range(2)]
    axes = figure.subplot_mosaic([above, ["pixels"] * len(shown) + ["cycles"] * len(shown)], height_ratios=[1, 1.15])
    for name, ((*_, images), rows) in zip(names, shown, strict=True):
        _accuracies(axes[name], rows)
        axes[name].set_title(f"{images}\n{name}", fontsize=10.5)
    axes[names[0]].set_ylabel("top-1 accuracy [%]")
    for name, over, label in (
        ("pixels", "sigma", "sigma of the blur [px]"),
        ("cycles", "cycles", "cycles per image at which the blur halves amplitudes"),
    ):
        _leads(axes[name], difference, over, label)
    axes["pixels"].set_ylabel("ADV - STD [points]")
    handles = [*style.setting_handles(lw=2), style.handle("single models", style.LIGHT, lw=1)]
    for name, ((size, classes, _), _) in zip(names, shown, strict=True):
        handles.append(style.handle(name, _COLORS[size, classes], marker="o", ms=4))
    style.legend(figure, handles)
    return figure


def _accuracies(axis: Axes, rows: pd.DataFrame) -> None:
    for setting, of_setting in rows.groupby("setting"):
        for _, run in of_setting.groupby("model"):
            axis.plot(run["sigma"], run["top1"], color=style.COLORS[setting], lw=0.8, alpha=0.45)
        means = compared(of_setting).groupby("sigma")["top1"].mean()
        axis.plot(means.index, means, "o-", color=style.COLORS[setting], ms=4)
    axis.axhline(100 / rows["classes"].iloc[0], color=style.GREY, lw=1, ls=":")
    axis.set(ylim=(0, 100), xlim=(0, None), xlabel="sigma [px]")


def _leads(axis: Axes, rows: pd.DataFrame, over: str, label: str) -> None:
    axis.axhline(0, color=style.GREY, lw=1)
    axis.set_xscale("log", base=2)
    for key, of_size in rows.groupby(["size", "classes"]):
        blurred = of_size[of_size["sigma"] > 0].sort_values(over)
        axis.plot(blurred[over], blurred["lead"], "o-", color=_COLORS[key], ms=4)
        if over == "sigma":  # no blur has no place among cycles per image
            axis.plot(_NONE, of_size.loc[of_size["sigma"] == 0, "lead"], "o", color=_COLORS[key], mfc="none")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16] if over == "sigma" else [1, 2, 4, 8, 16, 32, 64]
    names = [f"{tick:g}" for tick in ticks]
    if over == "sigma":
        ticks, names = [_NONE, *ticks], ["none", *names]
    axis.set_xticks(ticks, names)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(label)


def main() -> None:
    """Write the table and the figure."""
    table = blur_over_sizes()
    table.round(4).to_csv(PATH, index=False)
    draw(table).savefig(PATH.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
