"""Notebook 04: sweeps against the operations themselves, differences and crossings with known answers, figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import Linear, Recorder, image_set, random_images, small_preset

from advlook.corruptions import severities
from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors
from advlook.data.image_sets import to_float
from advlook.experiments.corruptions import figures as draw
from advlook.experiments.corruptions import measure
from advlook.models.evaluation import top_k
from advlook.stats.paired import right_of
from advlook.study.study import Study

SIDE, IMAGES = 16, 30
CONFIG = {
    "images": 20,
    "sigmas": (0.5, 2.0),
    "blur_kernel": 7,
    "passes": (1, 3, 4),
    "median_kernels": (3, 5),
    "family_images": 12,
    "pairs": 4,
    "controls": 2,
    "masked": 4,
}
EACH = [("resnet10", setting, seed) for setting in ("std", "adv") for seed in (0, 1)]


@pytest.fixture
def study(tmp_path):
    """A study of one architecture and two seeds whose models are linear ones."""
    preset = dataclasses.replace(
        small_preset(corruptions=CONFIG, evaluation={"batch_size": 8, "top_k": 2}), archs=("resnet10",)
    )
    study = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    study._models = {key: Linear(3, SIDE, seed=place).eval() for place, key in enumerate(EACH)}
    study.__dict__["test"] = image_set(IMAGES, SIDE)
    return study


@pytest.fixture
def rows(study):
    """The rows of every model, as `Study.rows` would hand them on."""
    found = []
    for key in EACH:
        who = dict(zip(("arch", "setting", "seed"), key, strict=True))
        found += [who | dict(row) for row in measure.sweep_rows(study, key)]
    return pd.DataFrame(found)


def made_up(std, adv, levels=(0.0, 1.0, 2.0, 3.0), images=400, seed=0):
    """Rows of one blur in which STD and ADV are right about these shares of the images."""
    rng, found = np.random.default_rng(seed), []
    for setting, shares in (("std", std), ("adv", adv)):
        hard = rng.random(images)
        for level, share in zip(levels, shares, strict=True):
            right = hard < np.quantile(hard, share)
            found.append(("resnet10", setting, 0, "blur", level, 100 * share, 100.0, images, right))
    return pd.DataFrame(found, columns=[*measure.COLUMNS, "right"])


# Sweeps ------------------------------------------------------------------------------------------------------------


def test_sweeps_are_the_operations(study):
    """Every level is what the operation gives by itself; cumulative passes end where passes at once do."""
    images, config = random_images(3, SIDE), study.preset.corruptions
    found = {name: dict(sweep) for name, sweep in measure.sweeps(images, config).items()}
    assert list(found) == ["blur", "blur 3x3", "median", "median 5x5", "reversal"]
    assert list(found["blur"]) == [0.0, 0.5, 2.0]
    assert list(found["median"]) == [0, 1, 3, 4]
    for levels in found.values():
        assert next(iter(levels.values())) is images
    torch.testing.assert_close(found["blur"][2.0], gaussian_blur(images, 2.0, 7))
    torch.testing.assert_close(found["median"][4], median_filter(images, 4))
    torch.testing.assert_close(found["median 5x5"][3], median_filter(images, 3, 5))
    torch.testing.assert_close(found["reversal"][1.0], reverse_colors(images))


def test_rows_are_accuracies_of_the_chosen_images(study, rows):
    """top1, top5 and which images were right, at every level, against the model and the operation directly."""
    chosen = measure.swept_images(study)
    assert len(chosen) == 20
    images, model = to_float(chosen.images), study.model("resnet10", "adv", 1)
    expected = {
        ("blur", 0.0): images,
        ("blur", 2.0): gaussian_blur(images, 2.0, 7),
        ("blur 3x3", 2.0): gaussian_blur(images, 2.0, 3),
        ("median", 3.0): median_filter(images, 3),
        ("reversal", 1.0): reverse_colors(images),
    }
    mine = rows[(rows["setting"] == "adv") & (rows["seed"] == 1)].set_index(["operation", "level"])
    assert len(mine) == 3 + 3 + 4 + 4 + 2
    for key, changed in expected.items():
        logits = model(changed).detach()
        assert mine.loc[key, "top1"] == pytest.approx(top_k(logits, chosen.labels))
        assert mine.loc[key, "top5"] == pytest.approx(top_k(logits, chosen.labels, 2))
        right = right_of(mine.loc[[key]])
        np.testing.assert_array_equal(right[0], (logits.argmax(1) == chosen.labels).numpy())
    assert rows["top1"].nunique() > 3


def test_a_model_answers_once_about_images_as_they_are(study):
    """A batch passes the model once for all levels 0, and once for every other level."""
    key = EACH[0]
    study._models[key] = recorder = Recorder(study.model(*key)).eval()
    list(measure.sweep_rows(study, key))
    assert len(recorder.sizes) == 3 * (1 + 2 + 2 + 3 + 3 + 1)  # 20 images in batches of 8


@pytest.mark.parametrize("operation", ["blur", "median 5x5", "reversal"])
def test_a_sweep_of_chosen_images_is_that_part_of_the_whole(study, rows, operation):
    """One operation on some of the images alone: the same levels, and the same answers about these images."""
    key, chosen = EACH[3], torch.tensor([11, 3, 17])
    whole = rows[(rows["setting"] == key[1]) & (rows["seed"] == key[2]) & (rows["operation"] == operation)]
    alone = pd.DataFrame(measure.sweep_rows(study, key, only=operation, chosen=chosen))
    assert alone["level"].tolist() == whole["level"].tolist()
    np.testing.assert_array_equal(right_of(alone), right_of(whole)[:, chosen])
    assert set(alone["images"]) == {3}


@pytest.mark.parametrize("title", severities.FAMILIES)
def test_a_corruption_alone_is_that_part_of_the_whole(study, title):
    """Other corruptions draw nothing that would change it."""
    whole = pd.DataFrame(measure.family_rows(study, EACH[0]))
    alone = pd.DataFrame(measure.family_rows(study, EACH[0], only=title))
    pd.testing.assert_frame_equal(alone, whole[whole["corruption"] == title].reset_index(drop=True))


def test_tables_are_saved_without_what_only_intervals_need(study, monkeypatch, rows):
    """The three tables, with the columns that others read."""
    monkeypatch.setattr(study, "rows", lambda name, measurement: rows)
    table, differing, crossing = measure.corruption_tables(study)
    assert list(table) == ["arch", "setting", "seed", "operation", "level", "top1", "top5", "images"]
    assert study.load_table("04_corruptions")["top1"].tolist() == pytest.approx(table["top1"].tolist())
    assert len(study.load_table("04_differences")) == len(differing) == 3 * 2 * (3 + 3 + 4 + 4 + 2)
    assert len(study.load_table("04_crossings")) == len(crossing) == 3 * 4
    kept, again = (study.load_table(f"04_{name}") for name in ("differences", "crossings"))
    assert len(draw.fall(study.load_table("04_corruptions"), kept[kept["measure"] == "accuracy"], again).axes) == 2 * 4
    pd.testing.assert_frame_equal(draw.overtaking(again), draw.overtaking(crossing))


# Differences and crossings -----------------------------------------------------------------------------------------


def test_differences_of_all_seeds_and_of_each(rows):
    """The pooled difference is the mean of the seeds' own, which are those of the accuracies; intervals hold them."""
    found = measure.differences(rows).set_index(["operation", "level", "seed", "measure"])
    for operation, level in (("blur", 2.0), ("reversal", 1.0)):
        chosen = rows[(rows["operation"] == operation) & (rows["level"] == level)]
        top1 = chosen.pivot(index="seed", columns="setting", values="top1")
        gains = top1["adv"] - top1["std"]
        for seed, gain in (("all", gains.mean()), ("0", gains[0]), ("1", gains[1])):
            row = found.loc[(operation, level, seed, "accuracy")]
            assert row["difference"] == pytest.approx(gain)
            assert row["low"] <= gain <= row["high"]
    clean = found.xs((0.0, "relative"), level=("level", "measure"))
    assert (clean[["difference", "low", "high"]].fillna(0) == 0).all().all()


