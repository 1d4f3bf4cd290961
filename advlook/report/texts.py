"""The texts of a notebook reach its executed copy and the records of its figures without a kernel. Text is what no
result rests on: markdown, comments, docstrings, the captions of figures, and the sentences of cells with the tag
"findings", which name nothing but `study` and are generated from the tables of a run."""

import ast
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from advlook.core import ARCH_NAMES, read_json, write_atomically
from advlook.study.code import parse, without_magics
from advlook.study.folders import ROOT
from advlook.study.provenance import write_record
from advlook.study.study import Study

CAPTIONS = ("caption", "paper", "PAPER", "HERE")  # arguments and variables that hold the text below a figure
SAVE_FIGURE = ("name", "figure", "caption", "paper")  # its arguments, in order
FINDINGS, INJECTED = "findings", "injected-parameters"  # tags of cells
Parts = Sequence[str | None]  # a text: what the source says, and None where only a run knows
Expressions = dict[str, list[ast.expr]]  # what a variable was given; its text is that of all of them joined


def archs_in(folder: Path) -> list[str]:
    """The architectures that results in a folder may be of: the study's, and those that its tables have besides."""
    paths = sorted((folder / "tables").glob("*.csv"))
    return _archs_of(tuple((path, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=8)
def _archs_of(files: tuple[tuple[Path, int], ...]) -> list[str]:
    found = dict.fromkeys(ARCH_NAMES)
    for path, _ in files:
        with open(path, newline="") as file:
            rows = csv.DictReader(file)
            found |= dict.fromkeys(row["arch"] for row in rows) if "arch" in (rows.fieldnames or ()) else {}
    return list(found)


def renew(
    folder: Path, notebook: Path, proved: bool = False, study: Study | None = None
) -> tuple[list[Path], list[str]] | None:
    """Renew the texts of a notebook's results in `folder`; None where it was not run, or with other code. proved:
    `advlook verify` has shown that the present code gives the same results; then it is shown with them. study: whose
    tables sentences are generated from; None: they stay as they are. Returns the files that changed, and the captions
    that only a run can renew, since they contain values."""
    source, copy = nbformat.read(notebook, as_version=4), folder / "notebooks" / notebook.name
    renewed = _with_outputs(source, nbformat.read(copy, as_version=4), proved) if copy.is_file() else None
    if renewed is None:
        return None
    for cell in renewed.cells if study else ():
        if FINDINGS in cell.metadata.get("tags", []):
            _tell(cell, study)
    before = copy.read_text()
    write_notebook(copy, renewed)
    changed, outdated = [copy] if copy.read_text() != before else [], []
    for path, texts in _captions(folder, source):
        record = read_json(path)
        known = {field: "".join(parts) for field, parts in texts.items() if None not in parts}
        for field in texts.keys() - known.keys():
            pattern = "".join(".*" if part is None else re.escape(part) for part in texts[field])
            if not re.fullmatch(pattern, record.get(field, ""), re.DOTALL):
                outdated.append(f"{field} of {path.stem}")
        if record != record | known:
            write_record(path, record | known)
            changed.append(path)
    return changed, outdated


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook without the project's path, which outputs may hold."""
    text = nbformat.writes(notebook).replace(f"{ROOT}/", "")
    write_atomically(path, lambda partial: partial.write_text(text + "\n"))


def plain_code(source: str) -> str:
    """Code without magics, comments, docstrings and captions, in the layout of `ast.unparse`."""
    tree = _parsed(source)
    return f"unreadable({source!r})" if tree is None else ast.unparse(_WithoutTexts().visit(tree))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that results rest on: without those of findings, and the parameters that papermill adds."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell for cell in cells if not {FINDINGS, INJECTED} & set(cell.metadata.get("tags", []))]


def findings(source: str, study: Study) -> str:
    """The Markdown that a cell of findings gives."""
    *statements, last = parse(source).body
    names: dict[str, object] = {"study": study}
    exec(compile(ast.Module(statements, []), FINDINGS, "exec"), names)
    return eval(compile(ast.Expression(last.value), FINDINGS, "eval"), names).data


def _tell(cell: NotebookNode, study: Study) -> None:
    """Give a cell of findings the output that it has in a run; a run's own stays as it is where nothing differs."""
    told = findings(cell.source, study)
    if [output.get("data", {}).get("text/markdown") for output in cell.outputs] != [told]:
        data = {"text/markdown": told, "text/plain": "<IPython.core.display.Markdown object>"}
        number = cell.execution_count
        cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=number)]


