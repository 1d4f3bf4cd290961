"""Checkpoints: safetensors files that say in their metadata how they were made and how good they are."""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from advlook.core import RequestError, write_atomically


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """The model's state, its weights rounded to float16 (no accuracy changes measurably), statistics in float32."""
    parameters, state = dict(model.named_parameters()), model.state_dict()
    rounded = {name: value.half() if name in parameters else value for name, value in state.items()}
    return {name: value.detach().cpu().contiguous() for name, value in rounded.items()}


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, object]) -> None:
    """Write the model's weights (as `half_precision` gives them) and JSON metadata, whole or not at all."""
    data = save(half_precision(model), {key: json.dumps(value) for key, value in metadata.items()})
    # Python's own write, for safetensors and torch report a full disk as an error of their own.
    write_atomically(path, lambda partial: partial.write_bytes(data))


def read_metadata(path: Path) -> dict[str, object]:
    """What `save_checkpoint` was told; text that is no JSON, as in files of other origin, comes back as it is."""
    with _opened(path) as file:
        told = dict(file.metadata() or {})
    for key, text in told.items():
        with suppress(json.JSONDecodeError):
            told[key] = json.loads(text)
    return told


def load_checkpoint(path: Path, model: nn.Module) -> nn.Module:
    """Fill `model` with a checkpoint's weights, in float32, and return it in eval mode."""
    return fill_model(model, read_tensors(path), path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file by name; RequestError for a file that is none."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def fill_model(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Fill `model` with tensors read from `path`, in eval mode; RequestError names the first that does not fit."""
    wanted = model.state_dict()
    # Counters that old files lack, and that matter to no model in eval mode.
    state = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")} | dict(state)
    for name in sorted(wanted.keys() ^ state.keys()):
        kind = "lacks" if name in wanted else "has an unknown tensor"
        raise RequestError(f"checkpoint {path} {kind} {name!r}: it is of another architecture or stem")
    for name in sorted(wanted):
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)}, but the model needs {tuple(wanted[name].shape)}"
            raise RequestError(f"checkpoint {path} has {name!r} of shape {shapes}; another width or class count?")
    model.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()})
    return model.eval()


def save_state(path: Path, state: Mapping[str, object]) -> None:
    """Write a training state, whole or not at all."""
    buffer = BytesIO()
    torch.save(dict(state), buffer)
    write_atomically(path, lambda partial: partial.write_bytes(buffer.getbuffer()))


def load_state(path: Path) -> dict[str, object] | None:
    """A training state, without unpickling code; None where there is none. Raises RequestError for a broken one."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = first_line(error)
        raise RequestError(f"training state {path} cannot be read ({reason}); remove it to train anew") from None


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(str(path), "pt") as file:
            yield file
    except FileNotFoundError:
        raise RequestError(f"checkpoint {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise RequestError(f"checkpoint {path} is not a readable safetensors file ({error})") from None
