"""The notebooks as lessons: what one will learn stands at the beginning, two exercises at the end."""

import ast

import nbformat
import pytest

from advlook.report import texts
from advlook.report.runner import CONTROLS
from advlook.study import Study
from advlook.study.folders import ROOT

each_notebook = pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)


@each_notebook
def test_notebooks_are_lessons(notebook):
    """Goals before the first line of code; behind everything else two exercises with a cell each, which save nothing.

    That the cells run is seen by nbval and papermill, which run all of every notebook.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    kinds = [cell.cell_type for cell in cells]
    opening = "\n".join(cell.source for cell in cells[: kinds.index("code")])
    assert 2 <= opening.partition("What you will learn")[2].count("\n- ") <= 4
    starts = [place for place, cell in enumerate(cells) if cell.source.startswith("## Exercises")]
    assert len(starts) == 1
    exercises = cells[starts[0] :]
    assert [cell.cell_type for cell in exercises] == ["markdown", "code"] * 2
    assert not [cell.source for cell in exercises if "save_" in cell.source or "study.measure(" in cell.source]


@each_notebook
def test_notebooks_import_rooms(notebook):
    """Of the package a notebook imports its own experiment and names of other rooms, nothing deeper."""
    cells = nbformat.read(notebook, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    found = list(ast.walk(ast.parse("\n".join(line for line in lines if not line.startswith("%")))))
    imported = {node.module for node in found if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    own = f"advlook.experiments.{notebook.stem.partition('_')[2]}"
    assert own in imported
    assert not [name for name in imported - {own} if name == "advlook.experiments" or name.count(".") > 1]


FINDINGS = [
    (notebook, cell.source)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb"))
    for cell in nbformat.read(notebook, as_version=4).cells
    if texts.FINDINGS in cell.metadata.get("tags", [])
]


@pytest.mark.parametrize("preset", ["quick", "imagenette", "cifar10"])
def test_findings_are_told_of_committed_results(preset):
    """Each sentence can be generated from the tables alone, and the executed copies show what these say."""
    study = Study(preset, output=ROOT / "figures", progress=False)
    assert {path.stem[:2] for path, _ in FINDINGS} == {"01", "02", "03", "04", "05", "06", "09"}
    for path, source in FINDINGS:
        if path.stem == CONTROLS and not study.preset.controls:
            continue
        told = texts.findings(source, study)
        assert "- **" in told or "no cue conflicts of several block sizes" in told
        copy = nbformat.read(study.output / "notebooks" / path.name, as_version=4)
        outputs = [cell.outputs for cell in copy.cells if cell.source == source]
        assert [output.data["text/markdown"] for shown in outputs for output in shown] == [told]


@each_notebook
def test_no_finding_of_our_own_runs_is_in_prose(notebook):
    """A notebook runs on anybody's models: it names neither our networks, nor what was found on our image sets."""
    cells = nbformat.read(notebook, as_version=4).cells
    told = [cell.source.replace("ResNet-101", "") for cell in cells if cell.cell_type == "markdown"]
    assert [text for text in told if "ResNet-10" in text or "AlexNets" in text] == []
