"""Sanity checks: the table of similarities, what it says, and its figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import image_set, small_preset, used_network

from advlook import sensitivity
from advlook.core.files import digest
from advlook.experiments.sanity_checks import figures, measure
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.sensitivity import randomisation
from advlook.sensitivity.edges import edges
from advlook.sensitivity.similarity import MEASURES, similarity
from advlook.study.study import Study
from advlook.study.style import select

# The table ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two architectures and two seeds, "trained" by moving their parameters, on images of 16 pixels."""
    folder = tmp_path_factory.mktemp("sanity")
    preset = small_preset(data={"classes": 5})
    visualize = dataclasses.replace(preset.visualize, sanity_images=5, samples=2)
    object.__setattr__(preset, "visualize", visualize)
    study = Study(preset, output=folder, data=folder, progress=False)
    study.__dict__["test"] = image_set(20, 16, classes=5)
    for number, (arch, setting, seed) in enumerate(study.each_model()):
        path = folder / "models" / "small" / f"{arch}-{setting}-seed{seed}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        key = digest(preset.training_key(arch, setting, seed))
        model = preset_model(preset, arch, seed)
        model.load_state_dict(used_network(arch, seed=50 + number).state_dict())
        save_checkpoint(path, model, {"digest": key})
    return study


@pytest.fixture(scope="module")
def table(study):
    """The table of all methods, and of one that ignores the parameters: the image's edges."""

    def image_edges(model, images, labels):
        return edges(images)[:, None].expand_as(images).clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sensitivity.METHODS, "image_edges", image_edges)
        return measure.sanity_table(study)


def test_the_table_has_every_comparison_once(study, table):
    """Contract columns, then the images; all pairs, controls and stages, a row each; the files hold the same."""
    assert list(table) == ["arch", "method", "model_a", "model_b", "measure", "value", "images", "by_image"]
    assert not table.duplicated(["arch", "method", "model_a", "model_b", "measure"]).any()
    for arch, stages in (("resnet10", 6), ("alexnet_bn", 8)):
        rows = table[table["arch"] == arch]
        pairs = set(zip(rows["model_a"], rows["model_b"], strict=True))
        kinds = [("random", "std"), ("random", "adv"), ("std", "adv")]
        expected = {(f"{a}-{1 - seed}", f"{b}-{seed}") for a, b in kinds for seed in study.preset.seeds}
        expected |= {(f"{kind}-0", f"{kind}-1") for kind in measure.KINDS}
        names = randomisation.stages(study.model(arch, "std", 0))
        assert len(names) == stages
        expected |= {(f"{kind}-0", f"{kind}-0 {stage} up") for kind in ("std", "adv") for stage in names}
        assert pairs == expected
        assert len(rows) == len(expected) * 6 * len(MEASURES)
    values = np.stack(list(table["by_image"]))
    assert values.shape == (len(table), 5)
    assert np.nanmax(np.abs(values)) <= 1
    np.testing.assert_array_equal(values, values.round(4))
    np.testing.assert_allclose(table["value"], np.nanmean(values, axis=1), atol=1e-9)
    saved = study.load_table("07_sanity")
    np.testing.assert_array_equal(np.stack(list(saved["by_image"])), values)
    pd.testing.assert_frame_equal(saved.drop(columns="by_image"), table.drop(columns="by_image"), check_dtype=False)


def test_a_method_that_ignores_parameters_is_found_out(table):
    """Edges of the image are the same on every model: similarity 1 all the way, and no effect of training."""
    of_edges = table[table["method"] == "image_edges"]
    assert (of_edges["value"] == 1).all()
    assert (measure.effects(of_edges)[["effect", "low", "high"]] == 0).all(axis=None)
    rest = table[table["method"] != "image_edges"]
    assert (rest["value"] == 1).mean() < 0.01


