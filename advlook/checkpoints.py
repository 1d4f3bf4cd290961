"""Checkpoints: safetensors files that say in their metadata how they were made and how good they are."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from advlook.errors import RequestError
from advlook.files import write_atomically


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with its weights rounded to float16; running statistics and constants stay float32.

    A rounding of 5e-4 of a weight changes no accuracy that could be measured, and halves what is stored.
    """
    parameters = dict(model.named_parameters())
    return {
        name: (value.half() if name in parameters else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, object]) -> None:
    """Write the model's weights (as `half_precision` gives them) and JSON metadata, whole or not at all."""
    state = half_precision(model)
    text = {key: json.dumps(value) for key, value in metadata.items()}
    write_atomically(path, lambda partial: save_file(state, str(partial), text))


def read_metadata(path: Path) -> dict[str, object]:
    """What `save_checkpoint` was told. Raises RequestError for a file that is no safetensors checkpoint."""
    try:
        with safe_open(str(path), "pt") as file:
            return {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        raise RequestError(f"checkpoint {path} does not exist") from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise RequestError(f"checkpoint {path} is not a readable safetensors file ({error})") from None


def load_checkpoint(path: Path, model: nn.Module) -> nn.Module:
    """Fill `model` with a checkpoint's weights, in float32, and return it in eval mode.

    Raises RequestError naming the file and the first tensor that is missing, unknown or of another shape.
    """
    read_metadata(path)
    with safe_open(str(path), "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state or name not in wanted:
            kind = "lacks" if name in wanted else "has an unknown tensor"
            raise RequestError(f"checkpoint {path} {kind} {name!r}: it is of another architecture or stem")
        if state[name].shape != wanted[name].shape:
            raise RequestError(
                f"checkpoint {path} has {name!r} of shape {tuple(state[name].shape)}, "
                f"but the model needs {tuple(wanted[name].shape)}; is it of another width or class count?"
            )
    model.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()})
    return model.eval()


def file_hash(path: Path) -> str:
    """First sixteen digits of the SHA-256 of a file, as recorded in provenance."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def save_state(path: Path, state: Mapping[str, object]) -> None:
    """Write a training state, whole or not at all."""
    write_atomically(path, lambda partial: torch.save(dict(state), partial))


def load_state(path: Path) -> dict[str, object] | None:
    """A training state, without unpickling code; None where there is none."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.is_file() else None
