"""Which code a result depends on: some modules of this package, and those that they import, directly or not.

What changes elsewhere, in a figure, a claim or the page, makes nothing be measured again.
"""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# As they were imported: files may change while this process runs on.
_SOURCES = {path.stem: path.read_text() for path in sorted(PACKAGE.glob("*.py"))}


def code_digest(modules: Iterable[str]) -> str:
    """Hash of the sources of these modules, such as "attacks", and of all of the package that they import."""
    digest = hashlib.sha256()
    for name in sorted(reached_from(modules)):
        digest.update(f"{name}\n{_SOURCES[name]}".encode())
    return digest.hexdigest()[:16]


def function_digest(function: Callable[..., object]) -> str:
    """Hash of the code behind a function: that of its module, or its own source where it is not of this package."""
    package, _, module = function.__module__.rpartition(".")
    if package == PACKAGE.name:
        return code_digest([module])
    own = function.__qualname__
    with suppress(OSError, TypeError):  # typed where no source is kept
        own = inspect.getsource(function)
    return hashlib.sha256(own.encode()).hexdigest()[:16]


def reached_from(modules: Iterable[str]) -> set[str]:
    """These modules and all that they import, directly or not, inside functions as well."""
    reached, asked = set(), {"__init__", *modules}
    while asked:
        reached |= asked
        asked = set().union(*(imported_by(_SOURCES[name]) for name in asked)) - reached
    return reached


def imported_by(source: str) -> set[str]:
    """The modules of this package that a module, or the code of a notebook, imports; all, where it cannot be read."""
    plain = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))  # of notebooks
    try:
        nodes = list(ast.walk(ast.parse(plain)))
    except SyntaxError:
        return set(_SOURCES)
    names = [
        f"{node.module}.{each.name}" for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names
    ] + [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
    parts = (name.split(".") for name in names)
    return {part[1] for part in parts if part[0] == PACKAGE.name and len(part) > 1} & _SOURCES.keys()
