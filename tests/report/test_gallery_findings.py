"""The sentences of executed notebooks on the page of results."""

import nbformat
from helpers import small_preset

from advlook.report.gallery import write_gallery


def test_generated_sentences_stand_in_their_section(tmp_path):
    """What a notebook says of its results, escaped and without the marks of Markdown; nothing is no list."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1. Training")])
    for text in ("On 5 images:\n\n- **vit**: <b>", "- alone", "There are no results of this here."):
        cell = nbformat.v4.new_code_cell("findings.told(study)", metadata={"tags": ["findings"]})
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/markdown": text})]
        notebook.cells.append(cell)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "01_train.ipynb")
    page = write_gallery(tmp_path, small_preset()).read_text()
    section = page[page.index('id="section-01"') : page.index('id="made"')]
    assert section.count('<div class="card findings">') == 2
    assert "<p>On 5 images:</p>" in section
    assert "<li>vit: &lt;b&gt;</li>" in section
    assert "<li>alone</li>" in section
    assert "no results of this" not in section