def test_relative_differences_start_where_each_model_does():
    """Half of 80% and half of 40% are the same share, though 20 points apart."""
    rows = made_up((0.8, 0.4, 0.4, 0.2), (0.4, 0.2, 0.4, 0.2))
    found = measure.differences(rows)
    relative = found[found["measure"] == "relative"]["difference"]
    assert relative.tolist() == pytest.approx([0, 0, 50, 25], abs=0.5)
    absolute = found[found["measure"] == "accuracy"]["difference"]
    assert absolute.tolist() == pytest.approx([-40, -20, 0, 0], abs=0.5)
    table = measure.relative(rows)
    assert table["top1"].tolist() == pytest.approx([100, 50, 50, 25, 100, 50, 100, 50])
    assert (table["top5"] == 100).all()


def test_the_crossing_lies_between_two_levels():
    """From -10 points at level 1 to +30 at level 2 the difference is 0 after a quarter of the way."""
    found = measure.crossings(made_up((0.9, 0.7, 0.3, 0.3), (0.8, 0.6, 0.6, 0.5))).iloc[0]
    assert found["level"] == pytest.approx(1.25, abs=0.02)
    assert 1 < found["low"] < 1.25 < found["high"] < 1.5
    assert found["seed"] == "all"


def test_without_a_crossing_there_is_none():
    """Where STD stays far ahead both ends are infinite; where the last level is a tie, the upper end alone."""
    never = measure.crossings(made_up((0.9, 0.8, 0.7, 0.6), (0.6, 0.5, 0.4, 0.3))).iloc[0]
    assert np.isinf(never[["level", "low", "high"]].astype(float)).all()
    perhaps = measure.crossings(made_up((0.9, 0.8, 0.7, 0.5), (0.6, 0.5, 0.4, 0.5))).iloc[0]
    assert np.isfinite(perhaps["low"])
    assert np.isinf(perhaps["high"])


