"""Cue conflicts of photographs: whose they are, what the judge's tables say of them, and what is refused."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import image_set
from photographs import COUNTS, SIDE, SIZE, ColourJudge

from advlook.core.errors import RequestError
from advlook.data.layouts import list_images
from advlook.experiments.stylization import chunks, conflicts, judged
from advlook.experiments.stylization.conflicts import cue_conflict_set, quilts, resized, tuning_set
from advlook.study.folders import ROOT
from advlook.study.study import Study


def colours(images):
    return set(map(tuple, images.flatten(1).T.tolist()))


def told(answers, shape=0, texture=1, block=8, **columns):
    """Rows of the judge's table with these answers at 80 px."""
    rows = pd.DataFrame({f"at_{SIDE}": answers, "shape": shape, "texture": texture, "block": block})
    return rows.assign(**columns)


# The judge's tables --------------------------------------------------------------------------------------------------


def test_the_judge_finds_what_has_a_texture(few):
    """All but the pale ones, with the files in the order of the study's test images."""
    table = judged.sources("little")
    listing = list_images(few.data / "datasets" / "little" / "test")
    assert table["file"].tolist() == [path.relative_to(listing.root).as_posix() for path in listing.files]
    assert table["label"].tolist() == list(listing.labels)
    assert table.loc[table["serves"] == 0, "file"].tolist() == ["ant/13.png", "bee/13.png", "cat/13.png"]


def test_no_photograph_is_in_both_parts(few):
    """Neither as content nor as source: what a choice was made on is not what a claim rests on."""
    found = {part: judged.conflicts("little", part) for part in COUNTS}
    used = {part: {*rows["content"], *rows["source"]} for part, rows in found.items()}
    assert not used["tuning"] & used["claim"]
    for part, rows in found.items():
        assert used[part] <= set(judged.split(len(judged.sources("little")))[part].tolist())
        of_block = rows[rows["block"] == rows["block"].iloc[0]]
        assert len(of_block) == of_block["content"].nunique() == COUNTS[part]
        assert (rows["shape"] != rows["texture"]).all()
        assert judged.sources("little")["serves"].to_numpy()[rows["source"]].all()
    assert found["tuning"].groupby("block")[["content", "source"]].sum().nunique().tolist() == [1, 1]


def test_parts_are_a_fifth_and_the_rest():
    parts = judged.split(4000)
    assert [len(places) for places in parts.values()] == [800, 3200]
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(4000))


def test_pairs_take_turns():
    """Contents come once, sources of a class all before one comes again, classes about equally often."""
    labels = torch.arange(90) % 3
    serves = labels.ne(2) | (torch.arange(90) < 12)  # four of the last class
    contents, sources = judged.draw_pairs(torch.arange(90), labels, serves, 60)
    assert len(set(contents.tolist())) == 60
    assert (labels[contents] != labels[sources]).all()
    assert serves[sources].all()
    for label in range(3):
        times = torch.bincount(sources[labels[sources] == label], minlength=90)[serves & (labels == label)]
        assert times.max() - times.min() <= 1
        assert 10 < times.sum() < 30
    with pytest.raises(RequestError, match="it takes two"):
        judged.draw_pairs(torch.arange(90), labels, labels.eq(0), 60)


def test_shape_bias_of_the_judge():
    """30 by shape and 10 by texture of 80: 75%, with an interval around it; at another size other answers count."""
    rows = told([0] * 30 + [1] * 10 + [2] * 40).assign(at_16=1)
    value, low, high = judged.judge_bias(rows, SIDE)
    assert value == 75
    assert low < 75 < high
    assert judged.judge_bias(rows, 16) == (0, 0, 0)
    assert math.isnan(judged.judge_bias(told([2, 2, 2]), SIDE)[0])


@pytest.mark.parametrize(
    ("by_shape", "chosen"), [((30, 20), 8), ((20, 33), 20), ((15, 30), 20), ((44, 5), 8), ((46, 0), 20), ((24, 24), 8)]
)
def test_the_block_is_that_of_the_published_bias(few, by_shape, chosen):
    """Nearest to 27% of those of at most 45; of 100 answers each. The smaller of equally near ones."""
    parts = [told([0] * n + [1] * (100 - n), block=block) for n, block in zip(by_shape, (8, 20), strict=True)]
    assert judged.choose_block(pd.concat(parts)) == chosen


