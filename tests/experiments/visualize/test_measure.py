"""Notebook 03's measurements: their rows on made-up and on tiny models, and what is concluded from them."""

import dataclasses
import math
from functools import partial

import pandas as pd
import pytest
import torch
from helpers import snapshot

from advlook import sensitivity
from advlook.core.preset_files import load_preset
from advlook.experiments.defined import DEPTHS
from advlook.experiments.visualize import figures, measure
from advlook.sensitivity import frequency
from advlook.study.study import Study

KEYS = [("alexnet_bn", setting, seed) for setting in measure.KINDS for seed in (0, 1)]
KEY = KEYS[0]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The smoke preset with untrained models in every place: what is measured needs no training."""
    preset = load_preset("smoke")
    small = dataclasses.replace(preset.visualize, images=6, samples=2, units=3, steps=2, starts=1)
    preset = dataclasses.replace(preset, archs=("alexnet_bn",), visualize=small)
    made = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    model = made.model("alexnet_bn", "random", 0)
    monkeypatch.setattr(made, "model", lambda *key: model)
    return made


def grid_table(changed, setting="std", seed=0, side=5):
    """A `03_fourier` whose answers change as `changed(radius)` says, on `side` x `side` frequencies 0.1 apart."""
    places = [(k - side // 2) / 10 for k in range(side)]
    return pd.DataFrame(
        [
            {
                "arch": "alexnet_bn",
                "setting": setting,
                "seed": seed,
                "fy": fy,
                "fx": fx,
                "images": 10,
                "changed": changed(math.hypot(fy, fx)),
                "error": 50.0,
                "clean": 50.0,
                "eps": 1.0,
            }
            for fy in places
            for fx in places
        ]
    )


def scale_rows(measure, values, **about):
    """Rows of `03_scale` for alexnet_bn: values by setting, one a seed."""
    return pd.DataFrame(
        [
            {
                "arch": "alexnet_bn",
                "setting": setting,
                "seed": seed,
                "measure": measure,
                "value": value,
                "of": None,
                "at": math.nan,
            }
            | about
            for setting, each in values.items()
            for seed, value in enumerate(each)
        ]
    )


def test_curve_over_frequency_finds_the_only_ring_that_matters():
    """Answers that change at one radius alone give a curve that is zero elsewhere, and that radius as the half."""
    table = measure.along_frequency(grid_table(lambda radius: 80.0 if abs(radius - 0.2) < 1e-9 else 0.0))
    curve = table[table["measure"] == "answers_changed"].set_index("at")["value"]
    half = table[table["measure"] == "answers_half_frequency"]["value"].item()
    assert half == pytest.approx(0.2)
    # Rings are a step wide: the one at 0.2 also holds the points at hypot(0.1, 0.2) = 0.22.
    assert curve[0.1] == curve[0.0] == 0
    assert curve.idxmax() == pytest.approx(0.2)
    assert (table[table["measure"] == "answers_wrong"]["value"] == 50).all()


def test_every_map_has_its_measures(study):
    """Five maps, each with spectrum, median frequency, edges and energy; spectra have mean 1, shares sum to 100."""
    found = pd.DataFrame(list(measure.maps(study, KEY)))
    found = found[found["image"].isna()]
    for method in sensitivity.METHODS:
        rows = found[found["of"] == method]
        assert set(rows["measure"]) == {
            "map_spectrum",
            "map_median_frequency",
            "map_median_frequency_coarse",
            "map_edge_correlation",
            "map_energy_outline",
            "map_energy_inside",
            "map_energy_background",
        }
        assert rows[rows["measure"].str.startswith("map_energy")]["value"].sum() == pytest.approx(100)
        halves = rows.set_index("measure")["value"]
        assert halves["map_median_frequency_coarse"] <= min(measure.BELOW, halves["map_median_frequency"])
    side = study.preset.data.size
    radius = frequency.frequency_radius(side, side)
    rings, share = frequency.radial_mean(torch.ones(side, side), radius, 1 / side)
    counts = (radius * side).round().flatten().unique(return_counts=True)[1]
    spectrum = found[(found["of"] == "loss_gradient") & (found["measure"] == "map_spectrum")]["value"]
    assert len(spectrum) == len(rings) == len(share)
    assert (torch.tensor(spectrum.to_numpy()) * counts).sum().item() / side**2 == pytest.approx(1, rel=1e-4)


def test_maps_in_batches_are_those_of_all_images(study):
    """A batch of two changes no number: neither SmoothGrad's noise nor which silhouette belongs to which image."""
    whole = pd.DataFrame(list(measure.maps(study, KEY)))
    evaluation = dataclasses.replace(study.preset.evaluation, batch_size=4)
    study.preset = dataclasses.replace(study.preset, evaluation=evaluation)
    parts = pd.DataFrame(list(measure.maps(study, KEY)))
    for method in ("smooth_grad", "loss_gradient"):  # alone as among the others
        every, last = (measure.map_measures(study, KEY, method, batches) for batches in (None, [1]))
        for name, values in every.items():
            torch.testing.assert_close(last[name], values[4:], rtol=0, atol=0, equal_nan=True)
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-4, atol=1e-6)


