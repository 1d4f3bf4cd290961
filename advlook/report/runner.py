"""The runner: notebooks are executed in order, some of them side by side, and a gallery shows what they made. A
notebook writes into a staging folder beside the results. Its files are moved over when all of it has run: a failure
leaves the earlier ones."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TextIO

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from advlook.core.errors import RequestError
from advlook.core.files import digest, file_hash, read_json
from advlook.experiments.claims.disagreements import SIZES, committed_paths
from advlook.experiments.claims.published import PATH as PUBLISHED
from advlook.experiments.controls.measure import EARLIER
from advlook.experiments.ensembles.targets import find_targets
from advlook.experiments.stylization.measure import inputs_of
from advlook.report import texts
from advlook.report.about import record_models
from advlook.report.bars import Bars
from advlook.report.execution import OUTPUT_TIMEOUT, end_kernels, execute, tidy_notebook
from advlook.report.gallery import write_gallery
from advlook.study import provenance
from advlook.study.code import source_digest
from advlook.study.folders import ROOT
from advlook.study.study import Study

NOTEBOOKS = ROOT / "notebooks"
# Notebooks that do more than measure the study's models on its images: 01 trains them, on all cores; 05 and 06 read
# other images, 09 trains controls and compares them with what 01, 03 and 04 have written, and 08 reads all tables.
TRAIN, STYLIZATION, ENSEMBLES, CLAIMS = "01_train", "05_stylization", "06_ensembles", "08_claims"
CONTROLS = "09_controls"
SIDE_BY_SIDE = 2  # notebooks on a CPU: none of them keeps all cores busy, and a third would need more memory


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


def _wanted(study: Study, names: Sequence[str] | None) -> list[Path]:
    """The notebooks of a preset, or those of these names: the one on controls where the preset has some."""
    chosen = find_notebooks(names)
    if study.preset.controls:
        return chosen
    if names and any(each.stem == CONTROLS for each in chosen):
        remedy = "add a section [controls.NAME], or choose a preset that has one, such as imagenette"
        raise RequestError(f"preset {study.preset.name} has no controls, which notebook 09 measures; {remedy}")
    return [each for each in chosen if each.stem != CONTROLS]


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
    styles and the judge's tables of 05; the image sets of 06; for 08 the tables of the others, the published figures
    and the verdicts of the presets that it compares with; for 09 the tables of STD and ADV, and how controls are
    trained: their checkpoints do not all come with the project, and one that is absent makes no result stale."""
    besides = {}
    if notebook.stem == CLAIMS:
        tables = [path for kind in ("csv", "npz") for path in (study.output / "tables").glob(f"*.{kind}")]
        besides = {path.name: file_hash(path) for path in [*tables, PUBLISHED] if path.name[:2] != CLAIMS[:2]}
        others = [path for name in SIZES if name != study.preset.name for path in committed_paths(name)]
        besides |= {f"{path.parents[1].name} {path.name}": file_hash(path) for path in others if path.is_file()}
    elif notebook.stem == CONTROLS:
        read = [PUBLISHED, *(study.output / "tables" / f"{name}.csv" for name in EARLIER)]
        besides = {path.name: file_hash(path) for path in read if path.is_file()}
        keys = study.each_model(study.preset.controls)
        besides |= {"-".join(map(str, key)): digest(study.preset.training_key(*key)) for key in keys}
    elif notebook.stem == STYLIZATION:
        besides = {"inputs": inputs_of(study)}
    elif notebook.stem == ENSEMBLES:
        config = study.preset.ensembles
        frozen, _ = find_targets(study, dict.fromkeys([*config.targets, *config.degraded]))
        tuned, _ = find_targets(study, config.fine_tuned, tuned=True)
        besides = {each.name: each.digest for each in frozen} | {f"{each.name}, tuned": each.digest for each in tuned}
    return digest([source_digest(code), study.preset.digest, preset, study.data_digest, study.weights, besides])


