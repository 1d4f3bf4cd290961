"""Which code a result rests on: the definitions that it reaches, by what they do.

A definition is a function, a class or a constant of this package. It is compared by its syntax tree without docstrings
and comments, in which every reference to another definition is that definition's name: neither a new sentence nor a
move to another module makes a result stale. Of a class of our own, the methods count that reached code names; of one
that extends a library's class all do, since the library calls them."""

import ast
import functools
import inspect
import textwrap
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from advlook.core import digest

PACKAGE = Path(__file__).resolve().parents[1]
# What makes weights, reads presets or describes a run: weights and presets are inputs that are hashed themselves.
BY_RESULT = ("checkpoint", "train_all", "load_preset", "describe")
Place = tuple[str, str]  # dotted name of a module, and of a definition in it
# How a node reads with its references resolved, the definitions that it refers to, the names it takes from objects.
References = tuple[str, frozenset[Place], frozenset[str]]


_PARSING = threading.Lock()


def parse(source: str) -> ast.Module:
    """The syntax tree of a source, made by one thread at a time, as notebooks run side by side in threads: CPython 3.11
    counts the depth of all trees in the making as one (python/cpython#106905), and now and then ends in a SystemError.
    """
    with _PARSING:
        return ast.parse(source)


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


# As they were imported: files may change while this process runs on.
_SOURCES = {_dotted(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def code_digest(thing: Callable[..., object]) -> str:
    """Hash of all that a function or a class rests on: sixteen hexadecimal digits.

    One that is not of this package counts by its own source alone."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if thing.__module__ in _SOURCES:
        name = thing.__qualname__.partition(".")[0]
        return source_digest(f"from {thing.__module__} import {name}\n{name}")
    try:
        return digest(_dump(parse(textwrap.dedent(inspect.getsource(thing)))))
    except (OSError, TypeError, SyntaxError):  # typed where no source is kept
        return digest(thing.__qualname__)


def source_digest(source: str) -> str:
    """Hash of what a piece of source, such as the code of a notebook, does: its own syntax tree, and all it reaches."""
    module, before = _Module(source), None
    text, places, attributes = _references(module, module.tree)
    while before != (places, attributes):  # until no further name brings in another method
        before = places, attributes
        found = [
            _references(module, node, attributes) if isinstance(node, ast.ClassDef) else _references(module, node)
            for module, node in _nodes(places)
        ]
        places = places.union(*(each[1] for each in found))
        attributes = attributes.union(*(each[2] for each in found))
    return digest([text, *sorted({each[0] for each in found})])


class _Module:
    """The top level of a source: its definitions, what its imports stand for, and statements that do something."""

    def __init__(self, source: str, name: str = "") -> None:
        self.name, self.tree = name, parse(without_magics(source))  # dotted; "" of a source that is no module
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, str] = {}
        self.effects: list[ast.stmt] = []
        for node in ast.walk(self.tree):
            self.imports |= _imported(node)
        for node in self.tree.body:
            names = _defined(node)
            self.definitions |= dict.fromkeys(names, node)
            if not names and not isinstance(node, ast.Import | ast.ImportFrom) and not _is_docstring(node):
                self.effects.append(node)


def without_magics(source: str) -> str:
    """The code of a notebook's cell without the lines that are no Python."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))


@functools.cache
def _module(name: str) -> _Module:
    return _Module(_SOURCES[name], name)


def _nodes(places: Iterable[Place]) -> list[tuple[_Module, ast.stmt]]:
    """The nodes of definitions, and what their modules do besides."""
    nodes = [(_module(name), _module(name).definitions[definition]) for name, definition in places]
    return nodes + [(module, node) for module in {_module(name) for name, _ in places} for node in module.effects]


@functools.cache
def _references(module: _Module, node: ast.AST, attributes: frozenset[str] = frozenset()) -> References:
    """attributes: the names that reached code takes from objects, of which a class may have some."""
    resolver = _Resolver(module, attributes)
    text = _dump(resolver.visit(parse(ast.unparse(node))))
    return text, frozenset(resolver.places), frozenset(resolver.attributes)


class _Resolver(ast.NodeTransformer):
    """Replaces references to definitions of the package by their names, and collects them."""

    def __init__(self, module: _Module, known: frozenset[str]) -> None:
        self.module, self.known = module, known
        self.places: set[Place] = set()
        self.attributes: set[str] = set()
        self.bound: list[set[str]] = []  # names of the functions around, which hide those of the module

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        names |= {each.arg for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)}
        node.returns = node.returns and self.visit(node.returns)
        self.visit(node.args)  # annotations and defaults belong to the scope outside
        self.bound.append(names)
        node.body = [kept for each in node.body if (kept := self.visit(each)) is not None] or [ast.Pass()]
        self.bound.pop()
        return node

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> ast.AST | None:
        return None if all(map(_is_ours, _imported(node).values())) else node

    visit_ImportFrom = visit_Import

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._definition([node.id]) or node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        chain, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            chain, root = [root.attr, *chain], root.value
        if isinstance(root, ast.Name) and (found := self._definition([root.id, *chain])):
            return found
        self.attributes.add(node.attr)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            self.attributes |= {each.value for each in node.args if isinstance(each, ast.Constant)}
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        bases = [ast.unparse(base) for base in node.bases]
        ours = all(name in self.module.definitions or _is_ours(self.module.imports.get(name, "")) for name in bases)
        if ours and node.name in self.module.definitions:
            node.body = [each for each in node.body if not self._passed_over(each)]
        return self.generic_visit(node)

    def _passed_over(self, node: ast.stmt) -> bool:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("__"):
            return False
        return node.name in BY_RESULT or node.name not in self.known

    def _definition(self, chain: list[str]) -> ast.AST | None:
        """A chain of names whose longest part that is a definition is replaced by that definition's name."""
        name, *rest = chain
        if any(name in names for names in self.bound):
            return None
        path = f"{self.module.name}.{name}" if name in self.module.definitions else self.module.imports.get(name, "")
        places, rest = _looked_up(".".join([path, *rest]))
        if not places:
            return None
        self.places |= {place for place in places if place[1] not in BY_RESULT}
        self.attributes |= set(rest)
        return ast.Name(".".join(["+".join(sorted(name for _, name in places)), *rest]), ast.Load())


@functools.cache
def _looked_up(path: str) -> tuple[set[Place], list[str]]:
    """The definitions that a dotted path leads to, through the imports of modules, and what of it goes on behind them.
    They are all of a module that is named as a whole, and none where the path is none of ours."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name, rest = ".".join(parts[:length]), parts[length:]
        if name not in _SOURCES:
            continue
        module, (first, *others) = _module(name), rest or [""]
        if first in module.definitions:
            return {(name, first)}, others
        imported = module.imports.get(first, "")
        found = _looked_up(".".join([imported, *others])) if imported not in ("", f"{name}.{first}") else (set(), [])
        return found if found[0] else ({(name, each) for each in module.definitions}, rest)
    return set(), []


def _imported(node: ast.AST) -> dict[str, str]:
    """What the names that an import statement binds stand for, as dotted paths."""
    if isinstance(node, ast.ImportFrom):
        return {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    if isinstance(node, ast.Import):
        bound = ((each.asname, each.name) if each.asname else (each.name.split(".")[0],) * 2 for each in node.names)
        return dict(bound)
    return {}


def _is_ours(path: str) -> bool:
    return path.split(".")[0] == PACKAGE.name


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _dump(tree: ast.AST) -> str:
    """A syntax tree as text, without docstrings, comments and places."""
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [each for each in body if not _is_docstring(each)]
    return ast.dump(tree)
