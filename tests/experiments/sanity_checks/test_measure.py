"""Sanity checks: networks randomised by stages, similarities with known answers, the table and its figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import convolutional, image_set, random_images, small_preset, snapshot
from scipy.stats import spearmanr
from torch import nn

from advlook import sensitivity
from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.experiments.sanity_checks import figures as figures_sanity
from advlook.experiments.sanity_checks import measure as sanity_checks_measure
from advlook.models.architectures import build_model, preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.sensitivity import edges, frequency, randomisation, similarity
from advlook.study.study import Study

ARCHS = ("alexnet_bn", "resnet10")
each_arch = pytest.mark.parametrize("arch", ARCHS)


def used(arch, seed=3):
    """A model whose parameters and statistics are no longer the initial ones."""
    model = build_model(arch, 5, stem="tiny", width=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.network.state_dict().items():
            if value.is_floating_point():
                moved = 0.1 * torch.rand(value.shape, generator=generator)
                value.add_(moved if "running_var" in name else moved - 0.05)
            else:
                value.add_(7)
    return model.eval()


def state(model, names):
    """All tensors of the modules so named."""
    return [value for name in names for value in model.get_submodule(name).state_dict().values()]


def seeded_maps(count=4, side=16, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# Networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", [*ARCHS, "resnet50"])
def test_stages_cover_every_parameter_once_in_running_order(arch):
    """Each parameter and statistic belongs to one stage, and the stages run in the order in which they are named."""
    model = build_model(arch, 5, stem="tiny", width=8, seed=0).eval()
    stages = randomisation.stages(model)
    held = [id(p) for names in stages.values() for name in names for p in model.get_submodule(name).parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    started = []
    for stage, names in stages.items():
        model.get_submodule(names[0]).register_forward_pre_hook(lambda *_, stage=stage: started.append(stage))
    model(random_images(2, 16))
    assert started == list(stages)


def test_stages_have_names_that_a_reader_knows():
    """Groups of blocks for a ResNet, layer by layer for AlexNet; a bare network has the same as a normalised one."""
    assert list(randomisation.stages(used("resnet10"))) == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert list(randomisation.stages(used("alexnet_bn"))) == [*(f"conv{k}" for k in range(1, 6)), "fc1", "fc2", "fc3"]
    assert randomisation.stages(used("resnet10").network)["stem"] == ("conv1", "bn1")


@each_arch
@pytest.mark.parametrize("place", [0, 2, -1])
def test_exactly_the_named_stages_change(arch, place):
    """The rest of the copy, and the whole original, are bit-identical; so is the global random state."""
    model = used(arch)
    before, random_state = snapshot(model), torch.get_rng_state()
    stages = randomisation.stages(model)
    chosen = list(stages)[place]
    changed = randomisation.randomised(model, [chosen])
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert changed.training is model.training
    for stage, names in stages.items():
        pairs = zip(state(model, names), state(changed, names), strict=True)
        same = [torch.equal(a, b) for a, b in pairs]
        assert not any(same) if stage == chosen else all(same)


@each_arch
def test_a_stage_gets_the_same_values_whatever_else_is_chosen(arch):
    """Alone or within a cascade, in any order, from one seed; another seed gives others."""
    model = used(arch)
    stages = randomisation.stages(model)
    order = list(reversed(stages))
    whole, again, other = (randomisation.randomised(model, order, seed) for seed in (1, 1, 2))
    alone = randomisation.randomised(model, [order[1]], 1)
    assert snapshot(whole) == snapshot(again)
    assert snapshot(whole) != snapshot(other)
    weights = [next(iter(state(some, stages[order[1]]))) for some in (whole, alone, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@each_arch
def test_a_whole_cascade_ends_at_an_untrained_model(arch):
    """Layer by layer the values are distributed as in a model that was just built, its statistics the initial ones."""
    fresh = build_model(arch, 5, stem="tiny", width=16, seed=0)
    model = build_model(arch, 5, stem="tiny", width=16, seed=1)
    with torch.no_grad():
        for value in model.network.state_dict().values():
            value.fill_(3)
    ended = randomisation.randomised(model, randomisation.stages(model))
    for (name, expected), value in zip(fresh.state_dict().items(), ended.state_dict().values(), strict=True):
        if expected.numel() < 2 or expected.float().std() == 0:
            assert torch.equal(expected, value), name
        else:
            error = 4 / (2 * expected.numel()) ** 0.5  # four standard errors of a standard deviation
            assert value.std().item() == pytest.approx(expected.std().item(), rel=2**0.5 * error), name
            assert abs(value.mean() - expected.mean()) < 6 * expected.std() / expected.numel() ** 0.5, name


# Similarity --------------------------------------------------------------------------------------------------------


def test_a_map_is_like_itself_and_unlike_its_negative():
    """1 with itself; with its negative -1 in signed ranks, below 0 in signed SSIM, and 1 where signs do not count."""
    maps = seeded_maps()
    itself, negative = similarity.similarity(maps, maps), similarity.similarity(maps, -maps)
    assert tuple(itself) == similarity.MEASURES
    for values in itself.values():
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, torch.ones(4).double())
    torch.testing.assert_close(negative["spearman"], -torch.ones(4).double())
    assert (negative["ssim"] < -0.5).all()
    for measure in ("spearman_abs", "ssim_abs"):
        torch.testing.assert_close(negative[measure], torch.ones(4).double())


def test_spearman_is_scipys():
    """Over pixels, of sums over channels."""
    a, b = seeded_maps(), seeded_maps(seed=1) + 0.5 * seeded_maps()
    found = similarity.similarity(a, b)
    for place in range(len(a)):
        signed = spearmanr(a[place].sum(0).flatten(), b[place].sum(0).flatten()).statistic
        absolute = spearmanr(a[place].abs().sum(0).flatten(), b[place].abs().sum(0).flatten()).statistic
        assert found["spearman"][place].item() == pytest.approx(signed)
        assert found["spearman_abs"][place].item() == pytest.approx(absolute)


def test_similarity_falls_with_noise_and_ignores_size():
    """Every measure falls as noise is added, is near 0 for unrelated signed maps, and takes no notice of a factor."""
    maps, noise = frequency.low_pass(seeded_maps(8, 32), 0.2), seeded_maps(8, 32, seed=1)
    levels = [similarity.similarity(maps, maps + share * noise) for share in (0.1, 0.5, 2.0)]
    unrelated = similarity.similarity(maps, noise)
    for measure in similarity.MEASURES:
        curve = [level[measure].mean().item() for level in levels]
        assert 1 > curve[0] > curve[1] > curve[2]
        scaled = similarity.similarity(1e-6 * maps, 1e3 * maps)[measure]
        torch.testing.assert_close(scaled, torch.ones(8).double(), atol=1e-4, rtol=0)
    assert abs(unrelated["spearman"].mean()) < 0.1
    assert abs(unrelated["ssim"].mean()) < 0.1


def test_one_extreme_pixel_does_not_make_maps_alike():
    """Unrelated maps stay so when both have the same huge value somewhere."""
    a, b = seeded_maps(4, 24), seeded_maps(4, 24, seed=1)
    a[..., 12, 12] = b[..., 12, 12] = 1000
    for measure, values in similarity.similarity(a, b).items():
        assert (values < 0.5).all(), measure


def test_constant_maps_have_no_ranks():
    """A map of zeros has no rank correlation, and a structural similarity to itself; it divides nothing by zero."""
    zeros = torch.zeros(2, 3, 16, 16)
    found = similarity.similarity(zeros, zeros)
    assert found["spearman"].isnan().all()
    assert (found["ssim"] == 1).all()
    sparse = zeros.clone()
    sparse[:, :, 3, 3] = 2
    assert similarity.pictures(sparse.sum(1), signed=False).max() == 1


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
        model.load_state_dict(used(arch, seed=50 + number).state_dict())
        save_checkpoint(path, model, {"digest": key})
    return study


@pytest.fixture(scope="module")
def table(study):
    """The table of all methods, and of one that ignores the parameters: the image's edges."""

    def image_edges(model, images, labels):
        return edges.edges(images)[:, None].expand_as(images).clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sensitivity.METHODS, "image_edges", image_edges)
        return sanity_checks_measure.sanity_table(study)


