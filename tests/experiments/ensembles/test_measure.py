"""Notebook 06: targets that are there and absent, runs that are kept and resumed, comparisons with known answers."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import small_preset, write_folder

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.presets import PRESET_FOLDER, EnsemblesConfig, load_preset
from advlook.experiments.ensembles import figures as draw
from advlook.experiments.ensembles import measure as comparisons
from advlook.experiments.ensembles import runs as transfer
from advlook.experiments.ensembles import targets
from advlook.experiments.ensembles.runs import FineTuning, Frozen, every_run, measure
from advlook.experiments.ensembles.targets import degraded, find_target, find_targets, load_images
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.stats.paired import right_of
from advlook.study.study import Study

CONFIG = EnsemblesConfig(
    targets=("noise", "stanford-dogs"),
    train_images=18,
    test_images=12,
    epochs=1,
    learning_rate=0.01,
    runs=2,
    frozen_epochs=2,
    frozen_learning_rate=0.01,
    frozen_runs=2,
    degraded=("noise",),
    sides=(4, 8),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with an image set of three classes, and checkpoints that were never trained."""
    data = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        write_folder(data / "datasets" / "noise" / split, count=8, side=16)
    preset = make_preset()
    for setting in ("std", "adv"):
        for seed in preset.seeds:
            key = preset.training_key("resnet10", setting, seed)
            path = data / "models" / "small" / f"resnet10-{setting}-seed{seed}.safetensors"
            model = preset_model(preset, "resnet10", 10 * seed + (setting == "adv"))
            save_checkpoint(path, model, {"digest": digest(key)})
    return data


def make_preset(**changes):
    preset = small_preset(data={"name": "noise"}, evaluation={"batch_size": 8, "top_k": 2})
    ensembles = dataclasses.replace(CONFIG, **changes)
    return dataclasses.replace(preset, archs=("resnet10",), ensembles=ensembles)


def make_study(data, output, **changes):
    return Study(make_preset(**changes), output=output, data=data, progress=False)


@pytest.fixture
def study(data, tmp_path):
    """A study whose runs are its own: the same images and checkpoints, no cache."""
    for name in ("datasets", "models"):
        (tmp_path / name).symlink_to(data / name)
    return make_study(tmp_path, tmp_path / "figures")


# Targets -----------------------------------------------------------------------------------------------------------


def test_absent_sets_are_named_with_what_gets_them(study):
    """A set that is not there is told with its command, and the others are found."""
    found, absent = find_targets(study, study.preset.ensembles.targets)
    assert [target.name for target in found] == ["noise"]
    assert list(absent) == ["stanford-dogs"]
    assert "curl -fL http://vision.stanford.edu" in absent["stanford-dogs"]
    assert "\n" not in absent["stanford-dogs"]


def test_targets_come_by_resolution(study):
    """The lowest resolution first; of a folder nobody knows it is that of the models, or what it is degraded to."""
    found, _ = find_targets(study, ["noise", "noise@8", "noise@4"])
    assert [(target.pixels, target.side) for target in found] == [(4, 4), (8, 8), (16, 0)]
    assert len({target.digest for target in found}) == 3
    assert find_target(study, "noise").at(16) == find_target(study, "noise")
    assert find_target(study, "noise").at(8) == find_target(study, "noise@8")


def test_all_targets_have_as_many_images(study):
    """So many training and test images as the preset says, and all where there are fewer."""
    target = find_target(study, "noise")
    assert (target.train, target.test) == (18, 12)
    assert (len(load_images(study, target, "train")), len(load_images(study, target, "test"))) == (18, 12)
    many = make_study(study.data, study.output, train_images=1000)
    assert find_target(many, "noise").train == 24


def test_degraded_images_keep_only_what_fits():
    """A checkerboard of single pixels is gone at half the resolution; a flat image and large squares stay."""
    board = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)
    fine, coarse = board.repeat(8, 8), board.repeat_interleave(8, 0).repeat_interleave(8, 1)
    images = torch.stack([fine, coarse, torch.full((16, 16), 77, dtype=torch.uint8)])[:, None].expand(-1, 3, -1, -1)
    fine, coarse, flat = degraded(images, 8).float()
    assert fine[:, 4:-4, 4:-4].sub(127.5).abs().max() < 8
    assert coarse.sub(images[1]).abs().mean() < 20
    assert (flat == 77).all()
    assert degraded(images, 8).dtype == torch.uint8


