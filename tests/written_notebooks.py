"""Notebooks that tests write."""

import nbformat

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
