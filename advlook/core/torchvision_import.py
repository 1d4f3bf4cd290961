"""Make `import torchvision` work with a torch built without CUDA.

There torchvision's operators do not load, and its import fails where it registers their output shapes. This package
uses no detection operators: it is enough to declare their schemas, without an implementation."""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = [f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")]
_library: torch.library.Library | None = None  # kept: the schemas vanish with it


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # not installed: its import says so
    folder = Path(spec.submodule_search_locations[0])
    compiled = [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]
    try:
        for library in compiled:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(compiled) and hasattr(torch.ops.torchvision, "nms")


def ensure_importable() -> None:
    """Declare the missing operators where torchvision's compiled library does not load."""
    global _library
    if _library is None and not _compiled_operators_load():
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            _library.define(schema)