def test_conflicts_made_later_do_not_decide(few):
    """Those beyond the first 150 are for the curves."""
    later = [0] * 27 + [1] * 73
    parts = [told([0] * 60 + [1] * 140 + later * 5, block=8), told([0] * 45 + [1] * 105 + [0] * 500, block=20)]
    assert judged.choose_block(pd.concat(parts)) == 20


def test_no_block_is_chosen_where_none_is_valid(few):
    parts = [told([0] * 46 + [1] * 54, block=block) for block in (8, 20)]
    with pytest.raises(RequestError, match=r"above 45% at every block size .* try larger ones"):
        judged.choose_block(pd.concat(parts))


def test_claims_rest_on_the_chosen_block(few):
    tuning, claim = (judged.conflicts("little", part) for part in ("tuning", "claim"))
    assert set(claim["block"]) == {judged.choose_block(tuning)}


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("synthetic", 24, ""),
        ("little", SIZE, ""),
        ("little", 20, "the judge was not shown cue conflicts of 20 px"),
        ("other", 32, "images of 32 px carry too little texture"),
        ("other", 224, "the judge has not answered about other"),
    ],
)
def test_why_no_claim_rests_on_them(few, name, size, reason):
    assert judged.untested(name, size) == reason


def test_no_claim_rests_on_textures_that_are_not_recognised(few, monkeypatch):
    """At the size that is shown, whatever the judge says at others."""
    rows = told([1] * 100).assign(**{f"at_{SIZE}": [0] * 46 + [1] * 54})
    monkeypatch.setattr(judged, "conflicts", lambda name, part: rows)
    assert judged.untested("little", SIDE) == ""
    assert judged.untested("little", SIZE).startswith(f"at {SIZE} px the judge's shape bias is 46%, above 45%")


@pytest.mark.parametrize(
    ("places", "says"), [(range(41), "41 files"), ([*range(1, 42), 0], "ant/01.png in place of ant/00.png")]
)
def test_other_photographs_are_refused(few, places, says):
    listing = list_images(few.data / "datasets" / "little" / "test")
    judged.check_photographs("little", listing)
    with pytest.raises(RequestError, match=f"{says}, but the judge was shown 42") as refused:
        judged.check_photographs("little", listing[torch.tensor(places)])
    assert "\n" not in str(refused.value)


def test_missing_tables_say_what_makes_them(few):
    with pytest.raises(RequestError, match=r"about other does not exist; run `python -m .* extra advlook\[judge\]"):
        judged.sources("other")


# Those that come with the project ------------------------------------------------------------------------------------


@pytest.fixture
def shipped(monkeypatch):
    """The tables of Imagenette as they are committed; RequestError where one is absent."""
    values = {"FOLDER": ROOT / "data" / "judge", "SIDE": 160, "SIZES": (32, 48, 64, 96, 128, 160)}
    for name, value in (values | {"BLOCKS": (6, 8, 12, 16, 24)}).items():
        monkeypatch.setattr(judged, name, value)
    return {part: judged.conflicts("imagenette", part) for part in ("tuning", "claim")}


def test_shipped_pairs_are_those_that_are_drawn(shipped):
    """Enough of them, from many sources; block size follows from the part for tuning."""
    table = judged.sources("imagenette")
    assert len(table) == 3925
    for part, rows in shipped.items():
        for _, of_block in rows.groupby("block"):
            drawn = judged.pairs(table, part, len(of_block))
            np.testing.assert_array_equal(of_block[["content", "source"]], drawn)
    assert set(shipped["tuning"]["block"]) == set(judged.BLOCKS)
    assert set(shipped["claim"]["block"]) == {judged.choose_block(shipped["tuning"])}
    assert len(shipped["claim"]) >= 1000
    assert shipped["claim"]["source"].nunique() > 500


# Images --------------------------------------------------------------------------------------------------------------


