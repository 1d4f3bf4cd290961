#!/bin/sh
# papermill gives up on a cell four seconds after its end where its output comes late, whatever timeout is given.
#
# nbclient waits `iopub_timeout` (4 s) for the rest of a cell's output once the kernel has answered that the cell is
# done, and papermill makes that an error where nbclient would only warn. `execution_timeout`, which reads as if it
# covered this, does not. On a machine where several kernels share few cores a cell with large pictures then fails with
# "A cell timed out while it was being executed, after 4 seconds", although it ran to its end. The error is a
# CellTimeoutError, no PapermillExecutionError, so what handles failed cells does not see it. `iopub_timeout` may be
# given to `execute_notebook`, whose help does not name it.
#
# Seen with papermill 2.7.0, nbclient 0.11.0, ipykernel 7.4.0, Python 3.11.7, of a cell that announces its end 6 s late:
#
#     execution_timeout=3600                        CellTimeoutError, after 4 seconds
#     execution_timeout=3600, iopub_timeout=60      runs
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check papermill==2.7.0 nbclient==0.11.0 ipykernel==7.4.0
"$folder/venv/bin/python" -m ipykernel install --sys-prefix --name python3 >/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import nbformat
import papermill

LATE = """
import time
from IPython import get_ipython
kernel = get_ipython().kernel
send = kernel._publish_status
kernel._publish_status = lambda state, *rest: (time.sleep(6 * (state == "idle")), send(state, *rest))
"""
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LATE)])
notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(notebook, "late.ipynb")


def outcome(**options):
    try:
        papermill.execute_notebook("late.ipynb", "out.ipynb", progress_bar=False, execution_timeout=3600, **options)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "runs"


found = [outcome(), outcome(iopub_timeout=60)]
print(*found, sep="\n")
sys.exit(0 if found[0].startswith("CellTimeoutError") and "4 seconds" in found[0] and found[1] == "runs" else 1)
PYTHON
