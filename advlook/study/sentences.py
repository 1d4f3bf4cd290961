"""Sentences that are generated from the tables of a run, so that what a notebook says of results holds beside them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import pandas as pd
from IPython.display import Markdown

from advlook.core import ARCH_NAMES, RequestError
from advlook.study.study import Study


def existing(study: Study, *names: str) -> dict[str, pd.DataFrame]:
    """Those of these tables that the study has, by name."""
    found = {}
    for name in names:
        with suppress(RequestError):
            found[name] = study.load_table(name)
    return found


def lines_of(study: Study, makers: Mapping[str, Callable[[pd.DataFrame], list[str]]]) -> list[str]:
    """The lines that are made of each of these tables, as far as the study has them, in the order of `makers`."""
    tables = existing(study, *makers)
    return [line for name in tables for line in makers[name](tables[name])]


def bullets(lines: Sequence[str], before: str = "", nothing: str = "There are no results of this here.") -> Markdown:
    """A list in Markdown behind a sentence; without lines it says `nothing`."""
    return Markdown(f"{before}\n\n{chr(10).join(f'- {line}' for line in lines)}".strip() if lines else nothing)


def by_arch(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name of every architecture in bold, and its rows."""
    for arch, rows in table.groupby("arch", sort=False):
        yield f"**{ARCH_NAMES[arch]}**", rows


def sample(table: pd.DataFrame) -> str:
    """Of how many images and pairs of models a table is: "250 images, means over 3 pairs of models"."""
    images, pairs = int(table["images"].max()), table["seed"].nunique()
    return f"{images:,} images, " + (f"means over {pairs} pairs of models" if pairs > 1 else "one pair of models")


def joined(names: Sequence[str]) -> str:
    """Names in a row: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def with_interval(row: pd.Series, value: str = "difference", form: str = "+.1f") -> str:
    """A value with its 95% interval: "-6.2 [-7.1, -5.3]"."""
    return f"{row[value]:{form}} [{row['low']:{form}}, {row['high']:{form}}]"


def apart(difference: float) -> str:
    """A difference ADV - STD in points, in words."""
    if abs(difference) < 0.05:
        return "both are equal"
    return f"ADV is {abs(difference):.1f} points {'ahead' if difference > 0 else 'behind'}"
