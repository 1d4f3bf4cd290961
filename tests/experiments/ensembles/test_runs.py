"""The runs of notebook 06: all of them, alone and in company, kept and resumed."""

import dataclasses
import json
import shutil
from functools import partial

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from advlook.core.files import digest
from advlook.core.presets import ControlConfig
from advlook.data.catalogue import find
from advlook.experiments.ensembles import runs as ensemble_runs
from advlook.experiments.ensembles import targets
from advlook.experiments.ensembles.measure import transfer
from advlook.experiments.ensembles.runs import FINE_TUNED, FROZEN, Runs, every_run, measure
from advlook.experiments.ensembles.targets import POOLED, find_target, load_images
from advlook.models.architectures import preset_model, split_last_layer
from advlook.models.checkpoints import save_checkpoint
from advlook.models.evaluation import predict
from advlook.models.fusion import COMBINATIONS
from advlook.models.probes import Probes, shuffled_folds
from advlook.stats.paired import right_of
from advlook.study.study import Study
from advlook.study.tables import kept_rows


def fine_tuned(target, combination, run):
    return Runs("resnet10", target, FINE_TUNED, ((combination, run),))


def test_every_combination_is_run(study):
    """Fine-tuned so many runs of each of five combinations; with frozen backbones one of every choice of checkpoints,
    of which two seeds give a single pair of equals. Those on degraded sets are frozen."""
    target = find_target(study, "noise")
    rows = measure(study, every_run(study, [target]))
    counts = rows.groupby(["mode", "combination"]).size()
    assert set(counts[FINE_TUNED]) == {2}
    assert counts[FROZEN].to_dict() == {"STD": 2, "ADV": 2, "STD+STD": 1, "ADV+ADV": 1, "STD+ADV": 2}
    members = rows[rows["mode"] == FROZEN].groupby("combination")["members"]
    assert all(len(each) == len(set(each)) for _, each in members)
    assert set(rows["images"]) == {12}
    for row in rows.itertuples():
        assert row.members.split()[0].split("-")[0].upper() == row.combination.split("+")[0]
    assert rows["top1"].to_list() == pytest.approx(100 * right_of(rows).mean(1))
    assert set(rows["known"]) == {True}
    assert {each.mode for each in every_run(study, [target.at(4)], modes=("frozen",))} == {"frozen"}


def test_small_sets_are_answered_by_cross_validation(study, monkeypatch):
    """Of a set of folds every image is a test image once, by classifiers that have not seen it."""
    monkeypatch.setattr(targets, "pooled", lambda name, folder: find(name, "train", folder))
    whole = dataclasses.replace(find_target(study, "noise"), train=24, test=24, folds=3)
    (runs,) = every_run(study, [whole], modes=(FROZEN,))
    rows = measure(study, [runs])
    assert set(rows["images"]) == {24}
    images = load_images(study, whole, POOLED)
    backbone, _ = split_last_layer(study.model("resnet10", "std", 0), 16)
    probes = Probes(predict(backbone, images), images.labels, 3, shuffled_folds(images.labels, 3))
    (row,) = rows[rows["members"] == "std-0"].to_dict("records")
    assert (row["right"] == (probes.crossed().argmax(1) == images.labels).numpy()).all()


def test_other_radii_are_measured_where_they_are_trained(study):
    """A control that differs from ADV in the radius alone, and whose checkpoint is here, is run alone on sets as they
    are; other controls, absent checkpoints and degraded sets have none."""
    smaller = dataclasses.replace(study.preset.adversary, eps=1 / 255, step_size=1 / 255)
    other = dataclasses.replace(smaller, steps=study.preset.adversary.steps + 3)
    made = partial(ControlConfig, like="adv", archs=("resnet10",), seeds=(0, 1), epochs=0)
    training = study.preset.training
    controls = {
        "adv-1": made(title="ADV 1/255", adversary=smaller, training=training),
        "other": made(title="another", adversary=other, training=training),
    }
    study.preset = preset = dataclasses.replace(study.preset, controls=controls)
    (study.data / "models").unlink()
    shutil.copytree((study.data / "datasets").resolve().parent / "models", study.data / "models")
    path = study.data / "models" / "small" / "resnet10-adv-1-seed1.safetensors"
    key = preset.training_key("resnet10", "adv-1", 1)
    save_checkpoint(path, preset_model(preset, "resnet10", 5), {"digest": digest(key)})
    target = find_target(study, "noise")
    assert list(preset.doses) == ["std", "adv-1", "adv"]
    (runs,) = every_run(study, [target], modes=(FROZEN,))
    assert [each for each in runs.chosen if each[0] not in COMBINATIONS] == [("adv-1", 1)]
    (degraded,) = every_run(study, [target.at(4)], modes=(FROZEN,))
    assert {name for name, _ in degraded.chosen} == set(COMBINATIONS)
    rows = transfer(measure(study, [runs]), preset.doses)
    assert rows.groupby("setting")["seed"].apply(list).to_dict() == {"adv": [0, 1], "adv-1": [1], "std": [0, 1]}
    assert rows.set_index("setting")["eps"].to_dict() == preset.doses


