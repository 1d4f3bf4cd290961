"""The runs of notebook 06: all of them, alone and in company, kept and resumed."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from advlook.core.files import digest
from advlook.experiments.ensembles import runs as ensemble_runs
from advlook.experiments.ensembles.runs import FINE_TUNED, FROZEN, Runs, every_run, measure
from advlook.experiments.ensembles.targets import find_target
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import save_checkpoint
from advlook.stats.paired import right_of
from advlook.study.study import Study
from advlook.study.tables import kept_rows


def fine_tuned(target, combination, run):
    return Runs("resnet10", target, FINE_TUNED, ((combination, run),))


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