def test_the_table_has_every_comparison_once(study, table):
    """Contract columns, then the image; all pairs, controls and stages, a row an image; the file holds the same."""
    assert list(table) == ["arch", "method", "model_a", "model_b", "measure", "value", "image"]
    assert not table.duplicated(["arch", "method", "model_a", "model_b", "measure", "image"]).any()
    for arch, stages in (("resnet10", 6), ("alexnet_bn", 8)):
        rows = table[table["arch"] == arch]
        pairs = set(zip(rows["model_a"], rows["model_b"], strict=True))
        kinds = [("random", "std"), ("random", "adv"), ("std", "adv")]
        expected = {(f"{a}-{1 - seed}", f"{b}-{seed}") for a, b in kinds for seed in study.preset.seeds}
        expected |= {(f"{kind}-0", f"{kind}-1") for kind in sanity_checks_measure.KINDS}
        names = randomisation.stages(study.model(arch, "std", 0))
        assert len(names) == stages
        expected |= {
            (f"{kind}-0", f"{kind}-0 {stage} {how}")
            for kind in ("std", "adv")
            for stage in names
            for how in ("up", "alone")
        }
        assert pairs == expected
        assert len(rows) == len(expected) * 6 * len(similarity.MEASURES) * 5
    assert (table["value"].dropna().abs() <= 1).all()
    assert (table["value"].dropna() == table["value"].dropna().round(4)).all()
    saved = pd.read_csv(study.output / "tables" / "07_sanity.csv")
    pd.testing.assert_frame_equal(saved, table, check_dtype=False)


