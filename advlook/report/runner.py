"""The runner: papermill executes the notebooks in order and a gallery shows what they made.

A notebook writes into a staging folder beside the results and its files are moved over only when all of it has run, so
that a failure or a kill leaves the earlier results as they were.
"""

import base64
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from advlook.core.errors import RequestError
from advlook.core.files import digest, file_hash, read_json, write_atomically
from advlook.experiments.ensembles.targets import find_targets
from advlook.experiments.stylization.images import styles_digest
from advlook.report.gallery import write_gallery
from advlook.study import provenance
from advlook.study.code import source_digest
from advlook.study.study import ROOT, Study

NOTEBOOKS = ROOT / "notebooks"
# Notebooks that read more than the study's images and models; the last what the others have written, and nothing else.
STYLIZATION, ENSEMBLES, CLAIMS = "05_stylization", "06_ensembles", "08_claims"
CELL_TIMEOUT = 7 * 24 * 3600  # seconds; training on the paper's scale happens inside a cell
LARGE_PICTURE = 60_000  # base64 characters of a picture in an executed notebook
PAGE_WIDTH = 800  # pixels of a page in which such a picture is read


def find_notebooks(wanted: Sequence[str] | None = None) -> list[Path]:
    """The notebooks in order, or those whose number or name is wanted. RequestError names one that does not exist."""
    every = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise RequestError(f"no notebooks in {NOTEBOOKS}; run from a clone of the project")
    if wanted is None:
        return every
    chosen = {}
    for name in wanted:
        matches = [path for path in every if name in (path.stem, path.stem.split("_")[0], path.name)]
        if not matches:
            raise RequestError(f"notebook {name!r} does not exist; choose from {', '.join(p.stem for p in every)}")
        chosen[matches[0]] = None
    return sorted(chosen)


def check_parameters(notebook: Path, parameters: dict[str, object]) -> None:
    """Refuse a parameter that the notebook does not declare (papermill itself only warns)."""
    declared = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in declared:
            raise RequestError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(declared) or 'none'}")


def input_digest(study: Study, preset: str, notebook: Path, cells: Sequence[tuple[str, str]]) -> str:
    """Hash of all that a notebook's results depend on: its cells, the code they import, the preset, images and weights;
    the styles of 05, the image sets of 06, and of the claims what the others have written."""
    besides = {}
    if notebook.stem == CLAIMS:
        tables = sorted((study.output / "tables").glob("*.csv"))
        besides = {path.name: file_hash(path) for path in tables if path.name[:2] != CLAIMS[:2]}
    elif notebook.stem == STYLIZATION:
        besides = {"styles": styles_digest(study)}
    elif notebook.stem == ENSEMBLES:
        config = study.preset.ensembles
        besides = {each.name: each.digest for each in find_targets(study, [*config.targets, *config.degraded])[0]}
    code = source_digest("\n".join(source for kind, source in cells if kind == "code"))
    return digest([cells, code, study.preset.digest, preset, study.data_digest, study.weights, besides])


def read_cells(notebook: Path) -> list[tuple[str, str]]:
    """Kind and source of every cell."""
    return [(cell.cell_type, cell.source) for cell in nbformat.read(notebook, as_version=4).cells]