# Families ----------------------------------------------------------------------------------------------------------


def test_family_rows_are_of_the_first_images(study):
    """Six rows a corruption; severity 0 is the clean accuracy; all models meet the same noise."""
    rows = pd.DataFrame(measure.family_rows(study, EACH[0]))
    chosen = measure.swept_images(study)[:12]
    assert len(rows) == 6 * len(severities.FAMILIES)
    assert set(rows["family"]) == {"noise", "blur", "weather", "digital"}
    clean = top_k(study.model(*EACH[0])(to_float(chosen.images)).detach(), chosen.labels)
    assert (rows[rows["severity"] == 0]["top1"] - clean).abs().max() < 1e-9
    assert set(rows["images"]) == {12}
    pd.testing.assert_frame_equal(rows, pd.DataFrame(measure.family_rows(study, EACH[0])))


@pytest.mark.parametrize("images", [0, 20, 300])
def test_the_first_images_are_of_every_class(study, images):
    """Photographs lie class by class; the first ones of a draw do not, however many are asked for."""
    study.__dict__["test"] = dataclasses.replace(study.test, labels=torch.arange(IMAGES) * 3 // IMAGES)
    study.preset = dataclasses.replace(
        study.preset, corruptions=dataclasses.replace(study.preset.corruptions, images=images)
    )
    assert len(set(measure.swept_images(study, 12).labels.tolist())) == 3


# Figures -----------------------------------------------------------------------------------------------------------


def test_figures_are_drawn_from_the_tables(study, rows):
    """Every panel is there, curves lie at the accuracies, and no text is smaller than 9 points."""
    table, differing = rows[measure.COLUMNS], measure.differences(rows)
    crossing = measure.crossings(rows)
    accuracy = differing[differing["measure"] == "accuracy"]
    every = [
        dict(zip(("arch", "setting", "seed"), key, strict=True)) | dict(row)
        for key in EACH
        for row in measure.family_rows(study, key)
    ]
    panels = {
        draw.fall(table, accuracy, crossing, chance=33.3): 2 * 4,
        draw.fall(measure.relative(table)): 4,
        draw.family_curves(pd.DataFrame(every)): 6,
        draw.example_grid(measure.shown(study, 2)): 2 * 5 * 4,
        draw.example_grid(measure.shown_families(study)): 6 * 6,
    }
    for figure, count in panels.items():
        assert len(figure.axes) == count
        texts = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 9
    blur = next(iter(panels)).axes[0]
    drawn = {tuple(line.get_ydata()) for line in blur.get_lines()}
    for setting in ("std", "adv"):
        chosen = table[(table["operation"] == "blur") & (table["setting"] == setting)]
        assert tuple(chosen.groupby("level")["top1"].mean()) in drawn


def test_models_that_are_never_right_can_be_drawn():
    """As after a first epoch on a thousand classes: of no accuracy nothing can be kept, and the panels stay empty."""
    rows = made_up((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
    differing = measure.differences(rows)
    kept = differing[differing["measure"] == "relative"]
    assert kept["difference"].isna().all()
    figure = draw.fall(measure.relative(rows[measure.COLUMNS]), kept)
    figure.canvas.draw()
    assert all(np.isfinite(axis.get_ylim()).all() for axis in figure.axes)


def test_what_is_read_is_what_was_measured(rows):
    """The table of crossings names levels, intervals and what never happens; that of colours the accuracies."""
    rows = pd.concat([rows, made_up((0.9, 0.8, 0.7, 0.6), (0.6, 0.5, 0.4, 0.3)).assign(arch="alexnet_bn")])
    read = draw.overtaking(measure.crossings(rows))
    assert read.loc[("AlexNet (BN)", "blur"), "all seeds"] == "never"
    assert list(read) == ["all seeds", "seed 0", "seed 1"]
    colours = draw.reversed_colors(rows, measure.differences(rows))
    chosen = rows[(rows["operation"] == "reversal") & (rows["setting"] == "adv") & (rows["level"] == 1)]
    assert colours.loc[("ResNet-10", "reversed"), "ADV"] == pytest.approx(chosen["top1"].mean(), abs=0.06)