def test_levels_of_maps(study):
    """Edges are smoothed by up to 4 pixels; the coarse median frequency leaves out what is finer than 0.25."""
    places = torch.arange(50)
    coarse, fine = (torch.cos(2 * math.pi * k / 50 * places).expand(1, 3, 50, 50) for k in (12, 13))
    found = measure._measures(0.1 * coarse + fine, torch.rand(1, 3, 50, 50), None)
    assert [at for name, at in found if name == "map_edge_correlation"] == [0, 1, 2, 4]
    assert found["map_median_frequency", None].item() == pytest.approx(0.26)
    assert found["map_median_frequency_coarse", None].item() == pytest.approx(0.24)


def test_thinned_grid_has_the_values_of_the_full_one(study):
    """Every second frequency alone is measured as among the others."""
    whole, thinned = (pd.DataFrame(list(measure.fourier(study, KEY, thinned))) for thinned in (1, 2))
    assert len(thinned) < len(whole) / 3
    assert len(thinned.merge(whole)) == len(thinned)


def test_single_images_have_the_mean_of_the_table(study):
    """What is kept of every image averages to the row of its map and measure."""
    found = pd.DataFrame(list(measure.maps(study, KEY)))
    alone, rows = found[found["image"].notna()], found[found["image"].isna()]
    assert alone.groupby("of").size().to_dict() == dict.fromkeys(sensitivity.METHODS, 6)
    for column, (name, at) in measure.BY_IMAGE.items():
        chosen = rows[(rows["measure"] == name) & (True if at is None else rows["at"] == at)].set_index("of")["value"]
        means = alone.groupby("of")[column].mean()
        assert (means - chosen[means.index]).abs().max() < 1e-4


def test_models_are_left_alone(study):
    """No measurement changes a model."""
    model = study.model()
    before = snapshot(model)
    for measurement in (measure.fourier, measure.maps, measure.filters, measure.units):
        assert list(measurement(study, KEY))
    assert snapshot(model) == before


def test_units_are_the_same_for_every_model(study):
    """Drawn by a seed: as many as the preset asks for, in range, and at most as many as the layer has."""
    model = study.model()
    layers = measure.depth_layers(study, model)
    assert len(layers) == 5
    assert layers == sorted(layers, key=lambda name: int(name.split(".")[-1]))
    for layer in layers:
        drawn = measure.drawn_units(study, model, layer)
        assert drawn == measure.drawn_units(study, model, layer)
        assert len(set(drawn)) == 3
        assert set(measure.drawn_units(study, model, layer, 2)) < set(drawn)
        assert max(drawn) < model.get_submodule(layer).out_channels
    rows = pd.DataFrame(list(measure.units(study, KEY)))
    one = measure.drawn_units(study, model, layers[2])[1]
    alone = pd.DataFrame(list(measure.unit_rows(study, KEY, layers[2], [one])))
    among = rows[(rows["of"] == layers[2]) & (rows["at"] == one)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among, rtol=1e-3)
    assert rows.groupby(["measure", "of"]).size().tolist() == [3] * 2 * len(layers)


def test_comparison_is_made_seed_by_seed():
    """Means are over all seeds, differences over those of which there is a STD and an ADV model, with their range."""
    values = {"random": (9, 9), "std": (5, math.nan, 4), "adv": (1, 2, 7)}
    low = measure.compared(scale_rows("answers_half_frequency", values)).iloc[0]
    assert (low["random"], low["std"], low["adv"]) == (9, 4.5, pytest.approx(10 / 3))
    assert (low["ADV - STD"], low["lowest seed"], low["highest seed"]) == (-0.5, -4, 3)
    assert low["larger would be"] == "lower"
    edges = partial(scale_rows, "map_edge_correlation", of="loss_gradient", at=0)
    high = measure.compared(edges(values)).iloc[0]
    assert high["larger would be"] == "higher"
    unknown = measure.compared(
        scale_rows("map_edge_correlation", values | {"std": (math.nan,) * 3}, of="loss_gradient", at=0)
    ).iloc[0]
    assert math.isnan(unknown["ADV - STD"])


