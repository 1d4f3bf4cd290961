"""What `import advlook` does: torchvision can be imported with any torch, and threads sleep while they wait."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advlook.core import torchvision_import


@pytest.mark.parametrize("own", [None, "active"])
def test_import_in_a_fresh_process(own):
    """`import advlook, torchvision` works, with datasets and models; its threads wait as the user says, else asleep."""
    code = "import advlook, torchvision; torchvision.models.resnet18; torchvision.datasets.Imagenette"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_DISPLAY_ENV": "true"}
    environment.pop("OMP_WAIT_POLICY", None)
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    policy = re.search(r"OMP_WAIT_POLICY ?= ?'?(\w+)", done.stdout + done.stderr)  # as OpenMP read it
    assert policy
    assert policy[1].lower() == (own or "passive")


def test_working_torchvision_is_left_alone(monkeypatch):
    """Where the compiled operators load nothing is declared in their place."""

    def refuse(*args):
        raise AssertionError("no library must be defined")

    monkeypatch.setattr(torchvision_import, "_library", None)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(torch.library, "Library", refuse)
    assert hasattr(torch.ops.torchvision, "nms")
    folder = Path(torchvision_import.importlib.util.find_spec("torchvision").submodule_search_locations[0])
    if [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        torchvision_import.ensure_importable()
        assert torchvision_import._library is None


def test_broken_torchvision_gets_its_schemas(monkeypatch):
    """Where the compiled operators cannot load, exactly those that the import needs are declared, once."""
    declared = []

    class Library:
        def __init__(self, namespace, kind):
            declared.append(namespace)

        def define(self, schema):
            declared.append(schema.split("(")[0])

    def fail(path):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(torchvision_import, "_library", None)
    monkeypatch.setattr(torch.ops, "load_library", fail)
    monkeypatch.setattr(torch.library, "Library", Library)
    torchvision_import.ensure_importable()
    torchvision_import.ensure_importable()
    assert declared == ["torchvision", "nms", "qnms"]
