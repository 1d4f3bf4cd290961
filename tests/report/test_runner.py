"""The runner: skips what is up to date, survives failures and kills, and leaves no half results."""

import dataclasses
import json

import nbformat
import pytest
from helpers import write_folder
from written_notebooks import PARAMETERS, SAVE, write_notebook

from advlook.core.errors import RequestError
from advlook.core.files import digest
from advlook.core.preset_files import load_preset
from advlook.models.checkpoints import save_checkpoint
from advlook.report import execution, runner
from advlook.study.folders import ROOT
from advlook.study.study import Study


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


def test_an_absent_control_makes_no_result_stale(workshop, tmp_path):
    """Not all checkpoints of controls come with the project: how they are trained counts, as the keys of a preset."""
    preset = load_preset("smoke")
    study = Study(preset, output=tmp_path, data=tmp_path)

    def inputs(preset):
        given = Study(preset, output=tmp_path, data=tmp_path)
        return runner.input_digest(given, "smoke", tmp_path / "09_controls.ipynb", "")

    key = next(iter(study.each_model(preset.controls)))
    assert study.find_checkpoint(*key) is None
    before = inputs(preset)
    target = tmp_path / "cache" / "models" / "smoke" / f"{key[0]}-{key[1]}-seed{key[2]}.safetensors"
    save_checkpoint(target, study.model(key[0], "random", 0), {"digest": digest(preset.training_key(*key))})
    assert study.find_checkpoint(*key) == target
    assert inputs(preset) == before
    control = preset.controls[key[1]]
    longer = dataclasses.replace(control, epochs=control.epochs + 9)
    assert inputs(dataclasses.replace(preset, controls=preset.controls | {key[1]: longer})) != before


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
