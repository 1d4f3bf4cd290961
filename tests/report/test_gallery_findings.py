"""What the page of results says of findings: the first screen, and the sentences of executed notebooks."""

import nbformat
from gallery_pages import MORE, add_result, claims_table, page_of
from helpers import small_preset

from advlook.experiments.claims.measure import CLAIMS
from advlook.report import gallery
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


def test_the_first_screen_shows_a_picture_and_the_claims_that_answer(folder, monkeypatch):
    """Before all else, where they are there: the figure for laymen with its caption, and of the claims those named in
    the texts, in their order, each with its verdicts and a link to its rule."""
    assert not {"first", "answer"} & set(page_of(folder).ids)
    add_result(folder, gallery.PICTURE, caption="Named by details, or by shapes.")
    add_result(folder, "tables/08_claims.csv", table=claims_table(**MORE))
    assert "answer" not in page_of(folder).ids  # none of these claims is named
    monkeypatch.setattr(gallery, "ANSWER", ["gains", "unheard of", "pays"])
    page = page_of(folder)
    assert page.ids.index("first") < page.ids.index("answer") < page.ids.index("about")
    top = page.text[: page.text.index("What this report is about")]
    assert "Named by details, or by shapes." in top
    told = ["ADV withstands PGD.", "inconclusive", "ADV is less accurate.", "supported", "contradicted"]
    answer = top[top.index("Claims that answer") :]
    places = [answer.index(each) for each in told]
    assert places == sorted(places)
    assert {"#claim-gains", "#claim-pays"} <= set(page.all("a", "href"))
    assert gallery.PICTURE in page.all("img", "src")


def test_the_claims_that_answer_exist():
    """Every one that the texts name is a claim of the study."""
    assert set(gallery.ANSWER) <= {claim.name for claim in CLAIMS}