def test_degraded_sets_are_kept_in_files(study, monkeypatch):
    """Made in batches they are what they would be at once; and made once, whatever is loaded in between."""
    monkeypatch.setattr(targets, "_BATCH", 5)
    whole = find_target(study, "noise")
    for split, augmented in (("train", True), ("test", False)):
        expected = degraded(load_images(study, whole, split, augmented).images, 8)
        assert torch.equal(load_images(study, whole.at(8), split, augmented).images, expected)
        targets._load.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(targets, "degraded", None)
            assert torch.equal(load_images(study, whole.at(8), split, augmented).images, expected)


# Runs --------------------------------------------------------------------------------------------------------------


def test_every_combination_is_run(study):
    """Fine-tuned and frozen, so many runs of each of five combinations; those on degraded sets frozen alone."""
    target = find_target(study, "noise")
    rows = measure(study, every_run(study, [target]))
    counts = rows.groupby(["mode", "combination"]).size()
    assert set(counts) == {2}
    assert len(counts) == 10
    assert set(rows["images"]) == {12}
    for row in rows.itertuples():
        assert row.members.split()[0].split("-")[0].upper() == row.combination.split("+")[0]
    assert rows["top1"].to_list() == pytest.approx(100 * right_of(rows).mean(1))
    assert {each.mode for each in every_run(study, [target.at(4)], modes=("frozen",))} == {"frozen"}


def test_a_preset_with_one_seed_lacks_pairs_of_a_kind(study):
    """Their rows are absent, and nothing else is."""
    preset = dataclasses.replace(study.preset, seeds=(0,))
    single = Study(preset, output=study.output, data=study.data, progress=False)
    rows = measure(single, every_run(single, [find_target(single, "noise")]))
    assert list(dict.fromkeys(rows["combination"])) == ["STD", "ADV", "STD+ADV"]


def test_finished_runs_are_kept(study, monkeypatch):
    """An interrupted measurement goes on with the run that failed, and ends with what an uninterrupted one has."""
    target = find_target(study, "noise")
    runs = [FineTuning("resnet10", target, name, 0) for name in ("STD", "ADV", "STD+ADV")]
    made = []

    def counted(self, study, progressed, rows=FineTuning.rows):
        made.append(self.combination)
        if made == ["STD", "ADV"]:
            raise KeyboardInterrupt
        yield from rows(self, study, progressed)

    monkeypatch.setattr(FineTuning, "rows", counted)
    with pytest.raises(KeyboardInterrupt):
        measure(study, runs)
    resumed = measure(study, runs)
    assert made == ["STD", "ADV", "ADV", "STD+ADV"]
    assert measure(study, runs).equals(resumed)
    assert len(made) == 4
    shutil.rmtree(study.data / "cache" / "ensembles")
    assert measure(study, runs).equals(resumed)


def test_runs_depend_on_what_made_them(study, tmp_path):
    """Another rate, number, checkpoint or image set makes another run; other measurements and other targets do not."""

    def key(study, runs):
        return transfer._places(study, [runs])[runs].name

    target = find_target(study, "noise")
    first = FineTuning("resnet10", target, "STD", 0)
    known = key(study, first)
    others = [
        (study, FineTuning("resnet10", target, "STD", 1)),
        (study, FineTuning("resnet10", target, "ADV", 0)),
        (study, FineTuning("resnet10", target.at(8), "STD", 0)),
        (study, Frozen("resnet10", target)),
        (make_study(study.data, tmp_path, learning_rate=0.02), first),
        (make_study(study.data, tmp_path, epochs=2), first),
    ]
    assert known not in [key(*other) for other in others]
    same = make_study(study.data, tmp_path, runs=5, frozen_runs=9, targets=("noise", "cub200"), sides=(4,))
    assert key(same, first) == known
    (study.data / "models").unlink()
    shutil.copytree((study.data / "datasets").resolve().parent / "models", study.data / "models")
    weights = study.find_checkpoint("resnet10", "std", 0)
    save_checkpoint(
        weights,
        preset_model(study.preset, "resnet10", 99),
        {"digest": digest(study.preset.training_key("resnet10", "std", 0))},
    )
    assert key(study, first) != known


