"""Texts: what of a notebook is no input of its results, and how it reaches what was made before."""

import json

import nbformat
import pytest

from advlook.core.names import ARCH_NAMES
from advlook.report import texts


def notebook(path, *cells):
    """A notebook of code cells, and of markdown where one begins with "#"; the first one has the parameters."""
    made = [getattr(nbformat.v4, f"new_{'markdown' if c.startswith('#') else 'code'}_cell")(c) for c in cells]
    made[0].metadata["tags"] = ["parameters"]
    for cell in made:
        if cell.source.startswith("from IPython"):
            cell |= {"id": "told", "metadata": {"tags": [texts.FINDINGS]}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


@pytest.fixture
def made(tmp_path):
    """A folder of results with the executed copy of a notebook, and a function that renews its texts from cells."""
    copy = notebook(tmp_path / "out" / "notebooks" / "a.ipynb", "p = 1", "p = 2", "# Old", "print(p)", "p")
    content = nbformat.read(copy, as_version=4)
    content.cells[1].metadata["tags"] = ["injected-parameters"]
    content.cells[3].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    content.cells[3].execution_count = 3
    nbformat.write(content, copy)

    def renew(*cells):
        found = texts.renew(tmp_path / "out", notebook(tmp_path / "a.ipynb", *cells))
        return found, nbformat.read(copy, as_version=4)

    return renew


@pytest.mark.parametrize(
    "other",
    [
        "x = f(1)  # remark\n\n\ny = x",
        "%matplotlib inline\nx = f(\n    1\n)\ny = x",
        'x = f(1)\ncaption = "other"\npaper = f"{x} other"\npaper += HERE\ny = x',
        'x = f(1, caption=f"{1}", paper=g(2))\ny = x',
    ],
)
def test_code_is_the_same_whatever_its_texts(other):
    """Comments, layout, magics and captions do not count."""
    assert texts.plain_code(other) == texts.plain_code("x = f(1)\ny = x")


def test_captions_do_not_count_in_any_place():
    """In a branch of their own, and as the last arguments of `save_figure` alone."""
    assert texts.plain_code("if a:\n    caption = 1") == texts.plain_code("if a:\n    pass")
    assert texts.plain_code("s.save_figure('a', b, 'c', 'd')") == texts.plain_code("s.save_figure('a', b)")
    assert texts.plain_code("s.save_table('a', b, 'c')") != texts.plain_code("s.save_table('a', b)")
    assert texts.plain_code("def f():\n    'said'\n    return 1") == texts.plain_code("def f():\n    return 1")


@pytest.mark.parametrize("other", ["x = f(2)", "x = f(1, 2)", "x = f(1); x", "x = f(title=1)", "x = f(1", ""])
def test_other_code_counts(other):
    """Another value, argument or statement; what is no Python is told apart from anything else."""
    assert texts.plain_code(other) != texts.plain_code("x = f(1)")


def test_outputs_stay_and_texts_are_renewed(made):
    """Markdown cells come, change and go; code cells are written as in the source; nothing else changes."""
    (changed, outdated), copy = made("p = 1", "# New", "# More", "print( p )  # remark", "p", "# End")
    assert [cell.source for cell in copy.cells] == [
        *("p = 1", "p = 2", "# New", "# More", "print( p )  # remark", "p", "# End")
    ]
    assert copy.cells[4].outputs[0].text == "2\n"
    assert copy.cells[4].execution_count == 3
    assert copy.cells[1].metadata["tags"] == ["injected-parameters"]
    assert (len(changed), outdated) == (1, [])
    nbformat.validate(copy)


def test_nothing_is_written_where_nothing_has_changed(made, tmp_path):
    """The second time, the file is the same to the last byte."""
    made("p = 1", "# New", "print(p)", "p")
    before = (tmp_path / "out" / "notebooks" / "a.ipynb").read_bytes()
    again = texts.renew(tmp_path / "out", tmp_path / "a.ipynb")
    assert again == ([], [])
    assert (tmp_path / "out" / "notebooks" / "a.ipynb").read_bytes() == before


@pytest.mark.parametrize("cells", [("print(3)", "p"), ("print(p)",), ("p", "print(p)"), ("print(p)\np",)])
def test_other_code_keeps_its_texts(cells, made):
    """Where cells were changed, removed, moved or joined, the copy shows what was run."""
    found, copy = made("p = 1", "# New", *cells)
    assert found is None
    assert "# Old" in [cell.source for cell in copy.cells]


@pytest.mark.parametrize(
    ("code", "caption", "outdated"),
    [
        ('study.save_figure("a", draw(), caption="new", paper="p")', "new", False),
        ('caption = "new"\nstudy.save_figure("a", draw(), caption, "p")', "new", False),
        ('caption = "ne"\ncaption += "w"\nstudy.save_figure("a", draw(), caption, paper="p")', "new", False),
        ('HERE = "w"\nshow(study.save_figure("a", draw(), f"ne{HERE}", paper="p"))', "new", False),
        ('study.save_figure("a", draw(), caption=f"o{1 + 1}d", paper="p")', "old", False),
        ('study.save_figure("a", draw(), caption=f"new {eps:g}", paper="p")', "old", True),
        ('study.save_figure("b", draw(), caption="new", paper="p")', "old", False),
    ],
)
def test_captions_are_renewed(code, caption, outdated, tmp_path):
    """Where the source says them whole; one with values stays, and is named where it does not suit the source."""
    out = tmp_path / "out"
    source = notebook(tmp_path / "a.ipynb", "p = 1", code)
    notebook(out / "notebooks" / "a.ipynb", "p = 1", code)
    (out / "a.json").write_text(json.dumps({"caption": "old", "paper": "p", "seconds": 1.5}))
    changed, told = texts.renew(out, source)
    assert json.loads((out / "a.json").read_text()) == {"caption": caption, "paper": "p", "seconds": 1.5}
    assert (out / "a.json" in changed) == (caption == "new")
    assert told == (["caption of a"] if outdated else [])


def test_captions_of_every_architecture_are_renewed(tmp_path):
    """A figure that is named by its architecture has it in its caption."""
    out = tmp_path / "out"
    code = 'for arch in archs:\n    caption = f"{arch}: new"\n    study.save_figure(f"a_{arch}", draw(), caption, "p")'
    source = notebook(tmp_path / "a.ipynb", "p = 1", code)
    notebook(out / "notebooks" / "a.ipynb", "p = 1", code)
    for name in (*list(ARCH_NAMES)[:2], "shared_resnet10"):
        (out / f"a_{name}.json").write_text(json.dumps({"caption": "old", "paper": "p"}))
    texts.renew(out, source)
    captions = {path.stem: json.loads(path.read_text())["caption"] for path in out.glob("a_*.json")}
    assert captions == {f"a_{arch}": f"{arch}: new" for arch in list(ARCH_NAMES)[:2]} | {"a_shared_resnet10": "old"}


SENTENCE = "from IPython.display import Markdown\n\nMarkdown(study.load_table('a'))"


class Told:
    """A study of one table, which is a sentence."""

    def __init__(self, sentence):
        self.sentence = sentence

    def load_table(self, name):
        return f"{name}: {self.sentence}"


def told_in(copy):
    """What the cell of findings gives in an executed copy."""
    (cell,) = (cell for cell in nbformat.read(copy, as_version=4).cells if cell.id == "told")
    return [output.data["text/markdown"] for output in cell.outputs]


def test_sentences_are_generated_from_tables_without_a_run(tmp_path):
    """A cell of findings is no code that results rest on: it comes, and follows its tables, while all else stays."""
    source, out = notebook(tmp_path / "a.ipynb", "p = 1", "print(p)", SENTENCE), tmp_path / "out"
    copy = notebook(out / "notebooks" / "a.ipynb", "p = 1", "print(p)")
    assert texts.renew(out, source, study=Told("new")) == ([copy], [])
    assert told_in(copy) == ["a: new"]
    before = copy.read_bytes()
    assert texts.renew(out, source, study=Told("new")) == ([], [])
    assert texts.renew(out, source) == ([], [])
    assert copy.read_bytes() == before
    texts.renew(out, source, study=Told("other"))
    assert told_in(copy) == ["a: other"]
    nbformat.validate(nbformat.read(copy, as_version=4))


def test_sentences_are_no_input_of_results():
    """The code that a notebook's results rest on is the same with and without them."""
    plain, told = ([nbformat.v4.new_code_cell(each) for each in cells] for cells in (["p"], ["p", SENTENCE]))
    told[1].metadata["tags"] = [texts.FINDINGS]
    assert [cell.source for cell in texts.code_cells(nbformat.v4.new_notebook(cells=told))] == ["p"]
    assert len(texts.code_cells(nbformat.v4.new_notebook(cells=plain))) == 1