def test_a_method_that_ignores_parameters_is_found_out(table):
    """Edges of the image are the same on every model: similarity 1 all the way, and no effect of training."""
    edges = table[table["method"] == "image_edges"]
    assert (edges["value"] == 1).all()
    effects = sanity_checks_measure.effects(edges)
    assert (effects["effect"] == 0).all()
    assert set(effects["verdict"]) == {"open"}
    rest = table[table["method"] != "image_edges"]
    assert (rest["value"] == 1).mean() < 0.01


def test_rows_are_those_of_the_maps(study, table):
    """A pair and a stage, computed here from the maps themselves."""
    chosen = study.test.subset(5, seed=1)
    images, labels = next(chosen.batches(5))
    std = study.model("resnet10", "std", 0)
    last = randomisation.randomised(std, ["layer4", "fc"], randomisation.FRESH_SEED + 3)
    for other, method, own in (
        (study.model("resnet10", "adv", 1), "loss_gradient", slice(None)),
        (last, "guided_backprop", slice(3, 4)),
    ):
        maps = [sensitivity.METHODS[method](model, images[own], labels[own]) for model in (std, other)]
        name = "adv-1" if method == "loss_gradient" else "std-0 layer4 up"
        rows = table[(table["arch"] == "resnet10") & (table["method"] == method)]
        rows = rows[(rows["model_a"] == "std-0") & (rows["model_b"] == name)]
        for measure, values in similarity.similarity(*maps).items():
            stored = rows[rows["measure"] == measure].sort_values("image")["value"][own]
            np.testing.assert_allclose(stored, values, atol=2e-4)


def test_names_can_be_taken_apart(table):
    """Pairs, cascades and single stages, with the setting and stage of each."""
    rows = (
        sanity_checks_measure.labelled(table)
        .drop_duplicates(["arch", "model_a", "model_b"])
        .set_index(["arch", "model_a", "model_b"])
    )
    wanted = {
        ("resnet10", "random-0", "adv-1"): ["random-adv", "adv", ""],
        ("resnet10", "std-0", "std-1"): ["std-std", "std", ""],
        ("resnet10", "adv-0", "adv-0 stem up"): ["up", "adv", "stem"],
        ("alexnet_bn", "std-0", "std-0 fc1 alone"): ["alone", "std", "fc1"],
    }
    for key, expected in wanted.items():
        assert list(rows.loc[key, ["comparison", "setting", "stage"]]) == expected


def test_one_seed_is_paired_within_itself(study):
    """Kinds of models are compared even where there is no control; nothing is compared with itself."""
    preset = dataclasses.replace(study.preset, seeds=(0,))
    alone = Study(preset, output=study.output, data=study.data, progress=False)
    alone._models, alone.__dict__["test"] = study._models, study.test
    rows = list(sanity_checks_measure.pair_rows(alone, alone.model("resnet10", "adv", 0)))
    assert {(row["model_a"], row["model_b"]) for row in rows} == {("random-0", "adv-0"), ("std-0", "adv-0")}
    assert not list(sanity_checks_measure.pair_rows(alone, alone.model("resnet10", "random", 0)))


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
        for image in range(images):
            own = np.random.default_rng([image, len(b)]).normal(0, 0.01)
            rows.append(("resnet10", "guided_backprop", a, b, "spearman_abs", value + noise[image] + own, image))
    return pd.DataFrame(rows, columns=sanity_checks_measure.COLUMNS)