def test_comparison_takes_the_level_that_it_names():
    """Rows of another cut-off, layer or map do not count."""
    values = {"random": (1,), "std": (1,), "adv": (2,)}
    other = scale_rows("map_edge_correlation", {"random": (1,), "std": (9,), "adv": (2,)}, of="loss_gradient", at=1)
    found = measure.compared(pd.concat([scale_rows("map_edge_correlation", values, of="loss_gradient", at=0), other]))
    assert found["std"].tolist() == [1]


def test_figures_are_drawn_from_the_tables(study):
    """From `03_scale` and `03_fourier` alone, every plot shows each of its panels; nothing else is asked for."""
    parts = []
    for name in ("maps", "filters", "units", "fourier"):
        rows = pd.DataFrame(list(getattr(measure, name)(study, KEY)))
        for arch, setting, seed in KEYS:
            parts.append(rows.assign(arch=arch, setting=setting, seed=seed, table=name))
    every = pd.concat(parts, ignore_index=True)
    fourier = every[every["table"] == "fourier"]
    table = pd.concat([every[every["table"] != "fourier"], measure.along_frequency(fourier)], ignore_index=True)
    panels = {"map_spectra": 5, "edge_correlations": 5, "unit_depths": 2, "filter_sizes": 1, "map_energy": 3}
    for name, count in panels.items():
        axes = getattr(figures, name)(table).axes
        assert [axis.has_data() for axis in axes] == [True] * count, name
    strength = fourier["setting"].map({"random": 1.0, "std": 5.0, "adv": 2.0})
    fourier = fourier.assign(changed=strength * (1 + fourier["fx"] + fourier["fy"]))
    planes = [axis for axis in figures.fourier_maps(fourier).axes if axis.images]
    assert len(planes) == 2 * 3
    ends = [axis.images[0].norm.vmax for axis in planes]
    assert ends[0] == ends[1] == ends[2] == max(ends)
    assert [axis.images[0].get_array().max() for axis in planes[3:]] == pytest.approx(ends[3:])


def test_pictures_show_what_they_are_given(study):
    """Grids of maps, filters and units have a place for each; with one scale a weaker map shows less contrast."""
    images, found = measure.shown_maps(study, "alexnet_bn", 0, 2)
    assert len(figures.map_grid(images, found).axes) == 2 * (1 + 2 * len(measure.FIGURE_2))
    weak = {"std": found["std"], "adv": {method: maps / 10 for method, maps in found["adv"].items()}}

    def contrasts(shared):
        axes = figures.map_grid(images, weak, shared=shared).axes
        shown = [axis.images[0].get_array() for axis in axes[1 : 1 + 2 * len(measure.FIGURE_2)]]
        return [picture.std() for picture in shown]

    apart, together = contrasts(False), contrasts(True)
    count = len(measure.FIGURE_2)
    assert apart[0] == pytest.approx(apart[count], rel=0.05)
    assert together[count] < together[0] / 5
    weights = {s: measure.filters_of(study, KEY) for s in ("std", "adv")}
    assert figures.filter_grid(weights).subfigs
    few = figures.filter_grid(weights, columns=2, most=4)
    assert few._supxlabel.get_text().startswith(f"the 4 strongest of {len(weights['std'])}; ")
    assert len(few.axes) == 2 * 4 + 2 * 4  # on one scale, and two rows of each model on its own
    units = measure.shown_units(study, "alexnet_bn", 0)
    assert len(figures.maximised_grid(units, 2).axes) == (DEPTHS - 1) * 4  # the first layer has a figure of its own
    stacked = figures.map_grid(images, found, stacked=True)
    assert len(stacked.axes) == 2 * 2 * (1 + len(measure.FIGURE_2))
    titles = [axis.get_title() for axis in stacked.axes if axis.get_title()]
    assert titles[0] == titles[1 + len(measure.FIGURE_2)] == "image"