def test_conflicts_are_quilts_of_their_sources(few):
    """Of no colour that the source lacks, shown smaller; labelled by shape, with the source's place for each."""
    rows, made = judged.conflicts("little", "claim")[:16], cue_conflict_set(few)
    whole, photographs = quilts(few, rows), conflicts.photographs(few)
    assert whole.shape == (16, 3, SIDE, SIDE)
    for image, source in zip(whole, photographs.images[torch.tensor(rows["source"].to_numpy())], strict=True):
        assert colours(image) <= colours(source)
    assert torch.equal(made.images.images, resized(whole, SIZE))
    assert made.images.labels.tolist() == rows["shape"].tolist()
    assert made.textures.tolist() == rows["texture"].tolist()
    assert made.drawn.tolist() == rows["source"].tolist()
    assert torch.equal(made.contents.labels, made.images.labels)
    assert torch.equal(made.sources.labels, made.textures)
    assert not torch.equal(made.images.images, made.contents.images)


def test_who_goes_by_colour_goes_by_the_source(few):
    """The judge of the tables, at every size: quilts have nothing else."""
    for part in COUNTS:
        rows = judged.conflicts("little", part)
        for size in {"tuning": judged.TUNING_SIZES, "claim": judged.SIZES}[part]:
            by_shape, by_texture = judged.decided(rows, size).T
            assert by_texture.all()
            assert not by_shape.any()
    made = tuning_set(few, 20)
    assert torch.equal(ColourJudge()(made.images.images.float()).argmax(1), made.textures)


def test_chosen_conflicts_are_those_of_all(few):
    whole, chosen = cue_conflict_set(few), torch.tensor([15, 2])
    some = cue_conflict_set(few, chosen)
    for name in ("images", "contents", "sources"):
        assert torch.equal(getattr(some, name).images, getattr(whole, name).images[chosen])
    assert torch.equal(some.drawn, whole.drawn[chosen])
    assert torch.equal(some.textures, whole.textures[chosen])


def test_interrupted_quilts_go_on_to_the_same_bits(few, monkeypatch):
    """In chunks, each kept when it is made; blocks of another size are kept beside them."""
    rows = judged.conflicts("little", "claim")
    expected, calls, engine = quilts(few, rows), [], conflicts.quilt
    kept = list((few.data / "cache" / "quilted" / "little").glob("*.npy"))
    for path in kept:
        path.unlink()

    def failing(*arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return engine(*arguments, **options)

    failing.__module__, failing.__qualname__ = engine.__module__, engine.__qualname__  # of which the code is hashed
    monkeypatch.setattr(chunks, "CHUNK", 5)
    monkeypatch.setattr(conflicts, "quilt", failing)
    with pytest.raises(KeyboardInterrupt):
        quilts(few, rows)
    assert torch.equal(quilts(few, rows), expected)
    assert calls == [5, 5, 5, 5, 3]
    quilts(few, rows.assign(block=10))
    assert calls == [5, 5, 5, 5, 3, 5, 5, 5, 3]


def test_a_set_without_tables_has_no_conflicts(few):
    few.preset = dataclasses.replace(few.preset, data=dataclasses.replace(few.preset.data, name="other"))
    few.__dict__["test"] = image_set(4, SIZE)
    made = cue_conflict_set(few)
    assert made.images.images.shape == (0, 3, SIZE, SIZE)
    assert len(made.textures) == len(made.drawn) == 0


def test_embedded_set_brings_its_own_conflicts(tmp_path):
    made = cue_conflict_set(Study("smoke", output=tmp_path, data=tmp_path, progress=False))
    assert (made.images.labels != made.textures).all()
    assert made.contents is None
    assert len(set(made.drawn.tolist())) == len(made.images)


def test_sizes_are_reached_by_means(few):
    """Reduced, a picture keeps its mean, and a checkerboard turns grey; as large as it was, it is itself."""
    board = (torch.arange(80)[:, None] + torch.arange(80)) % 2 * 200
    images = board.expand(2, 3, 80, 80).to(torch.uint8)
    small = resized(images, 20)
    assert small.shape == (2, 3, 20, 20)
    assert (small[..., 2:-2, 2:-2].float() - 100).abs().max() <= 1
    assert resized(images, 80) is images
    assert resized(small, 40).shape == (2, 3, 40, 40)
