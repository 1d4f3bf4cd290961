"""Where a study finds its data and leaves its results."""

import os
from pathlib import Path

from advlook.study.code import PACKAGE

ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else Path.cwd()


def data_folder() -> Path:
    """`data/` of the project, or what the environment variable ADVLOOK_DATA names."""
    return Path(os.environ.get("ADVLOOK_DATA") or ROOT / "data")


def output_folder() -> Path:
    """`figures/` of the project, or what the environment variable ADVLOOK_OUTPUT names."""
    return Path(os.environ.get("ADVLOOK_OUTPUT") or ROOT / "figures")
