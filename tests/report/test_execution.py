"""Executing a notebook: which kernel runs it, what is told where none starts, and how its copy is tidied."""

import base64
import io
import json
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image

from advlook.core.errors import RequestError
from advlook.report import execution
from advlook.study.folders import ROOT


@pytest.fixture
def run(tmp_path):
    """Executes a notebook that prints which Python runs it; returns what it printed."""
    source, executed = tmp_path / "source.ipynb", tmp_path / "executed.ipynb"
    cells = [nbformat.v4.new_code_cell(code) for code in ('preset = ""', "import sys; print(sys.executable)")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), source)

    def execute():
        execution.execute(source, executed, "quick", {}, sys.stderr)
        return nbformat.read(executed, as_version=4).cells[-1].outputs[0].text.strip()

    return execute


def test_notebooks_run_in_the_python_that_runs_us(run, tmp_path, monkeypatch):
    """Another Python's kernel that Jupyter finds first by the same name, and which cannot start, is not asked."""
    place = tmp_path / "kernels" / execution.KERNEL
    place.mkdir(parents=True)
    command = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "other", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(command))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert run() == sys.executable.removeprefix(f"{ROOT}/")  # as executed notebooks tell paths within the project


@pytest.mark.parametrize("fault", ["no Python", "dies", "hangs"])
def test_a_kernel_that_does_not_start_is_told_in_one_line(fault, run, tmp_path, monkeypatch, capsys):
    """Whatever the reason: which Python it belongs to, why, and the remedy; and nothing else is printed by us."""
    python = tmp_path / "python"
    if fault in ("dies", "hangs"):
        python.write_text("#!/bin/sh\n" + ("exec sleep 60" if fault == "hangs" else "exit 1"))
        python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(execution, "START_TIMEOUT", 3)
    with pytest.raises(RequestError, match=r"kernel of .*python\S* does not start \(.+\); .*install ipykernel") as told:
        run()
    assert "\n" not in str(told.value)
    assert "Traceback" not in "".join(capsys.readouterr())
    assert not execution._running


def test_nothing_is_left_of_bars_in_executed_notebooks(tmp_path):
    """Neither the bars nor the moves of the cursor between those below one another; warnings stay."""
    texts = ["\r 10%|#", "\n", "\x1b[A", "\n\x1b[A", "Warning: mind this\n"]
    outputs = [nbformat.v4.new_output("stream", name="stderr", text=text) for text in texts]
    path = tmp_path / "made.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)]), path)
    execution.tidy_notebook(path)
    kept = nbformat.read(path, as_version=4).cells[0].outputs
    assert [output.text for output in kept] == texts[-1:]


def test_large_pictures_in_executed_notebooks_become_jpegs(tmp_path):
    """A large picture shrinks and still shows the same, on white where it was transparent; a small one stays."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((50, 50, 1))) + rng.integers(0, 12, (400, 400, 3))
    pixels = np.dstack([smooth.clip(0, 255), np.full((400, 400), 255)]).astype(np.uint8)
    pixels[:50, :, 3] = 0

    def picture(values):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    shown = [nbformat.v4.new_output("display_data", {"image/png": picture(p)}) for p in (pixels, pixels[:8, :8])]
    path = tmp_path / "made.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=shown)]), path)
    execution.tidy_notebook(path)
    large, small = nbformat.read(path, as_version=4).cells[0].outputs
    assert small.data == {"image/png": picture(pixels[:8, :8])}
    assert list(large.data) == ["image/jpeg"]
    assert len(large.data["image/jpeg"]) < len(picture(pixels)) / 2
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(large.data["image/jpeg"]))), dtype=float)
    assert abs(seen[60:] - pixels[60:, :, :3]).mean() < 8
    assert seen[:40].min() > 240
