"""Scale by answers: models that are known to look at one scale are found to do so."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import image_set, small_preset
from torch import nn

from advlook.core.names import MAIN
from advlook.corruptions import hybrid
from advlook.experiments.corruptions import named, scale, scale_figures
from advlook.sensitivity import high_pass, low_pass
from advlook.study import style
from advlook.study.study import Study

SIDE, IMAGES, CUT = 32, 90, 0.12
CONFIG = {"images": 20, "sigmas": (0.5,), "blur_kernel": 7, "passes": (1,), "median_kernels": (3,), "family_images": 4}
CONFIG |= {"pairs": 40, "controls": 12, "masked": 24}


class Nearest(nn.Module):
    """Names the class whose prototype is most like the image, below or above a frequency alone."""

    def __init__(self, prototypes, change):
        super().__init__()
        self.change = change
        self.register_buffer("known", nn.functional.normalize(self._seen(prototypes), dim=1))

    def _seen(self, images):
        changed = self.change(images)
        return (changed - changed.mean((1, 2, 3), keepdim=True)).flatten(1)

    def forward(self, images):
        return nn.functional.normalize(self._seen(images), dim=1) @ self.known.T


@pytest.fixture
def study(tmp_path):
    """Three classes of one image each; STD reads above CUT, ADV below it; both are never wrong."""
    preset = small_preset(corruptions=CONFIG, evaluation={"batch_size": 8})
    preset = dataclasses.replace(preset, archs=("resnet10",), seeds=(0, 1))
    preset = dataclasses.replace(preset, data=dataclasses.replace(preset.data, size=SIDE, classes=3))
    made = Study(preset, output=tmp_path, data=tmp_path, progress=False)
    images = image_set(IMAGES, SIDE)
    prototypes, labels = images.images[:3].float() / 255, torch.arange(IMAGES) % 3
    made.__dict__["test"] = dataclasses.replace(images, images=images.images[labels], labels=labels)
    fine, coarse = (Nearest(prototypes, lambda x, f=f: f(x, CUT)).eval() for f in (high_pass, low_pass))
    made._models = {("resnet10", s, k): m for s, m in (("std", fine), ("adv", coarse)) for k in (0, 1)}
    made._models |= {("resnet10", "random", k): fine for k in (0, 1)}
    return made


@pytest.fixture
def tables(study):
    """The three measured tables, as `Study.measure` would hand them on."""
    measured = {"04_hybrids": scale.hybrid_rows, "04_answers": scale.answer_rows, "04_masking": scale.masking_rows}
    found = {}
    for name, rows in measured.items():
        parts = [
            {"arch": arch, "setting": setting, "seed": seed} | dict(row)
            for arch, setting, seed in study._models
            if setting != "random" or name == "04_hybrids"
            for row in rows(study, (arch, setting, seed))
        ]
        found[name] = pd.DataFrame(parts)
    return found


def test_pairs_differ_in_class_and_share_no_image(study):
    """As many as asked for, or as there are; the same ones every time."""
    coarse, fine = scale.pairs(study)
    assert len(coarse) == len(fine) <= CONFIG["pairs"]
    assert (coarse.labels != fine.labels).all()
    numbered = study.test.images.clone()
    numbered[:, 0, 0, 0] = torch.arange(IMAGES, dtype=numbered.dtype)
    study.__dict__["test"] = dataclasses.replace(study.test, images=numbered)
    places = torch.cat([each.images[:, 0, 0, 0] for each in scale.pairs(study)])
    assert len(places.unique()) == len(places)


def test_hybrids_find_the_scale_that_a_model_reads(study, tables):
    """A model that reads above a frequency changes sides above it, one that reads below it below; answers add up."""
    rows = tables["04_hybrids"]
    assert (rows[["coarse", "fine", "neither"]].sum(axis=1) - 100).abs().max() < 1e-9
    derived = scale.derived_tables(tables, 3, SIDE)["04_scales"]
    main = derived[(derived["condition"] == MAIN) & (derived["seed"] == "all")].set_index("of")["scale"]
    assert main["adv"] < CUT < main["std"]
    assert main["apart"] == pytest.approx(np.log2(main["std"] / main["adv"]))
    of_std = derived[(derived["condition"] == MAIN) & (derived["of"] == "std")]
    assert (of_std["cycles_per_image"] == of_std["scale"] * SIDE).all()
    apart = derived[(derived["of"] == "apart") & (derived["seed"] == "all")].set_index("condition")["scale"]
    assert set(apart.index) == {*scale.conditions(), scale.MASKED}
    assert (apart.drop(scale.MASKED) > 0).all()  # no noise masks a prototype from a model that knows it


def test_untrained_models_see_no_controls(tables):
    """They are shown the hybrids as they are, on as many pairs as a control."""
    rows = tables["04_hybrids"]
    random = rows[rows["setting"] == "random"]
    assert set(random["condition"]) == {MAIN}
    assert set(random["images"]) == {CONFIG["controls"]}


def test_controls_change_one_thing():
    """Grey images have no colour; equal contrast gives both parts one root mean square, and keeps that of the whole; a
    sharp filter leaves nothing of the coarse image above the cut-off."""
    torch.manual_seed(0)
    coarse, fine = torch.rand(2, 3, SIDE, SIDE), 0.3 * torch.rand(2, 3, SIDE, SIDE)
    mixes, nothing = scale.conditions(), torch.zeros(2, 3, SIDE, SIDE)
    grey = mixes["grey"](coarse, fine, CUT)
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-6)
    whole, equal = hybrid(coarse, fine, CUT), mixes["equal contrast"](coarse, fine, CUT)
    low, high = hybrid(coarse, nothing, CUT), hybrid(nothing, fine, CUT)
    low, high = (part - part.mean((1, 2, 3), keepdim=True) for part in (low, high))
    centred = equal - hybrid(coarse, nothing, CUT).mean((1, 2, 3), keepdim=True)
    shares = [(centred * part).mean((1, 2, 3)) / part.square().mean((1, 2, 3)).sqrt() for part in (low, high)]
    assert torch.allclose(*shares, atol=1e-4)
    assert equal.std().item() == pytest.approx(whole.std().item(), rel=0.15)
    sharp = mixes["sharp filter"](coarse, nothing, CUT)
    assert torch.allclose(low_pass(sharp, CUT), sharp, atol=1e-5)


def test_retained_accuracy_is_above_chance(tables):
    """100% without a change; a model that reads above the cut-off retains nothing of a low-passed image."""
    rows = tables["04_answers"]
    assert (rows[rows["operation"] == "clean"]["kept"] == 100).all()
    low = rows[(rows["operation"] == "low-pass") & (rows["level"] == 0.09)].groupby("setting")["kept"].mean()
    assert low["adv"] == 100
    assert low["std"] < 60


def test_answers_do_not_depend_on_the_other_images(study):
    """Drawn images, in other batches, get the answers that they had: what `advlook verify` rests on."""
    chosen, key = torch.tensor([1, 4, 7, 11]), ("resnet10", "std", 0)
    asked = {
        scale.hybrid_rows: ("grey", ("by_coarse", "by_fine")),
        scale.answer_rows: ("shuffled", ("right",)),
        scale.masking_rows: (scale.bands(SIDE)[3], ("right",)),
    }
    for rows, (only, columns) in asked.items():
        every, few = (list(rows(study, key, only, which)) for which in (slice(None), chosen))
        assert len(every) == len(few) > 1
        for whole, part in zip(every, few, strict=True):
            for column in columns:
                assert (whole[column][chosen.numpy()] == part[column]).all()


def test_noise_lies_in_its_octave(study):
    """Its power is inside the band, and its root mean square is 1, so that `noise` is a standard deviation."""
    white = torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for centre in scale.bands(SIDE):
        noise = scale.octave_noise(white, centre)
        assert torch.allclose(noise.square().mean((1, 2, 3)), torch.ones(4), rtol=1e-4)
        assert low_pass(noise, centre / 2**0.5 - 1e-6).abs().max() < 1e-5
    assert scale.bands(SIDE)[0] == pytest.approx(2 / SIDE)


def test_figures_are_drawn_from_the_tables(study, tables):
    """Every figure has the panels of its architectures and conditions."""
    derived = scale.derived_tables(tables, 3, SIDE)
    shown = scale.shown_hybrids(study)
    figure = scale_figures.hybrid_curves(shown, tables["04_hybrids"], derived["04_scales"])
    assert len(figure.axes) == len(shown) + 1
    labels = [text.get_text() for text in scale_figures.scale_intervals(derived["04_scales"]).axes[0].get_yticklabels()]
    assert len(labels) == len(scale.conditions()) + 1
    assert len(scale_figures.retained_curves(tables["04_answers"]).axes) == 3
    (axis,) = scale_figures.channels(derived["04_channels"]).axes
    assert axis.get_ylim()[1] >= derived["04_channels"]["sensitivity"].max()
    assert list(scale_figures.sides(derived["04_scales"]).columns) == ["STD", "ADV", "octaves apart"]


def test_a_model_without_an_accuracy_leaves_an_empty_panel(tables):
    """Of one at chance no share is retained and no channel is known: nan, which figures can draw."""
    derived = scale.derived_tables(tables, 3, SIDE)["04_channels"]
    for figure in (
        scale_figures.retained_curves(tables["04_answers"].assign(kept=np.nan)),
        scale_figures.channels(derived.assign(sensitivity=np.nan, centre=np.nan)),
    ):
        figure.savefig(io.BytesIO())


@pytest.fixture
def found(study, tables):
    scales = scale.derived_tables(tables, 3, SIDE)["04_scales"]
    return named.named_differently(study, tables["04_hybrids"], scales)


def test_shown_hybrids_are_named_as_their_titles_say(study, found):
    """The models themselves say so: STD the class of the details, ADV that of the blurred shapes, every one of them."""
    classes = list(study.test.classes)
    fine, coarse = (torch.tensor([classes.index(each) for each in names]) for names in zip(*found.classes, strict=True))
    mixed = found.pictures[:, 1]
    torch.testing.assert_close(mixed, hybrid(found.pictures[:, 2], found.pictures[:, 0], found.cutoff))
    for seed in (0, 1):
        assert torch.equal(study.model("resnet10", "std", seed)(mixed).argmax(1), fine)
        assert torch.equal(study.model("resnet10", "adv", seed)(mixed).argmax(1), coarse)
    assert found.votes == [(2, 2)] * len(fine)


def test_shares_count_pairs_on_which_all_models_agree(tables, found, study):
    """Both ways, of all pairs; where models are exchanged, so are the shares."""
    rows = tables["04_hybrids"]
    exchanged = rows.replace({"setting": {"std": "adv", "adv": "std"}})
    scales = scale.derived_tables(tables, 3, SIDE)["04_scales"]
    ends = scales[(scales["condition"] == MAIN) & (scales["of"] != "apart")]["scale"]
    assert ends.min() < found.cutoff < ends.max()
    other = named.named_differently(study, exchanged, scales)
    assert other.cutoff == found.cutoff
    assert (other.as_here, other.other_way) == (found.other_way, found.as_here)
    assert found.as_here > found.other_way
    assert f"{found.as_here:.1f}% of {found.total} pairs all 4 models answer so" in found.told
    right = rows[(rows["condition"] == MAIN) & (rows["cutoff"] == found.cutoff)].set_index("setting")
    wanted = np.stack([*right.loc["std", "by_fine"], *right.loc["adv", "by_coarse"]]).all(0)
    assert found.as_here == pytest.approx(100 * wanted.mean())


def test_the_figure_of_names_colours_what_each_setting_says(found):
    figure = scale_figures.hybrid_names(found)
    figure.savefig(io.BytesIO(), format="png")
    said = [(text.get_text(), text.get_color()) for axis in figure.axes for text in axis.texts]
    assert len(said) == 2 * len(found.pictures)
    assert said[0] == (f"STD says: {found.classes[0][0]} (2 of 2)", style.COLORS["std"])
    assert said[1] == (f"ADV says: {found.classes[0][1]} (2 of 2)", style.COLORS["adv"])
