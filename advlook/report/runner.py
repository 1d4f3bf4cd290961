"""The runner: papermill executes the notebooks in order, and a gallery shows what they made. A notebook writes into a
staging folder beside the results. Its files are moved over when all of it has run: a failure leaves the earlier
ones."""

import base64
import io
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from advlook.core.errors import RequestError
from advlook.core.files import digest, file_hash, read_json, write_atomically
from advlook.experiments.ensembles.targets import find_targets
from advlook.experiments.stylization.images import styles_digest
from advlook.report import texts
from advlook.report.gallery import write_gallery
from advlook.study import provenance
from advlook.study.code import source_digest
from advlook.study.folders import ROOT
from advlook.study.study import Study

NOTEBOOKS = ROOT / "notebooks"
# Notebooks that read more than the study's images and models; the last reads what the others have written.
STYLIZATION, ENSEMBLES, CLAIMS = "05_stylization", "06_ensembles", "08_claims"
KERNEL = "python3"
CELL_TIMEOUT = 7 * 24 * 3600  # seconds; training on the paper's scale happens inside a cell
LARGE_PICTURE = 60_000  # base64 characters of a picture in an executed notebook
PAGE_WIDTH = 800  # pixels of a page in which such a picture is read


def find_notebooks(wanted: Sequence[str] | None = None) -> list[Path]:
    """The notebooks in order, or those whose number or name is wanted. RequestError names one that does not exist."""
    every = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise RequestError(f"no notebooks in {NOTEBOOKS}; run from a clone of the project")
    chosen = set(every if wanted is None else ())
    for name in wanted or ():
        matches = [path for path in every if name in (path.stem, path.stem.split("_")[0], path.name)]
        if not matches:
            raise RequestError(f"notebook {name!r} does not exist; choose from {', '.join(p.stem for p in every)}")
        chosen.add(matches[0])
    return sorted(chosen)


def check_parameters(notebook: Path, parameters: dict[str, object]) -> None:
    """Refuse a parameter that the notebook does not declare (papermill itself only warns)."""
    declared = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in declared:
            raise RequestError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(declared) or 'none'}")


def read_code(notebook: Path) -> str:
    """The code of all cells, without their texts."""
    cells = texts.code_cells(nbformat.read(notebook, as_version=4))
    return "\n".join(texts.plain_code(cell.source) for cell in cells)


def input_digest(study: Study, preset: str, notebook: Path, code: str) -> str:
    """Hash of all that a notebook's results rest on: its code and what that reaches, the preset, images and weights;
    the styles of 05, the image sets of 06, and for 08 the tables of the others."""
    besides = {}
    if notebook.stem == CLAIMS:
        tables = [path for kind in ("csv", "npz") for path in (study.output / "tables").glob(f"*.{kind}")]
        besides = {path.name: file_hash(path) for path in tables if path.name[:2] != CLAIMS[:2]}
    elif notebook.stem == STYLIZATION:
        besides = {"styles": styles_digest(study)}
    elif notebook.stem == ENSEMBLES:
        config = study.preset.ensembles
        besides = {each.name: each.digest for each in find_targets(study, [*config.targets, *config.degraded])[0]}
    return digest([source_digest(code), study.preset.digest, preset, study.data_digest, study.weights, besides])


