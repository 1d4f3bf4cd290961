"""What made a result: preset, commit, versions, device. No path and no name of a machine is recorded."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch

from advlook.core import Preset, write_atomically

_COMPUTING = ("torch", "torchvision", "numpy", "scikit-image", "opencv-python-headless")
PACKAGES = (*_COMPUTING, "pandas", "matplotlib", "seaborn", "papermill", "safetensors")


def describe(preset: Preset, device: torch.device) -> dict[str, object]:
    """A JSON-like record of the preset, the code and the machine's kind."""
    commit, dirty = git_commit()
    made_by = {"preset": preset.name, "preset_digest": preset.digest, "seeds": list(preset.seeds)}
    made_by |= {"commit": commit, "dirty": dirty, "python": platform.python_version()}
    made_by["packages"] = {name: importlib.metadata.version(name) for name in PACKAGES}
    cuda = device.type == "cuda"
    return made_by | {"device": torch.cuda.get_device_name(device) if cuda else f"{os.cpu_count()} CPU cores"}


def git_commit() -> tuple[str | None, bool | None]:
    """The commit, and whether tracked sources other than results differ from it; None twice outside a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", ":/", ":(exclude,top)figures"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write a record as JSON that people can read."""
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text))