def test_rows_are_those_of_the_maps(study, table):
    """A pair and a stage, computed here from the maps themselves."""
    chosen = study.test.subset(5, seed=1)
    images, labels = next(chosen.batches(5))
    std = study.model("resnet10", "std", 0)
    fresh = [randomisation.randomised(std, ["layer4", "fc"], randomisation.FRESH_SEED + draw) for draw in (3, 0)]
    for other, method, own in (
        (study.model("resnet10", "adv", 1), "loss_gradient", slice(None)),
        (fresh[0], "guided_backprop", slice(3, 4)),
        (fresh[1], "guided_backprop", slice(4, 5)),  # there are four draws
    ):
        maps = [sensitivity.METHODS[method](model, images[own], labels[own]) for model in (std, other)]
        name = "adv-1" if method == "loss_gradient" else "std-0 layer4 up"
        rows = select(table, arch="resnet10", method=method, model_a="std-0", model_b=name)
        for measured, values in similarity(*maps).items():
            (stored,) = rows[rows["measure"] == measured]["by_image"]
            np.testing.assert_allclose(stored[own], values, atol=2e-4)


def test_one_comparison_is_measured_alone(study, table):
    """A pair by one method, and one fresh stage, are as in the table."""
    shown, methods = measure.shown_images(study), ["loss_gradient"]

    pair = ("resnet10", "random", 1), ("resnet10", "adv", 0)
    maps = [measure.maps_of(study, study.model(*key), shown, methods=methods) for key in pair]
    rows = list(measure.compare(*maps, *map(measure.name_of, pair)))
    cascade = measure.Cascade(study, ("resnet10", "adv", 0), methods)
    rows += measure.compare(cascade.original, cascade.fresh(cascade.order[:4]), "adv-0", "adv-0 layer2 up")
    assert cascade.order[3] == "layer2"
    assert len(rows) == 2 * len(MEASURES)
    for row in rows:
        keys = ("method", "model_a", "model_b", "measure")
        (stored,) = select(table, arch="resnet10", **{key: row[key] for key in keys})["by_image"]
        np.testing.assert_array_equal(row["by_image"], stored)


def test_cascades_are_shortened(study, monkeypatch):
    """The first twelve of the images, and at most ten samples of SmoothGrad and integrated gradients."""
    asked = []

    def by_name(method, model, images, labels, *, samples):
        asked.append((len(images), samples))
        return images

    preset = study.preset
    visualize = dataclasses.replace(preset.visualize, sanity_images=15, samples=50)
    monkeypatch.setattr(study, "preset", dataclasses.replace(preset, visualize=visualize))
    monkeypatch.setattr(measure, "by_name", by_name)
    cascade = measure.Cascade(study, ("resnet10", "std", 0), ["smooth_grad"])
    assert asked == [(3, 10)] * 4
    assert torch.equal(cascade.original["smooth_grad"], next(study.test.subset(15, seed=1).batches(12))[0])


def test_names_can_be_taken_apart(table):
    """Pairs and cascades, with the setting and stage of each."""
    rows = (
        measure.labelled(table)
        .drop_duplicates(["arch", "model_a", "model_b"])
        .set_index(["arch", "model_a", "model_b"])
    )
    wanted = {
        ("resnet10", "random-0", "adv-1"): ["random-adv", "adv", ""],
        ("resnet10", "std-0", "std-1"): ["std-std", "std", ""],
        ("resnet10", "adv-0", "adv-0 stem up"): ["up", "adv", "stem"],
        ("alexnet_bn", "std-0", "std-0 fc1 up"): ["up", "std", "fc1"],
    }
    for key, expected in wanted.items():
        assert list(rows.loc[key, ["comparison", "setting", "stage"]]) == expected


def test_one_seed_is_paired_within_itself(study):
    """Kinds of models are compared even where there is no control; nothing is compared with itself."""
    preset = dataclasses.replace(study.preset, seeds=(0,))
    alone = Study(preset, output=study.output, data=study.data, progress=False)
    partners = measure.partners(alone, ("resnet10", "adv", 0))
    assert partners == [("resnet10", "random", 0), ("resnet10", "std", 0)]
    assert not measure.partners(alone, ("resnet10", "random", 0))


def made_up(other_seed, untrained, images=20):
    """A table of one method in which the two similarities are known, up to noise that both share."""
    noise = np.random.default_rng(0).normal(0, 0.1, images)
    rows = []
    for a, b, value in [
        ("random-1", "std-0", untrained),
        ("std-0", "std-1", other_seed),
        ("std-0", "std-0 fc up", 0.9),
        ("std-0", "std-0 layer4 up", 0.5),
        ("std-0", "std-0 stem up", 0.2),
    ]:
        own = [np.random.default_rng([image, len(b)]).normal(0, 0.01) for image in range(images)]
        about = {"arch": "resnet10", "method": "guided_backprop", "model_a": a, "model_b": b, "measure": "spearman_abs"}
        rows.append(about | measure.by_image(value + noise + own))
    return pd.DataFrame(rows, columns=measure.COLUMNS)


