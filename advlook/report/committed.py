"""The tables of the results that lie in figures/ of the repository."""

from functools import cache
from pathlib import Path

import pandas as pd

from advlook.study.folders import ROOT


def table_path(preset: str, table: str) -> Path:
    """Where a table of a preset lies, or would lie."""
    return ROOT / "figures" / preset / "tables" / f"{table}.csv"


@cache
def load(preset: str, table: str) -> pd.DataFrame:
    """The scalar columns of a committed table."""
    return pd.read_csv(table_path(preset, table))
