"""Folders of results that tests write, and their page as a reader meets it."""

import json
from html.parser import HTMLParser

import nbformat
import pandas as pd
from helpers import small_preset
from PIL import Image

from advlook.report import gallery
from advlook.report.gallery import PAPER, write_gallery

EVIL = "<script>alert('&')</script>"
VOID = {"img", "meta", "br", "link"}


class Page(HTMLParser):
    """A page as a reader meets it: its tags with their attributes, its texts, and what is not well formed."""

    def __init__(self, path):
        super().__init__()
        self.folder, self.tags, self.words, self.open = path.parent, [], [], []
        self.feed(path.read_text())
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag, attribute):
        return [attrs[attribute] for name, attrs in self.tags if name == tag and attribute in attrs]

    @property
    def ids(self):
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]


def write_json(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def add_result(folder, name, *, table=None, seconds=1.0, **record):
    """A figure, or a table, and how it was made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        (pd.DataFrame({"top1": [1.5]}) if table is None else table).to_csv(path, index=False)
    else:
        Image.new("RGB", (1500, 300), "white").save(path)
        path.with_suffix(".pdf").write_bytes(b"%PDF")
        record = {"caption": f"What {path.stem} shows.", "paper": f"Paper: not {path.stem}."} | record
    about = {"commit": "a" * 40, "dirty": False, "python": "3.12.1", "packages": {"torch": "2.8.0"}, "seeds": [0, 1]}
    write_json(path.with_suffix(".json"), **about | {"device": "2 CPU cores", "seconds": seconds} | record)
    return path


def add_notebook(folder, stem, title):
    path = folder / "notebooks" / f"{stem}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell(f"# {title}\n\nWhy.")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    write_json(path.with_suffix(".json"), commit="a" * 40, dirty=False, seconds=100.0)


def missing_items(folder):
    """The items of the paper that are incomplete in a folder, each with the files that it lacks: results that are not
    there, and records that say nothing."""
    missing = {}
    for item, (_, names) in PAPER.items():
        made = {name: gallery._of_paper(folder, [name]) for name in names}
        silent = [result.path for results in made.values() for result in results if "commit" not in result.record]
        lacking = [name for name, results in made.items() if not results]
        lacking += [str(path.with_suffix(".json").relative_to(folder)) for path in silent]
        missing |= {item: lacking} if lacking else {}
    return missing


def page_of(folder):
    return Page(write_gallery(folder, small_preset()))


def claims_table(**changes):
    """Two claims of one section and one of another, on one or two architectures."""
    rows = [
        ("pays", "ADV is less accurate.", "Table 1", "resnet10", 6.1, 5.2, 7.04, "supported"),
        ("pays", "ADV is less accurate.", "Table 1", "alexnet_bn", -3.0, -4.0, -2.0, "contradicted"),
        ("gains", "ADV withstands PGD.", "Table 1", "resnet10", 1.0, -1.0, 3.0, "inconclusive"),
        ("shape", EVIL, "Table 2", "resnet10", None, None, None, "not tested"),
    ]
    columns = ["claim", "statement", "where", "arch", "effect", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns).assign(**changes)


MORE = {  # what notebook 08 adds to the columns that are fixed
    "unit": ["points", "points", "points", ""],
    "rule": "Supported if the effect is above 0.",
    "at": ["", "", "sigma 2", ""],
    "held": ["", "", "1 for, 2 open", ""],
    "reason": ["", "", "", "no table 05_variants"],
}
