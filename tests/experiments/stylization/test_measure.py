"""Notebook 05: variants of one set of images, known differences and shape biases, checks that can fail, figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import Linear, Recorder, image_set
from variant_rows import made_up

from advlook.corruptions.filters import reverse_colors
from advlook.data.image_sets import to_float
from advlook.experiments.stylization import figures as draw
from advlook.experiments.stylization import judged, measure, validity
from advlook.models.evaluation import top_k
from advlook.study.study import Study

SIDE, IMAGES, PARTIAL, CUES = 24, 14, 9, 16
EACH = [("resnet10", setting, seed) for setting in ("std", "adv") for seed in (0, 1)]


@pytest.fixture(scope="module")
def study(photographed):
    """A study of one architecture and two seeds whose models are linear ones, with images stylized in two steps."""
    study = photographed(styles=("generated",), images=IMAGES, partial_images=PARTIAL, cues=CUES)
    evaluation = dataclasses.replace(study.preset.evaluation, top_k=2)
    study.preset = dataclasses.replace(study.preset, archs=("resnet10",), evaluation=evaluation)
    study._models = {key: Linear(3, SIDE, seed=place).eval() for place, key in enumerate(EACH)}
    study.__dict__["test"] = image_set(20, SIDE)
    return study


def every_row(study, measurement):
    """The rows of every model, as `Study.rows` would hand them on."""
    names = ("arch", "setting", "seed")
    return pd.DataFrame([dict(zip(names, key, strict=True)) | row for key in EACH for row in measurement(study, key)])


@pytest.fixture(scope="module")
def rows(study):
    return every_row(study, measure.variant_rows)


@pytest.fixture(scope="module")
def decided(study):
    return every_row(study, measure.conflict_rows)


@pytest.fixture
def tables(study, rows, decided, monkeypatch):
    """All tables of the notebook as they come back from their files, with an untrained patch classifier."""
    found = {"05_variants": rows, "05_conflicts": decided}
    monkeypatch.setattr(study, "rows", lambda name, *_, **__: found[name])
    monkeypatch.setattr(validity, "patch_classifier", lambda study: study.model(*EACH[0]))
    measure.stylization_tables(study)
    measure.check_tables(study)
    names = ("stylization", "differences", "shape_bias", "checked", "checks")
    return {name: study.load_table(f"05_{name}") for name in names}


# Images ------------------------------------------------------------------------------------------------------------


def test_variants_show_the_same_images(study):
    """Strength 0 is the content; reversed twice it is again; strengths in between are the first ones of strength 1."""
    found = {key: measure.variant_images(study, *key) for key in measure.VARIANTS}
    standard = found["standard", 0.0]
    assert len(standard) == IMAGES
    negative = reverse_colors(to_float(standard.images))
    torch.testing.assert_close(to_float(found["reversed", 0.0].images), negative, rtol=0, atol=1e-6)
    assert torch.equal(found["stylized", 0.0].images, standard.images)
    for (_, strength), images in found.items():
        assert len(images) == (PARTIAL if 0 < strength < 1 else IMAGES)
        assert torch.equal(images.labels, standard.labels[: len(images)])
    changes = [
        (found["stylized", strength].images[:PARTIAL].float() - standard.images[:PARTIAL].float()).abs().mean()
        for strength in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert changes == sorted(set(changes))


def test_shown_images_are_those_of_the_sets(study):
    """Every column holds one image at all strengths, its style, and the name of its class."""
    (pictures, names), made = measure.shown(study, 3), measure.stylized(study)
    assert list(pictures) == ["content", "style", *(f"strength {s}" for s in ("0.25", "0.5", "0.75", "1"))]
    contents = to_float(made[1.0].contents.images)
    for place, name in enumerate(names):
        number = next(n for n in range(PARTIAL) if torch.equal(contents[n], pictures["content"][place]))
        assert torch.equal(pictures["strength 0.5"][place], to_float(made[0.5].images.images)[number])
        assert torch.equal(pictures["style"][place], to_float(made[1.0].pictures())[number])
        assert name == study.test.classes[made[1.0].contents.labels[number]]
    assert torch.equal(measure.shown(study, 3)[0]["strength 1"], pictures["strength 1"])


def test_shown_conflicts_name_shape_and_texture(study, monkeypatch):
    """Two different classes above each column, of what is shown below; what was drawn as one stands alone."""
    (pictures, names), conflict = measure.shown_conflicts(study, 4), measure.conflicts(study)
    assert list(pictures) == ["shape", "texture", "both in one"]
    every = to_float(conflict.images.images)
    for name, picture in zip(names, pictures["both in one"], strict=True):
        shape, texture = name.split(",\n")
        number = next(n for n in range(CUES) if torch.equal(every[n], picture))
        assert shape == conflict.images.classes[conflict.images.labels[number]]
        assert texture == conflict.images.classes[conflict.textures[number]]
        assert shape != texture
    alone = dataclasses.replace(conflict, contents=None, sources=None)
    monkeypatch.setattr(measure, "conflicts", lambda study: alone)
    assert list(measure.shown_conflicts(study, 4)[0]) == ["both in one"]


# Measurements ------------------------------------------------------------------------------------------------------


def test_rows_are_accuracies_on_each_variant(study, rows):
    """top1, top5, control and which images were right, against the model directly."""
    model = study.model("resnet10", "adv", 1)
    mine = rows[(rows["setting"] == "adv") & (rows["seed"] == 1)].set_index(["variant", "strength"])
    asked = {key: measure.variant_images(study, *key) for key in measure.VARIANTS}
    assert list(mine.index) == list(asked)
    control = model(to_float(asked["standard", 0.0].images)).detach()
    for key, images in asked.items():
        logits, row = model(to_float(images.images)).detach(), mine.loc[key]
        assert row["top1"] == pytest.approx(top_k(logits, images.labels))
        assert row["top5"] == pytest.approx(top_k(logits, images.labels, 2))
        assert row["control"] == pytest.approx(top_k(control[: len(images)], images.labels))
        np.testing.assert_array_equal(row["right"], (logits.argmax(1) == images.labels).numpy())
        np.testing.assert_array_equal(row["right_control"], (control[: len(images)].argmax(1) == images.labels).numpy())
    assert rows["top1"].nunique() > 3


def test_a_model_answers_once_about_images_as_they_are(study, monkeypatch):
    """Batches of 8: standard and strength 0 are one set, reversed and strength 1 two more, the others smaller ones."""
    recorder = Recorder(study.model(*EACH[0])).eval()
    monkeypatch.setitem(study._models, EACH[0], recorder)
    list(measure.variant_rows(study, EACH[0]))
    assert sum(recorder.sizes) == 3 * IMAGES + 3 * PARTIAL


@pytest.mark.parametrize("variant", measure.VARIANTS)
def test_a_variant_of_chosen_images_is_that_part_of_the_whole(study, rows, variant):
    """One variant of some of the images alone, the stylized ones made again: the same answers about these images."""
    key, chosen = EACH[2], torch.tensor([7, 0, 5])
    whole = rows[(rows["setting"] == key[1]) & (rows["seed"] == key[2])].set_index(["variant", "strength"]).loc[variant]
    for path in (study.data / "cache" / "stylized").rglob("*.npy"):
        path.unlink()
    (alone,) = measure.variant_rows(study, key, only=variant, chosen=chosen)
    assert alone["images"] == 3
    for answers in ("right", "right_control"):
        np.testing.assert_array_equal(alone[answers], whole[answers][chosen])
    made = measure.variant_images(study, *variant, chosen).images
    assert torch.equal(made, measure.variant_images(study, *variant).images[chosen])


def test_conflicts_are_decided_by_shape_or_texture(study, decided):
    """Each answer counts for the cue that it names, and no image for both."""
    conflict = measure.conflicts(study)
    for key, (_, row) in zip(EACH, decided.iterrows(), strict=True):
        answers = study.model(*key)(to_float(conflict.images.images)).argmax(1)
        np.testing.assert_array_equal(row["by_shape"], (answers == conflict.images.labels).numpy())
        np.testing.assert_array_equal(row["by_texture"], (answers == conflict.textures).numpy())
        assert not (row["by_shape"] & row["by_texture"]).any()
        (some,) = measure.conflict_rows(study, key, torch.tensor([9, 2]))
        np.testing.assert_array_equal(some["by_shape"], row["by_shape"][[9, 2]])
        np.testing.assert_array_equal(some["by_texture"], row["by_texture"][[9, 2]])


def test_conflicts_say_what_they_rest_on(study, decided):
    """The source of each, and whether the judge recognises their textures at this size."""
    for _, row in decided.iterrows():
        np.testing.assert_array_equal(row["source"], measure.conflicts(study).drawn)
        assert row["valid"]
        assert row["reason"] == ""


def test_a_set_without_conflicts_has_rows_of_none(study, tmp_path):
    """They come back from their file, with the reason; nothing follows from them."""
    data = dataclasses.replace(study.preset.data, name="other", size=32)
    other = Study(dataclasses.replace(study.preset, data=data), output=tmp_path, data=tmp_path, progress=False)
    other.__dict__["test"] = study.test
    rows = other.save_table("05_conflicts", every_row(other, measure.conflict_rows))
    again = other.load_table("05_conflicts")
    for table in (rows, again):
        assert set(table["images"]) == {0}
        assert set(table["reason"]) == {"images of 32 px carry too little texture"}
        assert not table["valid"].any()
        assert measure.shape_bias(table, measure.conflicts(other).images).empty
        assert measure.bias_differences(table).empty
    assert measure.sweep_tables(other).empty
    assert not (other.output / "tables" / "05_curves.csv").exists()
    assert len(measure.every_difference(made_up((80, 20), (60, 30)), again)) == 3


# Sweeps ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(study):
    """Answers by size of blocks and of pictures, and their curves."""
    blocks, sizes = (every_row(study, each) for each in (measure.block_rows, measure.size_rows))
    return blocks, sizes, measure.curves(study, blocks, sizes)


def test_pictures_of_the_own_size_are_the_conflicts(study, decided, swept):
    """The last of the sizes; a smaller one changes them."""
    _, sizes, _ = swept
    assert sizes["size"].tolist() == [16, SIDE] * len(EACH)
    for name in ("by_shape", "by_texture"):
        for own, row in zip(sizes[sizes["size"] == SIDE][name], decided[name], strict=True):
            np.testing.assert_array_equal(own, row)
    small, own = (np.stack(list(sizes[sizes["size"] == size]["by_texture"])) for size in (16, SIDE))
    assert not np.array_equal(small, own)


def test_blocks_are_asked_about_on_pictures_for_tuning(study, swept):
    """Every model about the same contents and sources at every size of blocks, none of them those of claims."""
    blocks, _, _ = swept
    assert blocks["block"].tolist() == [*judged.BLOCKS] * len(EACH)
    found = measure.of_blocks(study)
    one, other = found.values()
    assert torch.equal(one.drawn, other.drawn)
    assert not torch.equal(one.images.images, other.images.images)
    assert not set(one.drawn.tolist()) & set(measure.conflicts(study).drawn.tolist())
    answers = study.model(*EACH[1])(to_float(other.images.images)).argmax(1)
    row = blocks[(blocks["setting"] == "std") & (blocks["seed"] == 1) & (blocks["block"] == 20)].iloc[0]
    np.testing.assert_array_equal(row["by_shape"], (answers == other.images.labels).numpy())


@pytest.mark.parametrize(("measurement", "at"), [(measure.block_rows, 20), (measure.size_rows, 16)])
def test_a_sweep_of_chosen_images_is_that_part_of_it(study, swept, measurement, at):
    rows = swept[measurement is measure.size_rows]
    (alone,) = measurement(study, EACH[2], at, chosen=torch.tensor([4, 0]))
    whole = rows[(rows["setting"] == "adv") & (rows["seed"] == 0) & (rows.iloc[:, 3] == at)].iloc[0]
    for name in ("by_shape", "by_texture"):
        np.testing.assert_array_equal(alone[name], whole[name][[4, 0]])


def test_curves_are_shape_biases(study, decided, swept):
    """Of the models as in `05_shape_bias`; of the judge, who goes by colour, 0 everywhere."""
    curves = swept[2].set_index(["over", "at", "shown", "arch", "setting", "seed"])["shape_bias"]
    bias = measure.shape_bias(decided, measure.conflicts(study).images)
    for row in bias[bias["class"] == "all"].itertuples():
        assert curves["size", SIDE, SIDE, row.arch, row.setting, row.seed] == pytest.approx(row.shape_bias)
    judge = swept[2][swept[2]["arch"] == "judge"]
    assert (judge["shape_bias"] == 0).all()
    assert judge[judge["over"] == "size"]["at"].tolist() == list(judged.SIZES)
    assert judge[judge["over"] == "block"]["shown"].value_counts().to_dict() == {80: 2, SIDE: 2}
    of_claim = swept[2][swept[2]["of_claim"]].groupby("over")["at"].unique()
    assert of_claim["size"].tolist() == [SIDE]
    assert of_claim["block"].tolist() == judged.conflicts("little", "claim")["block"].unique().tolist()


# Tables ------------------------------------------------------------------------------------------------------------


def test_differences_of_all_seeds_and_of_each(rows):
    """The pooled difference is the mean of the seeds' own, which are those of the accuracies."""
    found = measure.differences(rows).set_index(["variant", "strength", "measure", "seed"])
    for key in (("reversed", 0.0), ("stylized", 0.5), ("stylized", 1.0)):
        chosen = rows[(rows["variant"] == key[0]) & (rows["strength"] == key[1])]
        top1, control = (chosen.pivot(index="seed", columns="setting", values=name) for name in ("top1", "control"))
        gains = top1["adv"] - top1["std"]
        for seed, gain in (("all", gains.mean()), ("0", gains[0]), ("1", gains[1])):
            row = found.loc[(*key, "accuracy", seed)]
            assert row["difference"] == pytest.approx(gain)
            assert row["low"] <= row["difference"] <= row["high"]
        before = (control["adv"] - control["std"]).mean()
        assert found.loc[(*key, "change", "all"), "difference"] == pytest.approx(gains.mean() - before)