def run_notebook(
    study: Study,
    preset: str,
    notebook: Path,
    force: bool = False,
    pdf: bool = False,
    *,
    threads: int | None = None,
    stderr: TextIO | None = None,
) -> str:
    """Execute one notebook for a preset; returns "up to date", "texts renewed" or "done".

    threads: of its kernel, by default torch's own number. stderr: where its progress goes (by default standard error).

    Where the notebook's code and all that it rests on are as they were, only texts are renewed. Raises
    PapermillExecutionError where a cell fails, DeadKernelError where the kernel dies and CellTimeoutError where its
    output does not arrive, after moving the partial copy to `failed/`; RequestError where no kernel starts."""
    code = read_code(notebook)  # now: it may be edited while it runs
    record = study.output / "notebooks" / f"{notebook.stem}.json"
    failed = study.output / "failed" / notebook.name
    failed.unlink(missing_ok=True)
    kept = read_json(record)
    if not force and _is_complete(study.output, kept, pdf):
        renewed = kept.get("inputs") == input_digest(study, preset, notebook, code) and _renew(study, notebook)
        if renewed:
            return renewed
    check_parameters(notebook, {"preset": preset})
    staging = study.output / f".staging-{notebook.stem}"
    shutil.rmtree(staging, ignore_errors=True)
    made = staging / study.output.name
    started = time.perf_counter()
    try:
        environment = {"ADVLOOK_OUTPUT": staging, "ADVLOOK_EARLIER": study.output.parent, "ADVLOOK_DATA": study.data}
        environment |= {"ADVLOOK_PLAIN_PROGRESS": 1, "ADVLOOK_LIVE": 0, "ADVLOOK_PDF": "1" if pdf else ""}
        environment |= {"OMP_NUM_THREADS": threads} if threads and "OMP_NUM_THREADS" not in os.environ else {}
        environment = {name: str(value) for name, value in environment.items()}
        (made / "notebooks").mkdir(parents=True)
        execute(notebook, made / "notebooks" / notebook.name, preset, environment, stderr or sys.stderr)
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
    provenance.write_record(record, provenance.describe(study.preset, study.device) | made_by)
    return "done"


def _is_complete(folder: Path, record: dict[str, object], pdf: bool) -> bool:
    """Whether all files that a run made are there, and PDFs of its figures where they are asked for."""
    made = record.get("made", [])
    figures = {name for name in made if name.endswith(".png")} if pdf else ()
    return bool(made) and all((folder / name).is_file() for name in [*made, *(f"{n[:-4]}.pdf" for n in figures)])


def _renew(study: Study, notebook: Path) -> str | None:
    """What became of the texts of a notebook whose results stand; None where its cells were divided anew."""
    renewed = texts.renew(study.output, notebook, study=study)
    if renewed and renewed[1]:
        print(f"  from an earlier run, as only a run (--force) can renew them: {', '.join(renewed[1])}")
    return renewed and ("texts renewed" if renewed[0] else "up to date")