def test_a_preset_with_one_seed_lacks_pairs_of_a_kind(study):
    """Their rows are absent, and nothing else is."""
    preset = dataclasses.replace(study.preset, seeds=(0,))
    single = Study(preset, output=study.output, data=study.data, progress=False)
    rows = measure(single, every_run(single, [find_target(single, "noise")]))
    assert list(dict.fromkeys(rows["combination"])) == ["STD", "ADV", "STD+ADV"]


def test_finished_runs_are_kept(study, monkeypatch):
    """An interrupted measurement goes on with the run that failed, and ends with what an uninterrupted one has."""
    target = find_target(study, "noise")
    runs = [fine_tuned(target, name, 0) for name in ("STD", "ADV", "STD+ADV")]
    made = []

    def counted(self, study, progressed, rows=Runs.rows):
        made.append(self.chosen[0][0])
        if made == ["STD", "ADV"]:
            raise KeyboardInterrupt
        yield from rows(self, study, progressed)

    monkeypatch.setattr(Runs, "rows", counted)
    with pytest.raises(KeyboardInterrupt):
        measure(study, runs)
    resumed = measure(study, runs)
    assert made == ["STD", "ADV", "ADV", "STD+ADV"]
    assert_frame_equal(measure(study, runs), resumed)
    assert len(made) == 4
    shutil.rmtree(study.data / "cache" / "ensembles")
    assert_frame_equal(measure(study, runs), resumed)


def test_runs_depend_on_what_made_them(study, tmp_path, make_study):
    """Another rate, number, checkpoint or image set makes another run; other measurements and other targets do not."""

    def key(study, runs):
        return ensemble_runs._places(study, [runs])[runs].name

    target = find_target(study, "noise")
    first = fine_tuned(target, "STD", 0)
    known = key(study, first)
    others = [
        (study, fine_tuned(target, "STD", 1)),
        (study, fine_tuned(target, "ADV", 0)),
        (study, fine_tuned(target.at(8), "STD", 0)),
        (study, Runs("resnet10", target, FROZEN, (("STD", 0), ("STD+ADV", 1)))),
        (make_study(study.data, tmp_path, learning_rate=0.02), first),
        (make_study(study.data, tmp_path, epochs=2), first),
    ]
    assert known not in [key(*other) for other in others]
    same = make_study(study.data, tmp_path, runs=5, targets=("noise", "cub200"), sides=(4,))
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
    runs = [Runs("resnet10", target, FROZEN, (("STD", 0), ("STD+ADV", 1))), fine_tuned(target, "STD", 0)]
    here = measure(study, runs)
    shutil.rmtree(study.data / "cache" / "ensembles")
    monkeypatch.setattr("advlook.core.processes.FEW", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert_frame_equal(measure(study, runs), here)


def test_kept_rows_are_plain(study):
    """What is kept of a run can be read without this package, and its bits are as many as there are test images."""
    target = find_target(study, "noise")
    runs = fine_tuned(target, "STD", 0)
    measure(study, [runs])
    with np.load(ensemble_runs._places(study, [runs])[runs]) as kept:
        (row,) = json.loads(str(kept["text"]))["rows"]
        assert (row["members"], row["images"]) == ("std-0", 12)
        assert (kept["0 right"].shape, kept["0 right"].dtype) == ((12,), bool)


def test_a_single_run_is_the_same_as_in_company(study):
    """Made alone, without any cache, fine-tuned and frozen runs give the rows that they have among all others."""
    every = every_run(study, [find_target(study, "noise")])
    together = measure(study, every).set_index(["mode", "combination", "seed"])
    for mode, combination, run in ((FROZEN, "STD+ADV", 1), (FROZEN, "ADV", 0), (FINE_TUNED, "ADV+ADV", 1)):
        alone = Runs("resnet10", every[0].target, mode, ((combination, run),))
        (row,) = alone.rows(study)
        known = together.loc[(mode, combination, run)]
        assert {name: row[name] for name in ("top1", "images", "members", "parameters")} == known[
            ["top1", "images", "members", "parameters"]
        ].to_dict()
        np.testing.assert_array_equal(row["right"], known["right"])


def test_seconds_of_kept_runs_are_counted_once(study, make_study):
    """A study that finds its runs kept counts what they took; one that makes them does not count them again."""
    runs = [fine_tuned(find_target(study, "noise"), "STD", 0)]
    measure(study, runs)
    assert study.seconds_kept == 0
    later = make_study(study.data, study.output)
    measure(later, runs)
    assert later.seconds_kept == kept_rows(ensemble_runs._places(later, runs)[runs[0]])[1] > 0