def run_notebook(study: Study, preset: str, notebook: Path, force: bool = False) -> str:
    """Execute one notebook for a preset; returns "done" or "up to date".

    Raises PapermillExecutionError where a cell fails, and RuntimeError where the kernel dies, after moving the partial
    copy to `failed/`.
    """
    cells = read_cells(notebook)  # now: it may be edited while it runs
    record = study.output / "notebooks" / f"{notebook.stem}.json"
    failed = study.output / "failed" / notebook.name
    failed.unlink(missing_ok=True)
    if not force and _is_up_to_date(study, preset, notebook, cells, record):
        return "up to date"
    check_parameters(notebook, {"preset": preset})
    staging = study.output / f".staging-{notebook.stem}"
    shutil.rmtree(staging, ignore_errors=True)
    executed = staging / study.output.name / "notebooks" / notebook.name
    executed.parent.mkdir(parents=True)
    started = time.perf_counter()
    try:
        with _environment(
            ADVLOOK_OUTPUT=str(staging),
            ADVLOOK_EARLIER=str(study.output.parent),
            ADVLOOK_DATA=str(study.data),
            ADVLOOK_PLAIN_PROGRESS="1",
            ADVLOOK_LIVE="0",
        ):
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                {"preset": preset},
                kernel_name="python3",
                cwd=str(ROOT),
                execution_timeout=CELL_TIMEOUT,
                progress_bar=False,
                stderr_file=sys.stderr,
                extra_arguments=["--IPKernelApp.log_level=40"],  # its hint on encryption is noise on one machine
            )
    except BaseException:
        if executed.is_file():
            tidy_notebook(executed)
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(executed, failed)
        shutil.rmtree(staging, ignore_errors=True)
        raise
    tidy_notebook(executed)
    made = sorted(path for path in (staging / study.output.name).rglob("*") if path.is_file())
    names = [str(path.relative_to(staging / study.output.name)) for path in made]
    for path, name in zip(made, names, strict=True):
        (study.output / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, study.output / name)
    shutil.rmtree(staging)
    for name in set(read_json(record).get("made", ())) - set(names):  # by an earlier state of the notebook
        (study.output / name).unlink(missing_ok=True)
    description = provenance.describe(study.preset, study.device) | {
        "inputs": input_digest(study, preset, notebook, cells),
        "made": names,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_atomically(record, lambda partial: partial.write_text(json.dumps(description, indent=2) + "\n"))
    return "done"


def reproduce(
    preset: str = "quick", notebooks: Sequence[str] | None = None, output: Path | None = None, force: bool = False
) -> int:
    """Run the notebooks of a preset and write the gallery. Returns 0, or 1 where a notebook failed.

    Notebooks whose results are up to date are skipped unless `force`. Every notebook is tried; one that fails is named
    with its error, and its partial copy lies in `failed/`. Raises RequestError for an unknown preset or notebook, or
    where a checkpoint from elsewhere is absent.
    """
    study = Study(preset, output=output)
    preset = str(Path(preset).resolve()) if Path(preset).suffix == ".toml" else preset  # notebooks run in our folder
    chosen = find_notebooks(notebooks)
    study.require_external()
    failures = 0
    started = time.perf_counter()
    print(repr(study), flush=True)
    for place, notebook in enumerate(chosen, 1):
        began = time.perf_counter()
        print(f"[{place}/{len(chosen)}] {notebook.stem} ...", flush=True)
        try:
            outcome = run_notebook(study, preset, notebook, force)
        except (PapermillExecutionError, DeadKernelError) as error:
            failures += 1
            outcome = "FAILED: its kernel died, perhaps for want of memory"
            if isinstance(error, PapermillExecutionError):
                outcome = f"FAILED in cell {error.exec_count}: {error.ename}: {error.evalue}".splitlines()[0]
            outcome += f"; see {_shown(study.output / 'failed' / notebook.name)}"
        print(f"[{place}/{len(chosen)}] {notebook.stem}: {outcome} ({time.perf_counter() - began:.0f} s)", flush=True)
    page = write_gallery(study.output, study.preset)
    print(f"{'Failed' if failures else 'Done'} in {time.perf_counter() - started:.0f} s. Gallery: {page.resolve()}")
    return 1 if failures else 0


def tidy_notebook(path: Path) -> None:
    """Take progress bars, papermill's marks (which hold local paths) and timestamps out of an executed copy.

    Large pictures become JPEGs: a notebook of many megabytes opens slowly, and the figures lie beside it as they are.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    cells = []
    for cell in notebook.cells:
        marked = cell.metadata.get("tags", [])
        if any(tag.startswith("papermill-error") for tag in marked):
            continue
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [_lighter(output) for output in cell.outputs if not _is_progress(output)]
        cells.append(cell)
    notebook.cells = cells
    text = nbformat.writes(notebook).replace(str(ROOT) + os.sep, "")
    write_atomically(path, lambda partial: partial.write_text(text + "\n"))


def _lighter(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output with a large PNG as a JPEG no wider than a page, where that is smaller."""
    data = output.get("data", {})
    if len(data.get("image/png", "")) > LARGE_PICTURE:
        with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
            picture = Image.new("RGB", image.size, "white")
            picture.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
        picture.thumbnail((PAGE_WIDTH, picture.height))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=65, optimize=True)
        jpeg = base64.b64encode(buffer.getvalue()).decode()
        if len(jpeg) < len(data["image/png"]):
            del data["image/png"]
            data["image/jpeg"] = jpeg
    return output


def _is_progress(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream" and output.name == "stderr":
        seen = output.text.replace("\x1b[A", "")  # bars below one another move the cursor up and down
        return "\r" in seen or not seen.strip() or re.search(r"\d+%\|", seen) is not None
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _is_up_to_date(study: Study, preset: str, notebook: Path, cells: Sequence[tuple[str, str]], record: Path) -> bool:
    kept = read_json(record)
    complete = "made" in kept and all((study.output / name).is_file() for name in kept["made"])
    return complete and kept.get("inputs") == input_digest(study, preset, notebook, cells)


def _shown(path: Path) -> Path:
    """A path as the user would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def _environment(**variables: str):  # noqa: ANN202
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