def run_notebook(study: Study, preset: str, notebook: Path, force: bool = False, pdf: bool = False) -> str:
    """Execute one notebook for a preset; returns "up to date", "texts renewed" or "done".

    Where the notebook's code and all that it rests on are as they were, only texts are renewed. Raises
    PapermillExecutionError where a cell fails and RuntimeError where the kernel dies, after moving the partial copy to
    `failed/`; RequestError where no kernel starts."""
    code = read_code(notebook)  # now: it may be edited while it runs
    record = study.output / "notebooks" / f"{notebook.stem}.json"
    failed = study.output / "failed" / notebook.name
    failed.unlink(missing_ok=True)
    kept = read_json(record)
    if not force and _is_complete(study.output, kept, pdf):
        renewed = kept.get("inputs") == input_digest(study, preset, notebook, code) and _renew(study.output, notebook)
        if renewed:
            return renewed
    check_parameters(notebook, {"preset": preset})
    staging = study.output / f".staging-{notebook.stem}"
    shutil.rmtree(staging, ignore_errors=True)
    made = staging / study.output.name
    started = time.perf_counter()
    try:
        _execute(study, preset, notebook, made / "notebooks" / notebook.name, pdf)
    except BaseException:
        partial = made / "notebooks" / notebook.name
        if partial.is_file():
            tidy_notebook(partial)
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, failed)
        shutil.rmtree(staging, ignore_errors=True)
        raise
    names = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    for name in names:
        (study.output / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(made / name, study.output / name)
    shutil.rmtree(staging)
    for name in set(kept.get("made", ())) - set(names):  # by an earlier state of the notebook
        (study.output / name).unlink(missing_ok=True)
    from_cache = [read_json(study.output / name).get("seconds_kept", 0) for name in names if name.endswith(".json")]
    seconds = round(time.perf_counter() - started + max(from_cache, default=0), 1)
    made_by = {"inputs": input_digest(study, preset, notebook, code), "made": names, "seconds": seconds}
    description = json.dumps(provenance.describe(study.preset, study.device) | made_by, indent=2) + "\n"
    write_atomically(record, lambda partial: partial.write_text(description))
    return "done"


def _is_complete(folder: Path, record: dict[str, object], pdf: bool) -> bool:
    """Whether all files that a run made are there, and PDFs of its figures where they are asked for."""
    made = record.get("made", [])
    figures = {name for name in made if name.endswith(".png")} if pdf else ()
    return bool(made) and all((folder / name).is_file() for name in [*made, *(f"{n[:-4]}.pdf" for n in figures)])


def _renew(folder: Path, notebook: Path) -> str | None:
    """What became of the texts of a notebook whose results stand; None where its cells were divided anew."""
    renewed = texts.renew(folder, notebook)
    if renewed and renewed[1]:
        print(f"  from an earlier run, as only a run (--force) can renew them: {', '.join(renewed[1])}")
    return renewed and ("texts renewed" if renewed[0] else "up to date")


def _execute(study: Study, preset: str, notebook: Path, executed: Path, pdf: bool) -> None:
    """Run a notebook in a kernel of its own; its results go beside the folder of the executed copy."""
    executed.parent.mkdir(parents=True)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # it would tell every failure a second time
    before = dict(os.environ)
    folders = {"OUTPUT": executed.parents[2], "EARLIER": study.output.parent, "DATA": study.data}
    os.environ |= {f"ADVLOOK_{name}": str(folder) for name, folder in folders.items()}
    os.environ |= {"ADVLOOK_PLAIN_PROGRESS": "1", "ADVLOOK_LIVE": "0", "ADVLOOK_PDF": "1" if pdf else ""}
    options = {"kernel_name": KERNEL, "cwd": str(ROOT), "execution_timeout": CELL_TIMEOUT}
    options |= {"progress_bar": False, "stderr_file": sys.stderr}
    options["extra_arguments"] = ["--IPKernelApp.log_level=40"]  # its hint on encryption is noise on one machine
    try:
        papermill.execute_notebook(str(notebook), str(executed), {"preset": preset}, **options)
    except (NoSuchKernel, RuntimeError) as error:
        if isinstance(error, DeadKernelError):
            raise
        remedy = f"`{Path(sys.executable).name} -m ipykernel install --sys-prefix` installs it"
        raise RequestError(f"Jupyter kernel {KERNEL!r} does not start ({error}); {remedy}") from None
    finally:
        os.environ.clear()
        os.environ.update(before)
    tidy_notebook(executed)


def reproduce(
    preset: str = "quick",
    notebooks: Sequence[str] | None = None,
    output: Path | None = None,
    force: bool = False,
    pdf: bool = False,
) -> int:
    """Run the notebooks of a preset and write the gallery. Returns 0, or 1 where a notebook failed.

    Notebooks whose results are up to date are skipped unless `force`; one that fails is named with its error, its
    partial copy is in `failed/`, and the next ones run. pdf: save figures as PDFs as well. Raises RequestError for an
    unknown preset or notebook, where a checkpoint from elsewhere is absent, or where no kernel starts."""
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
            outcome = run_notebook(study, preset, notebook, force, pdf)
        except (PapermillExecutionError, DeadKernelError) as error:
            failures += 1
            outcome = "FAILED: its kernel died, perhaps for want of memory"
            if isinstance(error, PapermillExecutionError):
                outcome = f"FAILED in cell {error.exec_count}: {error.ename}: {error.evalue}".splitlines()[0]
            outcome += f"; see {os.path.relpath(study.output / 'failed' / notebook.name)}"
        print(f"[{place}/{len(chosen)}] {notebook.stem}: {outcome} ({time.perf_counter() - began:.0f} s)", flush=True)
    page = write_gallery(study.output, study.preset)
    print(f"{'Failed' if failures else 'Done'} in {time.perf_counter() - started:.0f} s. Gallery: {page.resolve()}")
    return 1 if failures else 0


def renew_texts(preset: str = "quick", notebooks: Sequence[str] | None = None, output: Path | None = None) -> int:
    """Renew the texts of a preset's results and its gallery, without images, models or a kernel. Returns 0. A notebook
    whose code has changed since it ran is named, and keeps its texts."""
    study = Study(preset, output=output)
    outcomes = {each.stem: _renew(study.output, each) or "not run with this code" for each in find_notebooks(notebooks)}
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome}")
    page = write_gallery(study.output, study.preset)
    count = list(outcomes.values()).count("texts renewed")
    print(f"Texts of {count} of {len(outcomes)} notebooks renewed. Gallery: {page.resolve()}")
    return 0


def stamp(preset: str = "quick", output: Path | None = None) -> None:
    """Record that the results of a preset are those of the present code, as `advlook verify` has shown on a sample."""
    study = Study(preset, output=output, recorded=True)
    for notebook in find_notebooks():
        record = study.output / "notebooks" / f"{notebook.stem}.json"
        if kept := read_json(record):
            texts.renew(study.output, notebook, proved=True)
            made = [name for name in kept["made"] if (study.output / name).is_file()]
            arrays = [name[:-4] + ".npz" for name in made if (study.output / (name[:-4] + ".npz")).is_file()]
            made = sorted({*made, *(name for name in arrays if name.startswith("tables/"))})
            kept |= {"made": made, "inputs": input_digest(study, preset, notebook, read_code(notebook))}
            text = json.dumps(kept, indent=2) + "\n"
            write_atomically(record, lambda partial, text=text: partial.write_text(text))
    write_gallery(study.output, study.preset)


def tidy_notebook(path: Path) -> None:
    """Take progress bars, papermill's marks (which hold local paths) and timestamps out of an executed copy. Large
    pictures become JPEGs: a notebook of many megabytes opens slowly, and the figures are beside it in full."""
    notebook = nbformat.read(path, as_version=4)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    marked = "papermill-error-cell-tag"
    notebook.cells = [cell for cell in notebook.cells if marked not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [_lighter(output) for output in cell.outputs if not _is_progress(output)]
    texts.write_notebook(path, notebook)


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