def _with_outputs(source: NotebookNode, copy: NotebookNode, proved: bool) -> NotebookNode | None:
    """The source with outputs and parameters of its executed copy; None where their code differs, unless `proved`."""
    own, ran = code_cells(source), code_cells(copy)
    if proved:
        known = {cell.id: cell for cell in ran}
        pairs = [(cell, known.get(cell.id, cell)) for cell in own]
    elif [plain_code(cell.source) for cell in own] == [plain_code(cell.source) for cell in ran]:
        pairs = list(zip(own, ran, strict=True))
    else:
        return None
    told = {cell.id: cell for cell in copy.cells if FINDINGS in cell.metadata.get("tags", [])}
    pairs += [(cell, told[cell.id]) for cell in source.cells if cell.id in told]
    outputs = {cell.id: dict(kept, source=cell.source, id=cell.id) for cell, kept in pairs}
    injected = [cell for cell in copy.cells if INJECTED in cell.metadata.get("tags", [])]
    cells = []
    for cell in source.cells:
        cells.append(outputs.get(cell.id) or dict(cell, metadata={"tags": []} | cell.metadata))
        if "parameters" in cell.metadata.get("tags", []):
            cells += injected
    return nbformat.from_dict(dict(copy, cells=cells))


def _parsed(source: str) -> ast.Module | None:
    """The syntax tree of a cell without its magics; None where it is not Python."""
    with suppress(SyntaxError):
        return parse(without_magics(source))
    return None


class _WithoutTexts(ast.NodeTransformer):
    """Removes captions and docstrings."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [each for each in node.keywords if each.arg not in CAPTIONS]
        node.args = node.args[:2] if _saves_figure(node) else node.args
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST | None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name), *_]) | ast.AugAssign(target=ast.Name(id=name)):
                if name in CAPTIONS:
                    return None
            case ast.Expr(value=ast.Constant(value=str())):
                return None
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]
        return node


def _saves_figure(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "save_figure"


def _captions(folder: Path, source: NotebookNode) -> Iterator[tuple[Path, dict[str, Parts]]]:
    """The record of each figure that a notebook saves, with "caption" and "paper" as its source states them."""
    said: Expressions = {}
    for cell in code_cells(source):
        nodes = ast.walk(_parsed(cell.source) or ast.Module([], []))
        statements = (node for node in nodes if isinstance(node, ast.Assign | ast.AugAssign | ast.Call))
        for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset)):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]) if name in CAPTIONS:
                    said[name] = [node.value]
                case ast.AugAssign(target=ast.Name(id=name)) if name in CAPTIONS:
                    said[name] = [*said.get(name, []), node.value]
                case ast.Call() if _saves_figure(node):
                    given = dict(zip(SAVE_FIGURE, node.args, strict=False))
                    given |= {each.arg: each.value for each in node.keywords}
                    yield from _saved(folder, given, said)


def _saved(folder: Path, given: Mapping[str, ast.expr], said: Expressions) -> Iterator[tuple[Path, dict[str, Parts]]]:
    """The figures of one call of `save_figure`: one of each architecture where the figure's name contains `arch`."""
    for values in [said, *(said | {"arch": [ast.Constant(arch)]} for arch in archs_in(folder))]:
        name = _parts(given["name"], values)
        if None not in name:
            path = folder / f"{''.join(name)}.json"
            if path.is_file():
                yield path, {field: _parts(given[field], values) for field in ("caption", "paper")}
            if values is said:
                return


def _parts(node: ast.expr, said: Expressions) -> Parts:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=nodes):
            return [part for each in nodes for part in _parts(each, said)]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _parts(value, said)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_parts(left, said), *_parts(right, said)]
        case ast.Name(id=name) if name in said:
            others = {other: nodes for other, nodes in said.items() if other != name}
            return [part for each in said[name] for part in _parts(each, others)]
    return [None]