@pytest.mark.parametrize(("other_seed", "verdict"), [(0.5, "yes"), (0.1, "no"), (0.3, "open")])
def test_verdicts(other_seed, verdict):
    """By the sign of the difference, image by image: noise that both share widens no interval."""
    table = made_up(other_seed, 0.3)
    effect = sanity_checks_measure.effects(table).iloc[0]
    assert effect["verdict"] == verdict
    assert effect["effect"] == pytest.approx(other_seed - 0.3, abs=0.02)
    assert effect["high"] - effect["low"] < 0.03
    read = figures_sanity.conclusions(table).loc[("resnet10", "std", "guided_backprop")]
    assert read["verdict"] == verdict
    assert float(read["all stages fresh"].split()[0]) == pytest.approx(0.2, abs=0.07)
    assert float(read["untrained"].split()[0]) == pytest.approx(0.3, abs=0.07)


def test_without_a_second_seed_there_is_no_verdict():
    """The control is missing, and the tables say so."""
    table = made_up(0.5, 0.3)
    table = table[table["model_b"] != "std-1"]
    assert sanity_checks_measure.effects(table)["verdict"].tolist() == ["no second seed"]
    read = figures_sanity.conclusions(table).iloc[0]
    assert (read["other seed"], read["difference"]) == ("-", "-")
    assert read["untrained"] != "-"


def test_half_of_the_fall():
    """From 1 to 0.2 half is 0.6, which layer4 is the first to pass; what does not fall has no such stage."""
    table = made_up(0.5, 0.3)
    assert sanity_checks_measure.half_fallen(table).loc["guided_backprop"].tolist() == ["layer4"]
    table["value"] = 1.0
    assert sanity_checks_measure.half_fallen(table).loc["guided_backprop"].tolist() == ["-"]


# Figures -----------------------------------------------------------------------------------------------------------


def test_figures_are_drawn_from_table_and_maps(study, table):
    """All five have their panels, and no text smaller than 9 points."""
    shown = sanity_checks_measure.shown_images(study, 2)
    assert torch.equal(shown.images, study.test.subset(5, seed=1).images[:2])
    found = {
        kind: sanity_checks_measure.maps_of(study, study.model("resnet10", kind, 0), shown)
        for kind in sanity_checks_measure.KINDS
    }
    methods = ["guided_backprop", "vanilla_gradient"]
    cascade = {
        s: sanity_checks_measure.cascade_maps(study, study.model("resnet10", s, 0), shown, methods)
        for s in ("std", "adv")
    }
    panels = {
        figures_sanity.maps_by_kind(shown, found): 2 * (3 + 1) * 6,
        figures_sanity.similarities(table): 6 * 4,
        figures_sanity.over_stages(table, "up"): 2 * 2 * 2,
        figures_sanity.over_stages(table, "alone"): 2 * 2 * 2,
        figures_sanity.cascade_pictures(shown, cascade): 2 * 2 * 2 * (1 + 1 + 6),
    }
    for figure, count in panels.items():
        assert len(figure.axes) == count
        texts = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 9


def test_a_cascade_of_pictures_starts_trained_and_ends_fresh(study):
    """Its first maps are those of the model, its last those of a network without any of its parameters."""
    model, shown, methods = (
        study.model("alexnet_bn", "std", 0),
        sanity_checks_measure.shown_images(study, 3),
        ["vanilla_gradient"],
    )
    found = sanity_checks_measure.cascade_maps(study, model, shown, methods)
    assert list(found) == ["as trained", "fc3", "fc2", "fc1", "conv5", "conv4", "conv3", "conv2", "conv1"]
    ended = randomisation.randomised(model, randomisation.stages(model))
    for name, expected in (("as trained", model), ("conv1", ended)):
        maps = sanity_checks_measure.maps_of(study, expected, shown, methods=methods)
        torch.testing.assert_close(found[name]["vanilla_gradient"], maps["vanilla_gradient"])


MAPS = seeded_maps(2)
REFUSED = {
    "stages of a Sequential are not known": lambda: randomisation.stages(convolutional()),
    "stages of a Linear are not known": lambda: randomisation.randomised(nn.Linear(2, 2), ["fc"]),
    "stage 'layer5' does not exist; the network has stem, layer1": lambda: randomisation.randomised(
        used("resnet10"), ["layer5"]
    ),
    r"maps \(2, 3, 16, 16\) and \(1, 3, 16, 16\)": lambda: similarity.similarity(MAPS, MAPS[:1]),
    r"\(2, 16, 16\) must have one shape": lambda: similarity.similarity(MAPS[:, 0], MAPS[:, 0]),
    "of 11 pixels or more": lambda: similarity.similarity(MAPS[..., :10], MAPS[..., :10]),
    "not finite": lambda: similarity.similarity(MAPS, MAPS / 0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_checked_is_refused_in_one_line(message):
    """The line names what was given."""
    with pytest.raises(RequestError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)
