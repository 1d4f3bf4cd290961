"""`index.html`: the results of one preset on one page, to be read from top to bottom, without a server or a network.

Everything shown is read from the files in the folder: captions and the "paper / here" line from each figure's JSON,
titles from the executed notebooks, verdicts from `08_claims`. Only the introductions of the sections stand here, and
which of our files show what the paper does (`PAPER`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image

from advlook.core.files import read_json, write_atomically
from advlook.core.names import ARCH_NAMES
from advlook.core.presets import Preset
from advlook.stats.paired import PACKED
from advlook.stats.rules import COLUMNS, UNTESTED, VERDICTS
from advlook.stats.verdict_text import told

WHOLE = 16  # rows: a longer table is folded up, and shows its first rows alone
FIRST = 8  # rows of a longer table
LONGEST = 40  # letters of a word in a table; of a longer one, such as a hash, the first are shown

# What the paper shows, what that is, and our files of it, one for each {arch} where they say so.
PAPER: dict[str, tuple[str, tuple[str, ...]]] = {
    "Table 1": ("standard accuracy and robustness", ("tables/01_tradeoff.csv", "01_tradeoff.png")),
    "Table 2": ("accuracy on reversed and stylized images", ("tables/05_stylization.csv", "05_differences.png")),
    "Table 3": ("the image sets of the ensembles", ("tables/06_datasets.csv",)),
    "Figure 2": ("sensitivity maps of STD and ADV", ("03_maps_{arch}.png", "03_maps_shared_{arch}.png")),
    "Figure 3": ("filters of the first layer", ("03_first_layer_{arch}.png",)),
    "Figure 4": ("inputs that excite deeper layers", ("03_layers_{arch}.png",)),
    "Figure 5": ("images under blur and median", ("04_examples.png",)),
    "Figure 7": ("accuracy under blur and median", ("04_accuracy.png", "tables/04_corruptions.csv")),
    "Figure 9": ("accuracy of the ensembles", ("06_ensembles.png", "tables/06_ensembles.csv")),
    "Appendix A": ("whether maps depend on the parameters", ("07_maps.png", "07_similarity.png")),
    "Appendix B": ("more sensitivity maps", ("03_appendix_b_{arch}.png",)),
    "Appendix C": ("more inputs that excite deeper layers", ("03_appendix_c_{arch}.png",)),
    "Appendix D": ("stylized, blurred and reversed images", ("05_examples.png", "04_examples.png")),
}

# By the number that a notebook and all its results begin with.
INTRODUCTIONS = {
    "01": "Pairs of models that differ in one thing: STD was trained on the images as they are, ADV on images that an "
    "attack had moved. What does the robustness cost in accuracy?",
    "02": "How small a change makes the models err, and whether the attacks that say so can be believed: a weak attack "
    "makes any model look robust.",
    "03": "Maps of the pixels that matter, filters, and inputs that excite single units; and beside every picture a "
    "measurement that could have come out the other way.",
    "04": "If ADV models look at larger structures, they should survive what takes fine detail away, and gain nothing "
    "where colours are reversed.",
    "05": "The texture of every image is replaced by another one, or by that of another class. Who reads textures is "
    "misled; who reads shapes should not mind.",
    "06": "Features of two models are joined and learn new image sets. One of each kind should do better than two of a "
    "kind, if the two kinds look at different things.",
    "07": "A map that does not depend on what a model has learned says nothing about it. So parameters are made "
    "random, all of them or layer by layer, and maps have to change.",
    "08": "What the paper says in words, as statements with a rule that no result can move, an effect with its "
    "interval, and a verdict.",
}

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_gallery(folder: Path, preset: Preset) -> Path:
    """Write `folder/index.html` from whatever results lie there, and return its path."""
    sections = _sections(folder)
    page = _TEMPLATES.get_template("gallery.html").render(
        preset=preset,
        sections=sections,
        claims=_claims(folder),
        history=_history(sections),
        paper=[(item, what, _of_paper(folder, names)) for item, (what, names) in PAPER.items()],
    )
    path = folder / "index.html"
    write_atomically(path, lambda partial: partial.write_text(page))
    return path


def missing_items(folder: Path) -> dict[str, list[str]]:
    """Which items of `PAPER` are incomplete in a folder of results, each with the files that it lacks; {} if none.

    The JSON file that says how a figure or table was made is asked for like the result itself.
    """
    missing = {}
    for item, (_, names) in PAPER.items():
        lacking = [name for name in names if not _of_paper(folder, [name])]
        lacking += [
            str(r.record_path.relative_to(folder)) for r in _of_paper(folder, names) if "commit" not in r.record
        ]
        if lacking:
            missing[item] = lacking
    return missing


# Results -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A figure or table of a folder, with the record of how it was made ({} where there is none)."""

    folder: Path
    path: Path

    @property
    def record_path(self) -> Path:
        """Where it is said how it was made."""
        return self.path.with_suffix(".json")

    @cached_property
    def record(self) -> Mapping[str, object]:
        """How it was made."""
        return read_json(self.record_path)

    @property
    def is_table(self) -> bool:
        """Or else a figure."""
        return self.path.suffix == ".csv"

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"table-{self.path.stem}" if self.is_table else self.path.stem

    @property
    def title(self) -> str:
        """The name in words, without the notebook's number: "Maps, ResNet-10" of `03_maps_resnet10`."""
        words = self.path.stem.partition("_")[2] or self.path.stem
        arch = next((arch for arch in ARCH_NAMES if words.endswith(f"_{arch}")), "")
        first, *others = words.removesuffix(f"_{arch}").split("_")
        title = " ".join([first.capitalize(), *(word.upper() if len(word) == 1 else word for word in others)])
        return f"{title}, {ARCH_NAMES[arch]}" if arch else title

    @property
    def items(self) -> list[str]:
        """What it shows of the paper, by names of `PAPER`."""
        return [item for item, (_, names) in PAPER.items() if self in _of_paper(self.folder, names)]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Files that belong to it, as (path in the folder, what it is); those that are there."""
        kinds = {".csv": "CSV", ".png": "PNG", ".pdf": "PDF", ".json": "how it was made"}
        paths = {self.path.with_suffix(suffix): kind for suffix, kind in kinds.items()}
        return [(path.relative_to(self.folder).as_posix(), kind) for path, kind in paths.items() if path.is_file()]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a figure in pixels, so that the page keeps its place before it is loaded."""
        with Image.open(self.path) as image:
            return image.size

    @cached_property
    def sheet(self) -> "Sheet":
        """A table as it is shown."""
        try:
            table = pd.read_csv(self.path)
            table = table.drop(columns=table.columns.intersection(PACKED))  # for machines
        except ValueError:  # without a single column
            table = pd.DataFrame()
        shown = table if len(table) <= WHOLE else table[:FIRST]
        rows = [[_cell(value) for value in row] for row in shown.to_numpy(object)]
        texts = [not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
        return Sheet(list(table), rows, len(table), texts)


@dataclass(frozen=True)
class Sheet:
    """The cells of a table as text; `rows` are the first ones where `count` is more; `texts` tells columns of words."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    count: int
    texts: Sequence[bool]


@dataclass(frozen=True)
class Section:
    """What belongs to one notebook: results in the order in which they were made, figures first."""

    number: str
    title: str
    notebook: str
    failed: str
    run: Mapping[str, object]
    results: Sequence[Result]

    @property
    def introduction(self) -> str:
        """Its first sentences, ours."""
        return INTRODUCTIONS.get(self.number, "")

    @property
    def records(self) -> list[Mapping[str, object]]:
        """How its notebook and its results were made, of those that say so."""
        return [record for record in (self.run, *(result.record for result in self.results)) if record]


def _sections(folder: Path) -> list[Section]:
    results = [Result(folder, path) for pattern in ("*.png", "tables/*.csv") for path in sorted(folder.glob(pattern))]
    notebooks = {_prefix(path): path for path in sorted((folder / "notebooks").glob("*.ipynb"))}
    failed = {_prefix(path): path for path in sorted((folder / "failed").glob("*.ipynb"))}
    found = []
    for number in sorted({_prefix(result.path) for result in results} | notebooks.keys() | failed.keys()):
        own = [result for result in results if _prefix(result.path) == number]
        notebook = notebooks.get(number)
        found.append(
            Section(
                number,
                _title(notebook or failed.get(number), number),
                f"notebooks/{notebook.name}" if notebook else "",
                f"failed/{failed[number].name}" if number in failed else "",
                read_json(notebook.with_suffix(".json")) if notebook else {},
                sorted(own, key=lambda result: (result.is_table, _number(result.record.get("seconds")))),
            )
        )
    return found


def _title(notebook: Path | None, number: str) -> str:
    """The first heading of a notebook, else its name."""
    for cell in read_json(notebook).get("cells", []) if notebook else []:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return notebook.stem if notebook else f"Results of notebook {number}" if number.isdigit() else "Other results"


def _cell(value: object) -> str:
    """A value as it is read: four digits are enough, and nobody reads a word of a thousand letters."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < float("inf") else f"{value:.4g}"
    return " ".join(f"{word[:12]}…" if len(word) > LONGEST else word for word in str(value).split())


# Claims --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One row of `08_claims`: whom it is about, the verdict, the effect as `verdicts.told` has it, and a remark."""

    about: str
    verdict: str
    effect: str
    remark: str


def _claims(folder: Path) -> dict[str, object] | None:
    """The table `08_claims` by place in the paper and claim, with the number of each verdict; None without it."""
    path = folder / "tables" / "08_claims.csv"
    if not path.is_file():
        return None
    texts = ["unit", "rule", "reason", "at", "held"]
    table = pd.read_csv(path).reindex(columns=COLUMNS)
    table = table.astype(dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))
    rows = table.assign(effect=table.apply(told, axis=1)).to_dict("records")
    places: dict[str, dict[str, list[Mapping[str, object]]]] = {}
    for row in rows:
        places.setdefault(row["where"], {}).setdefault(row["claim"], []).append(row)
    counts = Counter(row["verdict"] for row in rows)
    order = [*VERDICTS, *(verdict for verdict in counts if verdict not in VERDICTS)]
    return {
        "places": {
            where: [
                (name, own[0]["statement"], own[0]["rule"], [_answer(row) for row in own])
                for name, own in claims.items()
            ]
            for where, claims in places.items()
        },
        "count": len({row["claim"] for row in rows}),
        "verdicts": {verdict: counts[verdict] for verdict in order if counts[verdict]},
    }