def test_tables_have_the_columns_that_others_read(tables):
    """The contract of `05_stylization`, without what only the intervals need."""
    columns = ["arch", "setting", "seed", "variant", "strength", "top1", "top5", "images"]
    assert list(tables["stylization"])[:8] == columns
    assert not {"right", "right_control"} & set(tables["stylization"])
    assert len(tables["stylization"]) == 4 * 7
    assert len(tables["differences"]) == 7 * 3 * 3 + 3
    assert len(tables["shape_bias"]) == 3 * 2 * (1 + 3)
    assert len(tables["checked"]) == IMAGES


# Checks ------------------------------------------------------------------------------------------------------------


def test_the_judge_is_asked_about_the_network_alone(study):
    """Its table is about what the network makes."""
    assert measure.named_by_judge(study) is None
    config = dataclasses.replace(study.preset.stylization, engine="network")
    other = Study(dataclasses.replace(study.preset, stylization=config), output=study.output, data=study.data)
    named = measure.named_by_judge(other)
    assert named.shape == (12, 2)
    assert 0 < named[:, 1].sum() < named[:, 0].sum()


# Figures -----------------------------------------------------------------------------------------------------------


def test_shape_bias_of_many_classes_shows_the_largest(tables):
    """Of a thousand classes there is one row for all of them, and one for each of those with the most images."""
    bias, many = tables["shape_bias"], []
    for number in range(1000):
        one = bias[bias["class"] == bias["class"].iloc[-1]]
        many.append(one.assign(**{"class": f"class {number}", "images": 1 + number % 100}))
    figure = draw.shape_bias(pd.concat([bias[bias["class"] == "all"].assign(images=2000), *many], ignore_index=True))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(shown) == 25
    assert shown[-1] == "all classes"
    assert all(int(name.split()[1]) % 100 >= 97 for name in shown[:-1])
    assert figure.get_figheight() < 15


