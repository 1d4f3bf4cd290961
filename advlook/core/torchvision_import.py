"""Make `import torchvision` work beside a torch built without CUDA.

The ordinary torchvision wheel links its compiled operators against the CUDA runtime. Beside a CPU-only torch that
library cannot load; torchvision shrugs it off, and then fails at import while registering the shape rule of an
operator that was never defined ("operator torchvision::nms does not exist"). Nothing in this package uses detection
operators, so declaring their schemas, without any implementation, is all that the import needs.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # kept alive: a collected Library takes its schemas along


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # not installed: let the ordinary ImportError speak
    folder = Path(spec.submodule_search_locations[0])
    compiled = [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]
    try:
        for library in compiled:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(compiled) and hasattr(torch.ops.torchvision, "nms")


def ensure_importable() -> None:
    """Declare the missing operators, only when torchvision's compiled library cannot load."""
    global _library
    if _library is None and not _compiled_operators_load():
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            _library.define(schema)