def reproduce(
    preset: str = "quick",
    notebooks: Sequence[str] | None = None,
    output: Path | None = None,
    force: bool = False,
    pdf: bool = False,
    jobs: int | None = None,
) -> int:
    """Run the notebooks of a preset and write the gallery. Returns 0, or 1 where a notebook failed.

    Notebooks whose results are up to date are skipped unless `force`; one that fails is named with its error, its
    partial copy is in `failed/`, and the others run. pdf: save figures as PDFs as well. jobs: how many notebooks run
    side by side where their models are there; by default two on a CPU, one on a GPU. Raises RequestError for an unknown
    preset or notebook, where a checkpoint from elsewhere is absent, or where no kernel starts."""
    study = Study(preset, output=output)
    preset = str(Path(preset).resolve()) if Path(preset).suffix == ".toml" else preset  # notebooks run in our folder
    chosen = _wanted(study, notebooks)
    study.require_external()
    record_models(study)
    jobs = jobs or (min(SIDE_BY_SIDE, os.cpu_count() or 1) if study.device.type == "cpu" else 1)
    bars = Bars(sys.stderr)
    started = time.perf_counter()
    print(repr(study), flush=True)

    def run(notebook: Path, workers: int) -> bool:
        """Whether it failed."""
        began, number = time.perf_counter(), notebook.stem[:2]
        name = f"[{chosen.index(notebook) + 1}/{len(chosen)}] {notebook.stem}"
        bars.say(f"{name} ...")
        threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None
        stderr = bars.of(number) if workers > 1 else sys.stderr
        try:
            failed, outcome = False, run_notebook(study, preset, notebook, force, pdf, threads=threads, stderr=stderr)
        except (PapermillExecutionError, DeadKernelError, CellTimeoutError) as error:
            place = os.path.relpath(study.output / "failed" / notebook.name)
            failed, outcome = True, f"{_failure(error)}; see {place}"
        bars.say(f"{name}: {outcome} ({time.perf_counter() - began:.0f} s)", ended=number)
        return failed

    failures = 0
    for group in _side_by_side(chosen):
        trained = all(study.find_checkpoint(*key) for key in study.each_model())
        failures += _run_all(run, group, min(jobs, len(group)) if trained else 1)
    page = write_gallery(study.output, study.preset)
    print(f"{'Failed' if failures else 'Done'} in {time.perf_counter() - started:.0f} s. Gallery: {page.resolve()}")
    return 1 if failures else 0


def _side_by_side(notebooks: Sequence[Path]) -> list[list[Path]]:
    """Groups of notebooks that run one after the other; those of a group need nothing of each other."""
    first, *last = ([each for each in notebooks if each.stem[:2] == name[:2]] for name in (TRAIN, CONTROLS, CLAIMS))
    others = [each for each in notebooks if each not in [*first, *last[0], *last[1]]]
    return [group for group in (first, others, *last) if group]


def _run_all(run: Callable[[Path, int], bool], notebooks: Sequence[Path], workers: int) -> int:
    """Run these, so many at once; returns how many failed. An interruption or an error ends those that run."""
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(run, notebook, workers) for notebook in notebooks]
        try:
            return sum(each.result() for each in as_completed(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(each.done() for each in runs):  # `wait` waits for ever for one that was cancelled
                end_kernels()  # again: a kernel may just have been about to start
                time.sleep(0.2)
            raise


def _failure(error: PapermillExecutionError | DeadKernelError | CellTimeoutError) -> str:
    if isinstance(error, DeadKernelError):
        return "FAILED: its kernel died, perhaps for want of memory"
    if isinstance(error, CellTimeoutError):
        return f"FAILED: the output of its kernel did not arrive in {OUTPUT_TIMEOUT} s"
    return f"FAILED in cell {error.exec_count}: {error.ename}: {error.evalue}".splitlines()[0]


def renew_texts(preset: str = "quick", notebooks: Sequence[str] | None = None, output: Path | None = None) -> int:
    """Renew the texts of a preset's results and its gallery, without images, models or a kernel. Returns 0. A notebook
    whose code has changed since it ran is named, and keeps its texts."""
    study = Study(preset, output=output)
    outcomes = {each.stem: _renew(study, each) or "not run with this code" for each in find_notebooks(notebooks)}
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
            texts.renew(study.output, notebook, proved=True, study=study)
            made = [name for name in kept["made"] if (study.output / name).is_file()]
            arrays = [name[:-4] + ".npz" for name in made if (study.output / (name[:-4] + ".npz")).is_file()]
            made = sorted({*made, *(name for name in arrays if name.startswith("tables/"))})
            kept |= {"made": made, "inputs": input_digest(study, preset, notebook, read_code(notebook))}
            provenance.write_record(record, kept)
    write_gallery(study.output, study.preset)