@pytest.mark.parametrize("over", ["block", "size"])
def test_curves_are_drawn_from_their_table(study, swept, over):
    """A line a setting and seed, the judge's, its limit, and what the claim rests on, as they come from the file."""
    study.save_table("05_curves", swept[2])
    table = study.load_table("05_curves")
    figure = draw.bias_curves(table, over)
    (axis,) = figure.axes
    lines = [(line.get_xdata(), line.get_ydata()) for line in axis.get_lines()]
    for setting, seed in (("std", "all"), ("adv", "all"), ("adv", "1"), ("judge", "all")):
        chosen = table[(table["over"] == over) & (table["setting"] == setting) & (table["seed"].astype(str) == seed)]
        for _, run in chosen.groupby("shown") if over == "block" else [(0, chosen)]:
            wanted = run["shape_bias"].to_numpy()
            assert any(len(y) == len(wanted) and np.allclose(y, wanted, equal_nan=True) for _, y in lines)
    of_claim = table.loc[(table["over"] == over) & table["of_claim"], "at"].iloc[0]
    assert any(set(x) == {of_claim} for x, _ in lines)
    assert any(set(y) == {judged.VALID} for _, y in lines)


def test_figures_are_drawn_from_the_tables(study, tables):
    """From the files alone; every panel is there, curves lie at the accuracies, and no text is below 9 points."""
    table, differing, bias = (tables[name] for name in ("stylization", "differences", "shape_bias"))
    figures = {
        draw.strength_curves(table, differing, 33.3): 2 * 2,
        draw.variant_differences(differing): 1,
        draw.shape_bias(bias): 2,
        draw.check_plots(tables["checked"], tables["checks"], 33.3): 3,
        draw.picture_grid(*measure.shown(study, 3)): 3 * 6,
        draw.picture_grid(*measure.shown_conflicts(study, 3)): 3 * 3,
    }
    for figure, count in figures.items():
        assert len(figure.axes) == count
        texts = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 9
    for figure, shown in zip(list(figures)[-2:], (measure.shown, measure.shown_conflicts), strict=True):
        assert [axis.get_title() for axis in figure.axes[:4]] == [
            *shown(study, 3)[1],
            "",
        ]  # classes, above the first row
    absolute, relative = next(iter(figures)).axes[:2]
    for setting in ("std", "adv"):
        chosen = table[(table["variant"] == "stylized") & (table["setting"] == setting)]
        kept = 100 * chosen["top1"] / chosen["control"]
        for axis, values in ((absolute, chosen["top1"]), (relative, kept)):
            expected = values.groupby(chosen["strength"]).mean().tolist()
            assert any(line.get_ydata().tolist() == pytest.approx(expected) for line in axis.get_lines())


def test_what_is_read_is_what_was_measured(tables):
    """Table 2 has the means at full strength; decisions add up."""
    table = tables["stylization"]
    read = draw.table_2(table)
    assert list(read) == ["standard", "reversed", "stylized"]
    chosen = table[(table["setting"] == "adv") & (table["variant"] == "stylized") & (table["strength"] == 1)]
    assert read.loc[("ResNet-10", "ADV", "top-5 [%]"), "stylized"].startswith(f"{chosen['top5'].mean():.1f} (")
    decided = draw.decisions(tables["shape_bias"])
    assert decided[["by shape", "by texture", "by neither"]].sum(axis=1).tolist() == pytest.approx([100, 100], abs=0.2)
