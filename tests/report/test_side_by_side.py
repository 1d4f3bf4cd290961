"""Notebooks that run side by side: their order, and what an interruption or an error ends."""

import os
import threading
import time
from pathlib import Path

import pytest
from written_notebooks import PARAMETERS, SAVE, write_notebook

from advlook.core.errors import RequestError
from advlook.report import runner
from advlook.study.study import Study


def write_waiting(folder, name, awaited, place, patience):
    """A notebook that says it runs, with how many threads, and fails where another does not say so in time."""
    wait = f"""
import os, pathlib, time
place, end = pathlib.Path({str(place)!r}), time.monotonic() + {patience}
(place / {name!r}).write_text(os.environ.get("OMP_NUM_THREADS", ""))
while not (place / {awaited!r}).exists():
    assert time.monotonic() < end, "alone"
    time.sleep(0.05)"""
    place.mkdir(exist_ok=True)
    write_notebook(folder / f"{name}.ipynb", PARAMETERS, wait)


def test_notebooks_run_side_by_side_between_the_first_and_the_last(workshop, tmp_path, capsys, monkeypatch):
    """02 and 03 at once, sharing the cores; 01 has ended before them, and 08 starts after them."""
    folder, out = workshop
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="01", value=1))
    write_waiting(folder, "02_two", "03_three", tmp_path / "met", patience=60)
    write_waiting(folder, "03_three", "02_two", tmp_path / "met", patience=60)
    write_notebook(folder / "08_claims.ipynb", PARAMETERS, SAVE.format(name="08", value=1))
    assert runner.reproduce("small") == 0
    lines = [line.split(" (")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert lines[1] == "[1/4] 01_one: done"
    assert set(lines[2:4]) == {"[2/4] 02_two ...", "[3/4] 03_three ..."}
    assert lines[-2:] == ["[4/4] 08_claims ...", "[4/4] 08_claims: done"]
    assert {path.read_text() for path in (tmp_path / "met").iterdir()} == {"3"}
    assert len(list(out.glob("notebooks/*.ipynb"))) == 4


def test_controls_are_measured_after_the_others_and_before_the_claims():
    """They are compared with what 01, 03 and 04 have written; 08 reads all tables."""
    names = ["01_train", "02_attack", "04_corruptions", "08_claims", "09_controls"]
    groups = runner._side_by_side([Path(f"{name}.ipynb") for name in names])
    assert [[path.stem for path in group] for group in groups] == [names[:1], names[1:3], names[4:], names[3:4]]


def test_controls_are_left_out_where_a_preset_has_none(workshop, capsys):
    """Notebook 09 is not among those of such a preset; asked for by name, it is refused with the remedy."""
    folder, out = workshop
    for name in ("01_one", "09_controls"):
        write_notebook(folder / f"{name}.ipynb", PARAMETERS, SAVE.format(name=name[:2], value=1))
    assert runner.reproduce("small") == 0
    assert not (out / "notebooks" / "09_controls.ipynb").exists()
    with pytest.raises(RequestError, match=r"small has no controls.*\[controls.NAME\]"):
        runner.reproduce("small", ["09"])


@pytest.mark.parametrize("reason", ["asked for", "a model is absent, which both would train"])
def test_notebooks_run_one_at_a_time(reason, workshop, tmp_path, capsys, monkeypatch):
    """The first waits for the second in vain."""
    folder, _ = workshop
    write_waiting(folder, "02_two", "03_three", tmp_path / "met", patience=0.5)
    write_notebook(folder / "03_three.ipynb", PARAMETERS, f"open({str(tmp_path / 'met' / '03_three')!r}, 'w').close()")
    if reason != "asked for":
        monkeypatch.setattr(Study, "each_model", lambda *_: [("resnet10", "std", 0)])
        monkeypatch.setattr(Study, "find_checkpoint", lambda *_: None)
    assert runner.reproduce("small", jobs=1 if reason == "asked for" else 2) == 1
    printed = capsys.readouterr().out
    assert "02_two: FAILED" in printed
    assert "03_three: done" in printed


def test_an_interruption_ends_all_kernels_and_leaves_nothing(workshop, tmp_path, monkeypatch, capsys):
    """Both notebooks that run are given up at once, which is no failure of theirs, and their staging folders go."""
    folder, out = workshop
    met = tmp_path / "met"
    for name in ("02_two", "03_three"):
        write_waiting(folder, name, "nobody", met, patience=600)

    def interrupted(runs):
        while len(list(met.iterdir())) < 2:
            time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("small")
    assert not list(out.glob(".staging*"))
    assert "FAILED" not in capsys.readouterr().out
    assert not any('"alone"' in path.read_text().split('"outputs"')[-1] for path in out.glob("failed/*.ipynb"))


def test_an_error_ends_what_runs_and_what_waits(workshop, tmp_path, monkeypatch):
    """An error of ours in one notebook is told at once, though another runs and two wait for their turn."""
    folder, _ = workshop
    met = tmp_path / "met"
    for name in ("02_two", "03_three", "04_four", "05_five"):
        write_waiting(folder, name, "nobody", met, patience=600)
    execute = runner.execute

    def failing(notebook, *arguments):
        if notebook.stem != "02_two":
            return execute(notebook, *arguments)
        while not list(met.iterdir()):
            time.sleep(0.1)
        raise RequestError("no kernel")

    monkeypatch.setattr(runner, "execute", failing)
    raised = []

    def reproduce():
        try:
            runner.reproduce("small", jobs=2)
        except RequestError as error:
            raised.append(str(error))

    thread = threading.Thread(target=reproduce, daemon=True)
    thread.start()
    thread.join(120)
    assert raised == ["no kernel"]
