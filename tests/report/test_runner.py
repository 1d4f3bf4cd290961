"""The runner: skips what is up to date, survives failures and kills, and leaves no half results."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from helpers import small_preset, write_folder
from safetensors.torch import load_file

from advlook.core.errors import RequestError
from advlook.core.preset_files import PRESET_FOLDER
from advlook.report import execution, runner
from advlook.study.folders import ROOT
from advlook.study.study import Study

PARAMETERS = 'preset = "quick"'
SAVE = """
from pathlib import Path
import os
folder = Path(os.environ["ADVLOOK_OUTPUT"]) / "small"
(folder / "tables").mkdir(parents=True, exist_ok=True)
(folder / "tables" / "{name}.csv").write_text("value\\n{value}\\n")
"""


def write_notebook(path, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A study without models, and a folder for notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    preset = small_preset()
    object.__setattr__(preset, "archs", ())
    monkeypatch.setattr(runner, "Study", lambda *a, **k: Study(preset, output=tmp_path / "out", data=tmp_path / "data"))
    return folder, tmp_path / "out" / "small"


def test_results_are_kept_and_skipped_until_something_changes(workshop, capsys):
    """A run makes table, executed copy and record; a second skips it; a change of the code or --force runs it."""
    folder, out = workshop
    source = write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="a", value=1), "print(preset)")
    assert runner.reproduce("small") == 0
    assert (out / "tables" / "a.csv").read_text() == "value\n1\n"
    executed = nbformat.read(out / "notebooks" / "01_one.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "small\n"
    assert str(ROOT) not in (out / "notebooks" / "01_one.ipynb").read_text()
    assert "01_one: done" in capsys.readouterr().out
    runner.reproduce("small")
    assert "up to date" in capsys.readouterr().out
    (out / "tables" / "a.csv").unlink()
    write_notebook(source, PARAMETERS, SAVE.format(name="a", value=2))
    runner.reproduce("small")
    assert (out / "tables" / "a.csv").read_text() == "value\n2\n"
    record = json.loads((out / "notebooks" / "01_one.json").read_text())
    assert record["made"] == ["notebooks/01_one.ipynb", "tables/a.csv"]
    runner.reproduce("small", force=True)
    assert "01_one: done" in capsys.readouterr().out.split("up to date")[-1]


def test_what_a_notebook_no_longer_makes_goes(workshop):
    """A result under a name that its notebook has given up is not shown beside the new one."""
    folder, out = workshop
    source = write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="01_old", value=1))
    write_notebook(folder / "02_two.ipynb", PARAMETERS, SAVE.format(name="02_other", value=1))
    runner.reproduce("small")
    write_notebook(source, PARAMETERS, SAVE.format(name="01_new", value=2))
    runner.reproduce("small")
    assert sorted(path.stem for path in (out / "tables").iterdir()) == ["01_new", "02_other"]


def test_a_failed_notebook_is_named_and_spares_the_rest(workshop, capsys):
    """The failure is told with its error; the good results of before stay; later notebooks still run."""
    folder, out = workshop
    good = (PARAMETERS, SAVE.format(name="a", value=1))
    write_notebook(folder / "01_one.ipynb", *good)
    runner.reproduce("small")
    write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="a", value=7), "raise OSError('no luck')")
    write_notebook(folder / "02_two.ipynb", PARAMETERS, SAVE.format(name="b", value=2))
    assert runner.reproduce("small") == 1
    printed = capsys.readouterr().out
    assert "01_one: FAILED" in printed
    assert "OSError: no luck" in printed
    assert (out / "tables" / "a.csv").read_text() == "value\n1\n"
    assert (out / "tables" / "b.csv").read_text() == "value\n2\n"
    assert (out / "failed" / "01_one.ipynb").is_file()
    assert "failed" in (out / "index.html").read_text()
    assert not list(out.glob(".staging*"))
    write_notebook(folder / "01_one.ipynb", *good)
    assert runner.reproduce("small") == 0
    assert not (out / "failed" / "01_one.ipynb").exists()


def test_a_notebook_whose_kernel_dies_is_named_and_spares_the_rest(workshop, capsys):
    """A kernel that the system kills, for want of memory for instance, fails its notebook and no other."""
    folder, out = workshop
    write_notebook(folder / "01_one.ipynb", PARAMETERS, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    write_notebook(folder / "02_two.ipynb", PARAMETERS, SAVE.format(name="b", value=2))
    assert runner.reproduce("small") == 1
    assert "01_one: FAILED: its kernel died" in capsys.readouterr().out
    assert (out / "tables" / "b.csv").is_file()
    assert "failed" in (out / "index.html").read_text()


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


def test_output_that_comes_late_is_awaited_and_one_that_does_not_come_is_told(workshop, monkeypatch, capsys):
    """nbclient gives up four seconds after a cell's end; a kernel whose output never comes fails its notebook only."""
    folder, out = workshop
    late = """
import time
from IPython import get_ipython
kernel = get_ipython().kernel
send = kernel._publish_status
kernel._publish_status = lambda state, *rest: (time.sleep(6 * (state == "idle")), send(state, *rest))"""
    write_notebook(folder / "02_two.ipynb", PARAMETERS, late)
    assert runner.reproduce("small") == 0
    monkeypatch.setattr(execution, "OUTPUT_TIMEOUT", 2)
    write_notebook(folder / "03_three.ipynb", PARAMETERS, SAVE.format(name="b", value=2))
    assert runner.reproduce("small", force=True) == 1
    assert "02_two: FAILED: the output of its kernel did not arrive" in capsys.readouterr().out
    assert (out / "tables" / "b.csv").is_file()