@pytest.mark.parametrize("other_seed", [0.5, 0.1, 0.3])
def test_effects(other_seed):
    """The difference, image by image: noise that both share widens no interval."""
    table = made_up(other_seed, 0.3)
    effect = measure.effects(table).iloc[0]
    assert effect["effect"] == pytest.approx(other_seed - 0.3, abs=0.02)
    assert effect["low"] <= effect["effect"] <= effect["high"] < effect["low"] + 0.03
    read = figures.conclusions(table).loc[("resnet10", "std", "guided_backprop")]
    assert float(read["all stages fresh"].split()[0]) == pytest.approx(0.2, abs=0.07)
    assert float(read["untrained"].split()[0]) == pytest.approx(0.3, abs=0.07)
    assert float(read["difference"].split()[0]) == pytest.approx(other_seed - 0.3, abs=0.02)


def test_images_without_similarity_do_not_count():
    """An image whose map has no ranks on one of the models is left out of means and effects."""
    table = made_up(0.5, 0.3)
    table.loc[0, "by_image"][:5] = np.nan
    assert measure.means(table.iloc[:1], ["arch"])["images"].item() == 15
    assert measure.effects(table)["effect"].item() == pytest.approx(0.2, abs=0.02)
    assert measure.by_image(np.array([np.nan, 0.25, 0.75]))["value"] == 0.5


def test_without_a_second_seed_there_is_no_effect():
    """The control is missing, and the tables say so."""
    table = made_up(0.5, 0.3)
    table = table[table["model_b"] != "std-1"]
    assert measure.effects(table)["effect"].isna().all()
    read = figures.conclusions(table).iloc[0]
    assert (read["other seed"], read["difference"]) == ("-", "-")
    assert read["untrained"] != "-"


def test_half_of_the_fall():
    """From 1 to 0.2 half is 0.6, which layer4 is the first to pass; what does not fall has no such stage."""
    table = made_up(0.5, 0.3)
    assert measure.half_fallen(table).loc["guided_backprop"].tolist() == ["layer4"]
    table["by_image"] = [np.ones(20)] * len(table)
    assert measure.half_fallen(table).loc["guided_backprop"].tolist() == ["-"]


# Figures -----------------------------------------------------------------------------------------------------------


def test_figures_are_drawn_from_table_and_maps(study, table):
    """All four have their panels, and no text smaller than 9 points."""
    shown = measure.shown_images(study, 2)
    assert torch.equal(shown.images, study.test.subset(5, seed=1).images[:2])
    found = {kind: measure.maps_of(study, study.model("resnet10", kind, 0), shown) for kind in measure.KINDS}
    methods = ["guided_backprop", "vanilla_gradient"]
    cascade = {s: measure.cascade_maps(study, study.model("resnet10", s, 0), shown, methods) for s in ("std", "adv")}
    panels = {
        figures.maps_by_kind(shown, found): 2 * 3 * 6,
        figures.similarities(table): 6 * 2,
        figures.over_stages(table): 2 * 2 * 2,
        figures.cascade_pictures(shown, cascade): 2 * 2 * 2 * (1 + 1 + 6),
    }
    for figure, count in panels.items():
        assert len(figure.axes) == count
        texts = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 9


def test_a_cascade_of_pictures_starts_trained_and_ends_fresh(study):
    """Its first maps are those of the model, its last those of a network without any of its parameters."""
    model, shown, methods = (study.model("alexnet_bn", "std", 0), measure.shown_images(study, 3), ["vanilla_gradient"])
    found = measure.cascade_maps(study, model, shown, methods)
    assert list(found) == ["as trained", "fc3", "fc2", "fc1", "conv5", "conv4", "conv3", "conv2", "conv1"]
    ended = randomisation.randomised(model, randomisation.stages(model))
    for name, expected in (("as trained", model), ("conv1", ended)):
        maps = measure.maps_of(study, expected, shown, methods=methods)
        torch.testing.assert_close(found[name]["vanilla_gradient"], maps["vanilla_gradient"])
