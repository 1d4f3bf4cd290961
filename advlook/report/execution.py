"""Executing one notebook without a screen: papermill runs it in a kernel of its own, and its copy is tidied."""

import base64
import contextlib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from PIL import Image

from advlook.core import RequestError
from advlook.report import texts
from advlook.study.folders import ROOT

KERNEL = "python3"  # as executed copies name it
CELL_TIMEOUT = 7 * 24 * 3600  # seconds; training on the paper's scale happens inside a cell
START_TIMEOUT = 600  # seconds until a kernel answers
OUTPUT_TIMEOUT = 600  # seconds until what a cell has printed is here: nbclient's own 4 are too few on a busy machine
LARGE_PICTURE = 60_000  # base64 characters of a picture in an executed notebook
PAGE_WIDTH = 800  # pixels of a page in which such a picture is read

_running: set[AsyncKernelManager] = set()  # but those that `end_kernels` has ended


def execute(notebook: Path, executed: Path, preset: str, environment: Mapping[str, str], stderr: TextIO) -> None:
    """Run a notebook for a preset in a kernel with this environment besides ours; write its tidied copy to `executed`.

    May be called from several threads at once. stderr: where progress bars and warnings go. Raises
    PapermillExecutionError where a cell fails, DeadKernelError where the kernel dies, CellTimeoutError where its output
    does not arrive, KeyboardInterrupt where it is ended by `end_kernels`; RequestError where none starts.
    """
    started, ready = [], []

    class Kernel(AsyncKernelManager):
        """A kernel of the Python that runs us: the one that Jupyter knows by the name may belong to another. papermill
        gives it the environment and folder of this process, which other notebooks share."""

        kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])

        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(**options, env=os.environ | environment, cwd=str(ROOT))
            started.append(self)
            _running.add(self)

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # it would tell every failure a second time
    options = {"kernel_name": KERNEL, "kernel_manager_class": Kernel, "execution_timeout": CELL_TIMEOUT}
    options |= {"progress_bar": False, "stderr_file": stderr, "on_notebook_start": lambda notebook: ready.append(True)}
    options |= {"start_timeout": START_TIMEOUT, "iopub_timeout": OUTPUT_TIMEOUT}
    options["extra_arguments"] = ["--IPKernelApp.log_level=50"]  # it hints at encryption, and tells when it is ended
    try:
        papermill.execute_notebook(str(notebook), str(executed), {"preset": preset}, **options)
    except Exception as error:
        if not _running.issuperset(started):
            raise KeyboardInterrupt from None
        if ready:
            raise
        reason, python = " ".join(str(error).split()), sys.executable
        remedy = f"`{python} -m pip install ipykernel` installs it, `{python} -m ipykernel` shows what fails"
        raise RequestError(f"the Jupyter kernel of {python} does not start ({reason}); {remedy}") from None
    finally:
        _running.difference_update(started)
    tidy_notebook(executed)


def end_kernels() -> None:
    """End the kernels of all notebooks that run, on an interruption."""
    while _running:
        with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):  # it has ended already
            os.kill(_running.pop().provisioner.pid, signal.SIGTERM)


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