def test_a_notebook_edited_while_it_runs_is_run_again(workshop, capsys):
    """What counts are the cells that were executed, not those that the file holds when they are done."""
    folder, _ = workshop
    source = folder / "01_one.ipynb"
    edit = f"import nbformat; n = nbformat.read({str(source)!r}, 4); n.cells.append(nbformat.v4.new_code_cell('1'))"
    write_notebook(source, PARAMETERS, SAVE.format(name="a", value=1), f"{edit}; nbformat.write(n, {str(source)!r})")
    runner.reproduce("small")
    runner.reproduce("small")
    assert "up to date" not in capsys.readouterr().out


def test_styles_and_image_sets_are_inputs(workshop, tmp_path, monkeypatch):
    """Pictures that are put into the folder of styles, or an image set that ensembles had lacked, are seen."""
    folder, _ = workshop
    study = runner.Study()
    stylization = dataclasses.replace(study.preset.stylization, styles=("paintings",))
    ensembles = dataclasses.replace(study.preset.ensembles, targets=("synthetic", "flowers"))
    study.preset = dataclasses.replace(study.preset, stylization=stylization, ensembles=ensembles)

    def digests():
        names = runner.STYLIZATION, runner.ENSEMBLES, "04_corruptions"
        return [runner.input_digest(study, "small", folder / f"{name}.ipynb", "") for name in names]

    before = digests()
    assert digests() == before
    write_folder(study.data / "datasets" / "paintings", count=2, side=16)
    between = digests()
    assert [a == b for a, b in zip(before, between, strict=True)] == [False, True, True]
    for split in ("train", "test"):
        write_folder(study.data / "datasets" / "flowers" / split, count=4, side=16)
    assert [a == b for a, b in zip(between, digests(), strict=True)] == [True, False, True]


def test_sentences_do_not_make_results_stale(workshop, capsys):
    """Another text renews the executed copy and the page without a kernel; other code runs the notebook."""
    folder, out = workshop
    source = write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="a", value=1))
    runner.reproduce("small")
    record = (out / "notebooks" / "01_one.json").read_text()
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[1].source += "# a remark"
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# A better title"))
    nbformat.write(notebook, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution.papermill, "execute_notebook", lambda *_a, **_k: pytest.fail("started a kernel"))
        assert runner.reproduce("small") == 0
        assert "01_one: texts renewed" in capsys.readouterr().out
        assert runner.reproduce("small") == 0
        assert "01_one: up to date" in capsys.readouterr().out
    assert "A better title" in (out / "index.html").read_text()
    assert (out / "notebooks" / "01_one.json").read_text() == record
    notebook.cells[2].source += "\nprint(1)"
    nbformat.write(notebook, source)
    runner.reproduce("small")
    assert "01_one: done" in capsys.readouterr().out


def test_texts_are_renewed_where_nothing_can_be_run(workshop, capsys):
    """`renew_texts` asks neither for images nor for models; a notebook with other code keeps its texts."""
    folder, out = workshop
    for name in ("01_one", "02_two"):
        write_notebook(folder / f"{name}.ipynb", PARAMETERS, SAVE.format(name=name, value=1))
    runner.reproduce("small")
    for name, added in (("01_one", "# a remark"), ("02_two", "print(1)")):
        write_notebook(folder / f"{name}.ipynb", PARAMETERS, SAVE.format(name=name, value=1) + added)
    before = (out / "notebooks" / "02_two.ipynb").read_text()
    capsys.readouterr()
    assert runner.renew_texts("small") == 0
    printed = capsys.readouterr().out
    assert "02_two: not run with this code" in printed
    assert "Texts of 1 of 2 notebooks renewed" in printed
    assert "# a remark" in (out / "notebooks" / "01_one.ipynb").read_text()
    assert (out / "notebooks" / "02_two.ipynb").read_text() == before