def _answer(row: Mapping[str, object]) -> Answer:
    tested = row["verdict"] != UNTESTED
    decided = [row["at"], f"comparisons: {row['held']}" if row["held"] else ""]
    remark = row["reason"] or "; ".join(filter(None, decided))
    return Answer(ARCH_NAMES.get(row["arch"], row["arch"]), row["verdict"], row["effect"] if tested else "", remark)


# How it was made -----------------------------------------------------------------------------------------------------


def _history(sections: Iterable[Section]) -> dict[str, object]:
    """What all records say: a line a notebook, every commit, and the versions of every package."""
    lines, commits, packages = [], {}, {}
    for section in sections:
        made_by = dict.fromkeys(map(_commit, section.records))
        commits |= made_by
        for record in section.records:
            python = {"Python": record["python"]} if "python" in record else {}
            for package, version in {**python, **record.get("packages", {})}.items():
                packages.setdefault(package, {})[str(version)] = None
        seeds, device = (_values(section.records, key) for key in ("seeds", "device"))
        lines.append((section, list(made_by), seeds, device, _duration(_number(section.run.get("seconds")))))
    versions = {package: " and ".join(found) for package, found in packages.items()}
    return {"lines": lines, "commits": list(commits), "packages": versions}


def _commit(record: Mapping[str, object]) -> str:
    changed = " with changes that were not committed" if record.get("dirty") else ""
    return f"{str(record.get('commit') or 'unknown')[:10]}{changed}"


def _values(records: Iterable[Mapping[str, object]], key: str) -> str:
    """The different values of a key; those of a list in a row."""
    found = (record[key] for record in records if key in record)
    texts = (", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in found)
    return " and ".join(dict.fromkeys(texts))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s" if rest else ""


# Files ---------------------------------------------------------------------------------------------------------------


def _of_paper(folder: Path, names: Iterable[str]) -> list[Result]:
    """The results of these names, as in `PAPER`, that are there."""
    paths = dict.fromkeys(folder / name.format(arch=arch) for name in names for arch in ARCH_NAMES)
    return [Result(folder, path) for path in paths if path.is_file()]


def _prefix(path: Path) -> str:
    """The number of the notebook that a file belongs to, or "other"."""
    return path.name[:2] if path.name[:2].isdigit() else "other"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
