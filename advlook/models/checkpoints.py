"""Checkpoints: safetensors files that say in their metadata how they were made and how good they are; and the reading
of files of weights in general, which are told by their content and not by their names. No code in a file is run."""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from advlook.core import RequestError, write_atomically
from advlook.core.copies import set_weights

# Archives that hold code: a file that tells them, what made them, and how to get at the weights.
_PROGRAMS = (
    ("constants.pkl", "TorchScript", "torch.jit.load(path).state_dict()"),
    ("archive_format", "torch.export", "torch.export.load(path).state_dict"),
)


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
        value = state[name]
        if value.is_meta or value.layout != torch.strided:
            kind = "without values" if value.is_meta else "as a sparse tensor"
            raise RequestError(f"checkpoint {path} has {name!r} {kind}; save plain tensors, with their values")
        if wanted[name].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise RequestError(
                f"checkpoint {path} has {name!r} in {kind}: quantised; save the weights in floating point"
            )
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)}, but the model needs {tuple(wanted[name].shape)}"
            raise RequestError(f"checkpoint {path} has {name!r} of shape {shapes}; another width or class count?")
    set_weights(model, {name: value.to(wanted[name].dtype) for name, value in state.items()})
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
        return _unpickled(path)
    except _Unreadable as error:
        what = str(error).partition(";")[0]
        raise RequestError(f"training state {path} cannot be read: it {what}; remove it to train anew") from None


def is_safetensors(path: Path) -> bool:
    """Whether a file is of safetensors, whatever its suffix; RequestError where it does not exist."""
    head = _head(path)
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_weights(path: Path) -> object:
    """What a file of weights holds: tensors by name of safetensors, whatever torch saved of any other. Only tensors and
    plain values are unpickled. RequestError for a file that is none, which says what it is instead where it can."""
    if is_safetensors(path):
        return read_tensors(path)
    try:
        return _unpickled(path)
    except _Unreadable as error:
        raise RequestError(f"checkpoint {path} {error}") from None


class _Unreadable(Exception):
    """What is wrong with a file, said of it, and behind a semicolon what to do."""


def _unpickled(path: Path) -> Any:
    """What torch saved, of tensors and plain values alone; raises _Unreadable."""
    if reason := _instead(path):
        raise _Unreadable(reason)
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:  # of a path torch would heed the suffix
            warnings.simplefilter("ignore")  # what torch warns of here, it also raises
            return torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if not code:
            raise _Unreadable("is no file of weights, or damaged; get or save it again") from None
        what = f"holds the Python object {code[1]}, which is not loaded because it could run code"
        remedy = "load it once with what wrote it, and save its weights alone: torch.save(model.state_dict(), 'new.pt')"
        raise _Unreadable(f"{what}; where you trust it, {remedy}") from None
    except Exception as error:  # whatever bytes the user's file has, they end in one line
        reason = re.split(r"\. |\n", str(error))[0] or type(error).__name__  # behind it torch may advise to run code
        raise _Unreadable(f"is no readable file of weights ({reason}); get or save it again") from None


def _instead(path: Path) -> str | None:
    """What a file evidently is in place of weights, and what to do; None where nothing tells."""
    head = _head(path).removeprefix(b"\xef\xbb\xbf")
    if not head:
        return "is empty; get or save it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, which stands for the weights; run `git lfs pull` where it was cloned"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights: its download has failed; get it again, from the link to the file itself"
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return "is an archive of gzip or tar; unpack it, and give the file of weights in it"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
        for mark, kind, state in _PROGRAMS:
            if mark in names:
                remedy = f"where you trust it: torch.save({state}, 'new.pt')"
                return f"is a program of {kind}, not weights; save its weights alone, {remedy}"
        if "data.pkl" not in names:
            return "is a zip archive, but not of torch.save; unpack it, and give the file of weights in it"
    if not re.search(rb"[^\t-\r -\x7e]", head):
        return f"is a text file ({head[:24].decode()!r}), not weights"
    return None


def _head(path: Path) -> bytes:
    """The first bytes of a file; RequestError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise RequestError(f"checkpoint {path} does not exist") from None
    except OSError as error:
        raise RequestError(f"checkpoint {path} cannot be read ({error.strerror})") from None


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(str(path), "pt") as file:
            yield file
    except FileNotFoundError:
        raise RequestError(f"checkpoint {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        instead = path.is_file() and _instead(path)
        reason = f"it {instead}" if instead else error
        raise RequestError(f"checkpoint {path} is not a readable safetensors file ({reason})") from None
