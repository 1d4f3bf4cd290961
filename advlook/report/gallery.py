"""`index.html`: the results of one preset on one page that needs neither a server nor a network. Everything shown is
read from the files in the folder. The texts are in `templates/gallery.toml`."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image

from advlook.core import ARCH_NAMES, Preset, read_json, write_atomically
from advlook.experiments.claims.published import deciding
from advlook.report.about import about
from advlook.report.texts import FINDINGS, archs_in
from advlook.stats.rules import COLUMNS, UNTESTED, VERDICTS
from advlook.stats.verdict_text import marked, told

WHOLE = 16  # rows: a longer table is folded, and shows its first rows only
FIRST = 8  # rows of a longer table
TEMPLATES = Path(__file__).parent / "templates"
_WORDS = tomllib.loads((TEMPLATES / "gallery.toml").read_text())
INTRODUCTIONS: dict[str, str] = _WORDS["introductions"]  # by the number that a notebook and its results begin with
ANSWER: list[str] = _WORDS["answer"]
PICTURE = "04_named.png"  # what a reader who knows nothing else sees first
# Items of the paper: what each shows, and our files of it.
PAPER = {item: (what, tuple(names)) for item, (what, *names) in _WORDS["paper"].items()}
Record = Mapping[str, object]  # a JSON file that says how a result was made; {} where there is none


def write_gallery(folder: Path, preset: Preset) -> Path:
    """Write `folder/index.html` from the results in the folder, and return its path."""
    look = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), **look)
    sections, path = _sections(folder), folder / "index.html"
    shown = {"preset": preset, "introductions": INTRODUCTIONS, "claims": _claims(folder), "sections": sections}
    picture = _Result(folder, folder / PICTURE)
    shown |= {"picture": picture if picture.path.is_file() else None}
    shown |= {"verified": read_json(folder / "verified.json"), "history": _history(sections)}
    shown |= {"about": about(folder, preset), "names": ARCH_NAMES, "several": len(preset.seeds) > 1}
    shown["paper"] = [(item, what, _of_paper(folder, names)) for item, (what, names) in PAPER.items()]
    page = templates.get_template("gallery.html").render(shown)
    write_atomically(path, lambda partial: partial.write_text(page))
    return path


@dataclass(frozen=True)
class _Result:
    """A figure or table of a folder."""

    folder: Path
    path: Path

    @cached_property
    def record(self) -> Record:
        return read_json(self.path.with_suffix(".json"))

    @property
    def is_table(self) -> bool:
        return self.path.suffix == ".csv"

    @property
    def anchor(self) -> str:
        return f"table-{self.path.stem}" if self.is_table else self.path.stem

    @property
    def title(self) -> str:
        """The name in words, without the notebook's number: "Maps, ResNet-10" of `03_maps_resnet10`."""
        words = self.path.stem.partition("_")[2] or self.path.stem
        archs = [arch for arch in archs_in(self.folder) if words.endswith(f"_{arch}")]
        arch = max(archs, key=len, default="")  # my_resnet10 ends with resnet10
        first, *others = words.removesuffix(f"_{arch}").split("_")
        title = " ".join([first.capitalize(), *(word.upper() if len(word) == 1 else word for word in others)])
        return f"{title}, {ARCH_NAMES[arch]}" if arch else title

    @property
    def items(self) -> list[str]:
        """The items of `PAPER` that it shows."""
        return [item for item, (_, names) in PAPER.items() if self in _of_paper(self.folder, names)]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Its files that exist, as (path in the folder, what it is)."""
        kinds = {".csv": "CSV", ".npz": "per-image answers (NPZ)", ".png": "PNG", ".pdf": "PDF"}
        paths = {self.path.with_suffix(suffix): kind for suffix, kind in (kinds | {".json": "how it was made"}).items()}
        return [(path.relative_to(self.folder).as_posix(), kind) for path, kind in paths.items() if path.is_file()]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a figure in pixels, for which the page keeps room before the figure is loaded."""
        with Image.open(self.path) as image:
            return image.size

    @property
    def sheet(self) -> dict[str, object]:
        """A table as it is shown: columns, rows (of a long table the first), cells with whether they are text."""
        try:
            table = pd.read_csv(self.path)
        except ValueError:  # without a single column
            table = pd.DataFrame()
        texts = [not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
        shown = table if len(table) <= WHOLE else table[:FIRST]
        rows = [list(zip(map(_cell, row), texts, strict=True)) for row in shown.to_numpy(object)]
        return {"columns": list(zip(table, texts, strict=True)), "rows": rows, "count": len(table)}


@dataclass(frozen=True)
class _Section:
    """The results of one notebook in the order in which they were made, figures first."""

    number: str
    title: str
    notebook: str
    failed: str
    run: Record
    results: Sequence[_Result]
    findings: Sequence[tuple[str, list[str]]]

    @property
    def records(self) -> list[Record]:
        """How its notebook and its results were made, as far as that is recorded."""
        return [record for record in (self.run, *(result.record for result in self.results)) if record]


def _sections(folder: Path) -> list[_Section]:
    results = [_Result(folder, path) for pattern in ("*.png", "tables/*.csv") for path in sorted(folder.glob(pattern))]
    ran, failed = ({_prefix(path): path for path in folder.glob(f"{name}/*.ipynb")} for name in ("notebooks", "failed"))
    sections = []
    for number in sorted({_prefix(result.path) for result in results} | ran.keys() | failed.keys()):
        own = [result for result in results if _prefix(result.path) == number]
        own.sort(key=lambda result: (result.is_table, result.record.get("seconds", 0)))
        title = _title(ran.get(number) or failed.get(number), number)
        links = [str(found[number].relative_to(folder)) if number in found else "" for found in (ran, failed)]
        record = read_json((folder / links[0]).with_suffix(".json"))
        sections.append(_Section(number, title, *links, record, own, _findings(ran.get(number))))
    return sections


def _findings(notebook: Path | None) -> list[tuple[str, list[str]]]:
    """The sentences that an executed notebook generated from its tables: lists, each with what stands before it."""
    cells = read_json(notebook).get("cells", []) if notebook else []
    cells = [cell for cell in cells if FINDINGS in cell["metadata"].get("tags", [])]
    outputs = [output.get("data", {}).get("text/markdown", "") for cell in cells for output in cell["outputs"]]
    found = []
    for text in outputs:
        lines = "".join(text).replace("**", "").splitlines()
        items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
        found += [(" ".join(line for line in lines if not line.startswith("- ")).strip(), items)] if items else []
    return found


def _title(notebook: Path | None, number: str) -> str:
    """The first heading of a notebook, else its name."""
    for cell in read_json(notebook).get("cells", []) if notebook else []:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return notebook.stem if notebook else f"Results of notebook {number}" if number.isdigit() else "Other results"


def _cell(value: object) -> str:
    """A value as text, numbers to four digits."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < float("inf") else f"{value:.4g}"
    return str(value)


def _of_paper(folder: Path, names: Iterable[str]) -> list[_Result]:
    """The results of these names, as in `PAPER`, that exist."""
    paths = dict.fromkeys(folder / name.format(arch=arch) for name in names for arch in archs_in(folder))
    return [_Result(folder, path) for path in paths if path.is_file()]


def _prefix(path: Path) -> str:
    """The number of the notebook that a file belongs to, or "other"."""
    return path.name[:2] if path.name[:2].isdigit() else "other"


def _claims(folder: Path) -> dict[str, object] | None:
    """The table `08_claims` by place in the paper and claim, with the number of each verdict; None without it. What
    published figures say (`08_published`) stands beside it where they say something."""
    path = folder / "tables" / "08_claims.csv"
    if not path.is_file():
        return None
    texts = ["unit", "rule", "reason", "at", "held"]
    own, beside = pd.read_csv(path), path.with_name("08_published.csv")
    counts = own["verdict"].value_counts()
    theirs = deciding(pd.read_csv(beside)) if beside.is_file() else own[:0]
    table = pd.concat([own, theirs[theirs["verdict"] != UNTESTED]])
    table = table.reindex(columns=COLUMNS).astype(dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))
    table = marked(table)
    verdicts = {verdict: counts[verdict] for verdict in dict.fromkeys([*VERDICTS, *counts.index]) if verdict in counts}
    places: dict[str, list[tuple[object, ...]]] = {}
    for (where, *stated), rows in table.groupby(["where", "claim", "statement", "rule"], sort=False, dropna=False):
        places.setdefault(where, []).append((*stated, [_answer(row) for _, row in rows.iterrows()]))
    stated = {name: each for some in places.values() for name, *each in some}
    answer = [(name, *stated[name]) for name in ANSWER if name in stated]
    return {
        "places": places,
        "answer": answer,
        "count": own["claim"].nunique(),
        "verdicts": verdicts,
        "published": len(theirs) > 0,
    }


def _answer(row: pd.Series) -> dict[str, str]:
    """A verdict: the architecture that it is about, the effect with its interval, and a remark."""
    decided = filter(None, [row["at"], f"comparisons: {row['held']}" if row["held"] else ""])
    found = {"about": ARCH_NAMES[row["arch"]], "verdict": row["verdict"], "mark": row["mark"]}
    effect = told(row) if row["verdict"] != UNTESTED else ""
    return found | {"effect": effect, "remark": row["reason"] or "; ".join(decided)}


def _history(sections: Iterable[_Section]) -> dict[str, object]:
    """What all records say: one line a notebook, every commit, and the versions of every package."""
    lines, commits, packages = [], {}, {}
    for section in sections:
        made_by = dict.fromkeys(map(_commit, section.records))
        commits |= made_by
        for record in section.records:
            for package, version in {"Python": record.get("python"), **record.get("packages", {})}.items():
                packages.setdefault(package, {})[version] = None
        seeds, device = (_values(section.records, key) for key in ("seeds", "device"))
        lines.append((section, made_by, seeds, device, _duration(section.run.get("seconds", 0))))
    versions = {package: " and ".join(filter(None, found)) for package, found in packages.items()}
    return {"lines": lines, "commits": list(commits), "packages": versions}


def _commit(record: Record) -> str:
    changed = " with changes that were not committed" if record.get("dirty") else ""
    return f"{str(record.get('commit') or 'unknown')[:10]}{changed}"


def _values(records: Iterable[Record], key: str) -> str:
    """The different values of a key; those of a list in a row."""
    found = (record[key] for record in records if key in record)
    texts = (", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in found)
    return " and ".join(dict.fromkeys(texts))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s" if rest else ""