def test_seconds_count_what_came_from_the_cache(workshop):
    """The run's own seconds, and those that measurements taken from the cache had cost."""
    folder, out = workshop
    told = 'for name, kept in (("a", 500.0), ("b", 7000.5)):\n    (folder / f"{name}.json").write_text('
    told += "'{\"seconds_kept\": %s}' % kept)"
    write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="a", value=1), told)
    runner.reproduce("small")
    assert 7000.5 < json.loads((out / "notebooks" / "01_one.json").read_text())["seconds"] < 7200


def test_pdfs_are_made_on_request(workshop, capsys):
    """A notebook that is up to date is run for them, and once they are there it is not."""
    folder, out = workshop
    figure = 'from PIL import Image\nImage.new("L", (4, 4)).save(folder / "a.png")\n'
    figure += 'if os.environ["ADVLOOK_PDF"]:\n    (folder / "a.pdf").touch()'
    write_notebook(folder / "01_one.ipynb", PARAMETERS, SAVE.format(name="a", value=1), figure)
    runner.reproduce("small")
    assert not (out / "a.pdf").exists()
    runner.reproduce("small", pdf=True)
    assert (out / "a.pdf").exists()
    capsys.readouterr()
    runner.reproduce("small", pdf=True)
    runner.reproduce("small")
    assert capsys.readouterr().out.count("up to date") == 2


def test_an_undeclared_parameter_is_refused(workshop):
    """papermill only warns of a parameter that the notebook does not know; the runner does not start."""
    folder, out = workshop
    write_notebook(folder / "01_one.ipynb", "other = 1", SAVE.format(name="a", value=1))
    with pytest.raises(RequestError, match="preset"):
        runner.reproduce("small")
    assert not (out / "tables").exists()


def test_notebooks_are_chosen_by_number_or_name(workshop):
    """Both forms work, the order is the notebooks' own, and an unknown one is named."""
    folder, _ = workshop
    paths = [write_notebook(folder / f"0{k}_n{k}.ipynb", PARAMETERS) for k in (1, 2, 3)]
    assert runner.find_notebooks() == paths
    assert runner.find_notebooks(["03", "01_n1"]) == [paths[0], paths[2]]
    with pytest.raises(RequestError, match="'04'"):
        runner.find_notebooks(["04"])


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_source_notebooks_keep_the_house_style(notebook):
    """Short cells, prose before code, no outputs but compared ones, no local path, a declared parameter."""
    cells = nbformat.read(notebook, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    runner.check_parameters(notebook, {"preset": "smoke"})
    for cell in cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 15
            assert not cell.outputs or "NBVAL_CHECK_OUTPUT" in cell.source
            assert "/home/" not in cell.source


SMALLER = (
    'archs = ["resnet10"]',
    "train_images = 160",
    "test_images = 30",
    "check_images = 10",
    'curve = ["0/255", "8/255"]',
    "curve_images = 10",
    "pgd_steps = 4",
    "suite_steps = 2",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["reproduce --preset {} --notebooks 01,02", "train --preset {} --arch resnet10 --setting adv"]
)
def test_killed_runs_end_in_the_same_results(command, tmp_path):
    """SIGKILL at five random moments of a run, then a run to the end: tables and weights as if undisturbed."""
    smaller = (PRESET_FOLDER / "smoke.toml").read_text()
    for line in SMALLER:
        smaller = re.sub(f"^{line.partition(' = ')[0]} = .*", line, smaller, count=1, flags=re.MULTILINE)
    (tmp_path / "smaller.toml").write_text(smaller)
    words = command.format(tmp_path / "smaller.toml").split()
    seconds = run(words, tmp_path / "undisturbed")
    moments = random.Random(command)
    for _ in range(5):
        run(words, tmp_path / "killed", kill_after=moments.uniform(0.1, 0.9) * seconds)
    run(words, tmp_path / "killed")
    assert results(tmp_path / "killed") == results(tmp_path / "undisturbed") != {}
    assert not list((tmp_path / "killed").glob("out/**/.staging*"))


def run(words, place, kill_after=None):
    """Run the command line with its own data and output folder; returns the seconds taken."""
    environment = os.environ | {"ADVLOOK_DATA": str(place / "data"), "ADVLOOK_OUTPUT": str(place / "out")}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "advlook", *words],
        env=environment,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(kill_after) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return time.monotonic() - started


def results(place):
    """The content of every table and the weights of every checkpoint, without the seconds that epochs took."""
    tables = {
        path.name: pd.read_csv(path).drop(columns="seconds", errors="ignore").to_csv()
        for path in place.glob("out/**/tables/*.csv")
    }
    weights = {
        path.name: {name: value.tolist() for name, value in load_file(path).items()}
        for path in place.glob("data/cache/models/**/*.safetensors")
    }
    return tables | weights
