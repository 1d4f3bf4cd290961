"""A command line of functions: a command is a function `_NAME` of its options, which `command` lists; its docstring is
the help and the examples."""

import argparse
import inspect
from collections.abc import Callable
from textwrap import indent
from typing import Any, NoReturn

Run = Callable[..., int]
Option = tuple[str, dict[str, Any]]
COMMANDS: dict[str, tuple[Run, tuple[Option, ...]]] = {}
LAYOUT = {"formatter_class": argparse.RawDescriptionHelpFormatter}  # keeps the lines of examples


class _Parser(argparse.ArgumentParser):
    """argparse that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"advlook: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; its help ends with an example of each."""
    text = "What do adversarially robust image classifiers look at? A study that anyone can run again."
    made = _Parser(prog="advlook", description=text, epilog="examples:", **LAYOUT)
    commands = made.add_subparsers(dest="command", required=True)
    for name, (run, options) in COMMANDS.items():
        text, examples = inspect.getdoc(run).split("\n\n", 1)
        epilog = "examples:\n" + indent(examples, "  ")
        added = commands.add_parser(name, help=text, description=text, epilog=epilog, **LAYOUT)
        for flag, settings in options:
            added.add_argument(flag, **settings)
        made.epilog += f"\n  {examples.splitlines()[0]}"
    return made


def at_least_one(text: str) -> int:
    """The type of an option that counts something."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return int(text)


def option(name: str, text: str, **settings: Any) -> Option:
    """An option or argument of a command, with its help and argparse's settings."""
    return name, {"help": text, **settings}


def command(*options: Option) -> Callable[[Run], Run]:
    """Register a function as a command with these options."""

    def register(run: Run) -> Run:
        COMMANDS[run.__name__.removeprefix("_")] = run, options
        return run

    return register
