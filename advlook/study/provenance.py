"""What made a result: preset, commit, versions, device. No path and no name of a machine is recorded."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

from advlook.core.presets import Preset

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "papermill",
    "safetensors",
    "scikit-image",
    "opencv-python-headless",
)


def describe(preset: Preset, device: torch.device) -> dict[str, object]:
    """A JSON-like record of the preset, the code and the machine's kind."""
    commit, dirty = git_commit()
    return {
        "preset": preset.name,
        "preset_digest": preset.digest,
        "seeds": list(preset.seeds),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
    }


def git_commit() -> tuple[str | None, bool | None]:
    """The project's commit and whether tracked sources differ from it; None twice outside a git checkout.

    Results (figures/) do not count as changed sources: writing them is what a run does.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", ":/", ":(exclude,top)figures"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