def test_processes_give_the_same_rows(study, monkeypatch):
    """Runs in processes of their own end in the same bits as here, on as many threads."""
    target = find_target(study, "noise")
    runs = [Frozen("resnet10", target), FineTuning("resnet10", target, "STD", 0)]
    here = measure(study, runs)
    shutil.rmtree(study.data / "cache" / "ensembles")
    monkeypatch.setattr(transfer, "FEW", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert measure(study, runs).equals(here)


# Tables ------------------------------------------------------------------------------------------------------------


def rows_of(right, pixels=16, mode="frozen", arch="resnet10"):
    """Rows as of `measure`: by combination, which images each run is right about, as strings of 0 and 1."""
    found = []
    for name, runs in right.items():
        for seed, answers in enumerate(runs):
            hits = np.array([answer == "1" for answer in answers])
            found.append(
                {
                    "arch": arch,
                    "dataset": "noise",
                    "pixels": pixels,
                    "mode": mode,
                    "combination": name,
                    "seed": seed,
                    "top1": 100 * hits.mean(),
                    "images": len(hits),
                    "members": "",
                    "parameters": 1,
                    "right": np.packbits(hits).tobytes().hex(),
                }
            )
    return pd.DataFrame(found)


def test_comparisons_are_with_the_better_one():
    """STD+ADV is compared with whichever leads; what runs answer is averaged; equal answers leave no doubt."""
    table = comparisons.comparisons(
        rows_of(
            {
                "STD": ["1" * 40 + "0" * 60],
                "ADV": ["0" * 100],
                "STD+STD": ["1" * 80 + "0" * 20],
                "ADV+ADV": ["1" * 50 + "0" * 50],
                "STD+ADV": ["1" * 80 + "0" * 20, "1" * 60 + "0" * 40],
            }
        )
    ).set_index("against")
    of_mixed = table[table["combination"] == "STD+ADV"]
    expected = {"better pair": -10, "better single": 30, "STD": 30, "ADV": 70, "STD+STD": -10, "ADV+ADV": 20}
    assert of_mixed["difference"].to_dict() == pytest.approx(expected)
    assert (of_mixed["low"] < of_mixed["difference"]).all()
    assert (of_mixed["difference"] < of_mixed["high"]).all()
    same = comparisons.comparisons(rows_of({name: ["10" * 50] for name in ("STD", "ADV", "STD+ADV")}))
    assert (same[["difference", "low", "high"]] == 0).all().all()
    assert set(same["against"]) == {"better single", "STD", "ADV"}


def test_trends_are_changes_of_the_difference():
    """From a lead of 30 points at 16 px to a lag of 20 at 4 px is a change of -50; between them nothing counts."""
    rows = pd.concat(
        [
            rows_of({"STD+STD": ["1" * 80 + "0" * 20], "ADV+ADV": ["1" * 50 + "0" * 50]}, pixels=16),
            rows_of({"STD+STD": ["1" * 90 + "0" * 10], "ADV+ADV": ["0" * 100]}, pixels=8),
            rows_of({"STD+STD": ["1" * 30 + "0" * 70], "ADV+ADV": ["1" * 50 + "0" * 50]}, pixels=4),
        ]
    )
    (row,) = comparisons.trends(rows).to_dict("records")
    assert row["change"] == pytest.approx(-50)
    assert (row["coarsest"], row["finest"], row["images"]) == (4, 16, 100)
    assert row["low"] < -50 < row["high"] < 0
    assert comparisons.trends(rows[rows["pixels"] == 16]).empty


@pytest.mark.parametrize(
    ("low", "high", "pixels", "counts"),
    [
        (2.0, 5.0, 16, {"STD+ADV is at most 1 point behind": "yes", "not in the paper": "yes"}),
        (-0.5, 5.0, 16, {"STD+ADV is at most 1 point behind": "yes", "not in the paper": "open"}),
        (-3.0, 5.0, 16, {"STD+ADV is at most 1 point behind": "open", "not in the paper": "open"}),
        (-3.0, -0.5, 16, {"STD+ADV is at most 1 point behind": "open", "not in the paper": "no"}),
        (-3.0, -2.0, 16, {"STD+ADV is at most 1 point behind": "no", "not in the paper": "no"}),
        (2.0, 5.0, 16, {"where the resolution is high": "yes"}),
        (2.0, 5.0, 8, {"where the resolution is low": "no"}),
        (-5.0, -2.0, 8, {"where the resolution is low": "yes"}),
        (-5.0, -2.0, 16, {"gets coarser": "yes", "where the resolution is high": "no"}),
        (-5.0, 2.0, 16, {"gets coarser": "open"}),
    ],
)
def test_sentences_hold_where_the_whole_interval_says_so(low, high, pixels, counts):
    """Each sentence is counted as yes, no or open by its own interval, sign and margin."""
    contrasts = [(*key, low, high) for key in comparisons.CONTRASTS]
    compared = pd.DataFrame(contrasts, columns=["combination", "against", "low", "high"])
    compared = compared.assign(pixels=pixels, mode="frozen", table="06_ensembles")
    changed = compared[compared["combination"] == "STD+STD"]
    found = comparisons.sentences(compared, changed, size=16)
    assert (found[["yes", "no", "open"]].sum(axis=1) == found["cases"]).all()
    for words, verdict in counts.items():
        (row,) = found[found["sentence"].str.contains(words, regex=False)].to_dict("records")
        assert row[verdict] == row["cases"] == 1


def test_notebook_has_its_tables_and_figures(study):
    """All tables are saved, degraded levels among them, and every figure can be drawn from what was saved alone."""
    comparisons.fusion_tables(study)
    names = ("06_ensembles", "06_resolution", "06_comparisons", "06_trends")
    fused, resolved, compared, changed = (study.load_table(name) for name in names)
    assert sorted(resolved["resolution"].unique()) == [4, 8, 16]
    assert set(compared["table"]) == {"06_ensembles", "06_resolution"}
    assert set(changed["combination"]) == {"STD", "STD+STD"}
    counts = draw.parameter_counts(fused)
    assert list(counts) == ["STD", "ADV", "STD+STD", "ADV+ADV", "STD+ADV"]
    assert (counts["STD+STD"] / counts["STD"]).item() == pytest.approx(2, rel=1e-3)
    figures = draw.accuracies(fused), draw.resolution(resolved, compared), draw.paired(compared)
    for figure in figures:
        figure.canvas.draw()
    points = sum(len(c.get_offsets()) for axis in figures[0].axes for c in axis.collections)
    assert points == len(fused)


def test_without_a_set_to_degrade_the_rest_is_there(study, tmp_path):
    """Where the sets of the resolution figure are absent, the ensembles are not made in vain."""
    poor = make_study(study.data, tmp_path, degraded=("stanford-dogs",))
    fused, resolved, compared, changed = comparisons.fusion_tables(poor)
    assert len(fused)
    assert len(resolved) == len(changed) == 0
    draw.resolution(resolved, compared).canvas.draw()
    comparisons.sentences(compared, changed, 16)


def test_nothing_to_learn_is_told(study, tmp_path):
    """Where no target is there the request is refused, with the command for each."""
    poor = make_study(study.data, tmp_path, targets=("stanford-dogs",))
    with pytest.raises(RequestError, match=r"no target of preset small is here: Stanford Dogs .* run `mkdir"):
        comparisons.fusion_tables(poor)


def test_kept_rows_are_plain(study):
    """What is kept of a run can be read without this package, and its bits are as many as there are test images."""
    target = find_target(study, "noise")
    runs = FineTuning("resnet10", target, "STD", 0)
    measure(study, [runs])
    (row,) = json.loads(transfer._places(study, [runs])[runs].read_text())
    assert (row["members"], row["images"], len(row["right"])) == ("std-0", 12, 4)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ('targets = ["synthetic@12", "synthetic"]', 'targets = ["synthetic@"]', "'synthetic@' is no \"name\""),
        ('targets = ["synthetic@12", "synthetic"]', "targets = []", "ensembles.targets is empty"),
        ("sides = [6, 12]", "sides = [12, 6]", "ensembles.sides = [12, 6] must be positive and ascend"),
        ("frozen_runs = 2", "frozen_runs = 0", "ensembles.frozen_runs = 0 must be positive"),
    ],
)
def test_presets_that_make_no_sense_are_refused(tmp_path, line, changed, message):
    """A target that is not named as one, sides out of order and runs that are none are refused at once."""
    text = (PRESET_FOLDER / "smoke.toml").read_text()
    assert line in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(RequestError, match=re.escape(message)):
        load_preset(path)
