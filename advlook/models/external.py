"""Checkpoints of any origin: ours, torchvision's, those of the `robustness` library and of RobustBench, plain ones.

What a file does not say is asked for (stem) or reported as assumed (normalisation). No code in a file is ever run."""

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advlook.core import ARCHITECTURES, STEMS, Preset, RequestError, check_choice
from advlook.models.architectures import IMAGENET_MEAN, IMAGENET_STD, Normalized, build_model
from advlook.models.checkpoints import fill_model, first_line, read_metadata, read_tensors

NESTED = ("state_dict", "model_state_dict", "model", "network", "net", "ema", "model_ema")
_WRAPPERS = re.compile(r"^((module|model|network|net|attacker|_orig_mod)\.)+")
_NORMALISER = re.compile(r"^normaliz(e|er|ation)\.")
_NORMALISATION = {"mean": "mean", "mu": "mean", "new_mean": "mean", "std": "std", "sigma": "std", "new_std": "std"}


@dataclass(frozen=True)
class Loaded:
    """A model filled from a file, and what is known about it."""

    model: Normalized  # in eval mode, on the CPU
    stem: str
    width: int
    classes: int
    normalisation: str  # where mean and std come from: "given", "file" or "assumed"
    size: int | None  # pixels shown in training; None where the file does not say
    resize: int | None  # pixels of the short side of the images whose central `size` were tested on


def load_model(
    path: Path,
    arch: str,
    *,
    stem: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fallback: tuple[Sequence[float], Sequence[float]] = (IMAGENET_MEAN, IMAGENET_STD),
) -> Loaded:
    """Build the model that a checkpoint holds: safetensors by its suffix, any other file as torch saves it. Width,
    classes and stem are read from the tensors, but "small" and "tiny" differ in none: it must be given, unless the file
    is ours, or has the names of the usual CIFAR ResNets, which are "tiny". mean, std: the normalisation, three values
    in units of [0, 1]; by default the one in the file, else `fallback`. Raises RequestError for a file that is absent,
    broken, holds code or another architecture, and a wrong normalisation."""
    check_choice("arch", arch, ARCHITECTURES)
    if stem is not None:
        check_choice("stem", stem, STEMS)
    if (mean is None) != (std is None):
        raise RequestError("mean and std belong together; give both or neither")
    made = _training(path, arch)
    raw = read_tensors(path) if path.suffix == ".safetensors" else _state_dict(path)
    state, stored = _plain(raw, path)
    first, last = ("features.0", "classifier.6") if arch == "alexnet_bn" else ("conv1", "fc")
    for name, dimensions in ((f"{first}.weight", 4), (f"{last}.weight", 2)):
        if name not in state or state[name].dim() != dimensions:
            raise RequestError(f"checkpoint {path} lacks {name!r} as {arch} has it: it is of another architecture")
    width, kernel = state[f"{first}.weight"].shape[0], state[f"{first}.weight"].shape[-1]
    classes = state[f"{last}.weight"].shape[0]
    found = made.get("model", {}).get("stem")
    if found is None and kernel != (5 if arch == "alexnet_bn" else 3):
        found = "imagenet"
    if found is None and any(_WRAPPERS.sub("", name) == "linear.weight" for name in raw):
        found = "tiny"
    if found and stem and stem != found:
        raise RequestError(f"checkpoint {path} has the stem {found!r}, not {stem!r}")
    stem = found or stem
    if not stem:
        first = f"a first layer of {kernel}x{kernel}, as the stems small and tiny have"
        raise RequestError(f"checkpoint {path} has {first}; give --stem small or --stem tiny")
    if mean is None and len(stored) == 1:
        raise RequestError(f"checkpoint {path} has only one of mean and std; give both with --mean and --std")
    source = "given" if mean is not None else "file" if stored else "assumed"
    if mean is None:
        mean, std = (stored["mean"], stored["std"]) if stored else fallback
    where = f"checkpoint {path}: " if source == "file" else ""
    mean, std = check_channels(mean, f"{where}mean"), check_channels(std, f"{where}std", positive=True)
    model = build_model(arch, classes, stem=stem, width=width, mean=mean, std=std)
    fill_model(model.network, state, path)
    size = made.get("data", {}).get("size")
    resize = stored_metadata(path).get("test_store") if size else None
    return Loaded(model.eval(), stem, width, classes, source, size, resize)


def external_model(preset: Preset, arch: str, path: Path) -> Normalized:
    """The model in `path`, named by a preset in place of training `arch`; RequestError where they do not agree."""
    described, data = preset.models[arch], preset.data
    loaded = load_model(path, arch, stem=described.stem, fallback=(data.mean, data.std))
    widths, classes = (loaded.width, described.width), (loaded.classes, data.classes)
    for key, (found, stated) in {f"models.{arch}.width": widths, "data.classes": classes}.items():
        if found != stated:
            raise RequestError(f"checkpoint {path} needs {key} = {found}, but preset {preset.name} says {stated}")
    return loaded.model


def stored_metadata(path: Path) -> dict[str, object]:
    """What a checkpoint tells about itself: `read_metadata` of a safetensors file, nothing for any other."""
    return read_metadata(path) if path.suffix == ".safetensors" else {}


def check_channels(values: Sequence[float], name: str, *, positive: bool = False) -> tuple[float, ...]:
    """Values of red, green and blue in units of [0, 1], as they were given; RequestError naming `name` if not."""
    # The comparison is false for nan as well.
    if len(values) != 3 or not all(0 <= value <= 1 for value in values) or (positive and min(values) == 0):
        shown, span = ",".join(f"{value:g}" for value in values), "above 0 and up to 1" if positive else "in [0, 1]"
        wanted = f"three numbers {span}, for red, green and blue, such as 0.485,0.456,0.406"
        raise RequestError(f"{name} {shown} should be {wanted}")
    return tuple(float(value) for value in values)


def parse_channels(text: str, name: str) -> tuple[float, ...]:
    """Read "0.485,0.456,0.406"; RequestError naming `name` where it is no list of numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise RequestError(f"{name} {text!r} is no list of numbers such as 0.485,0.456,0.406") from None


def _training(path: Path, arch: str) -> dict[str, dict]:
    """What our own training recorded of the model, empty for files of other origin; refuses another arch."""
    made = stored_metadata(path).get("training")
    if not isinstance(made, dict) or not all(isinstance(made.get(key), dict) for key in ("model", "data")):
        return {}
    if (own := made.get("arch")) != arch:
        raise RequestError(f"checkpoint {path} is of arch {own!r}, not {arch!r}; give --arch {own}")
    return made


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file of torch, nested or not. Only tensors and plain values are unpickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of here, it also raises
            content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise RequestError(f"checkpoint {path} does not exist") from None
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"holds the Python object {code[1]}" if code else "is no plain file of tensors"
        raise RequestError(
            f"checkpoint {path} {reason}, which is not loaded because it could run code; where you trust it, load it "
            "once with what wrote it, and save its weights alone: torch.save(model.state_dict(), 'weights.pt')"
        ) from None
    except Exception as error:  # whatever bytes the user's file has, they end in one line
        raise RequestError(f"checkpoint {path} cannot be read ({first_line(error)})") from None
    for _ in range(3):  # not for as long as it goes on: a dictionary can hold itself
        if not isinstance(content, Mapping):
            break
        nested = [key for key in NESTED if isinstance(content.get(key), Mapping)]
        if len(nested) > 1:
            several = f"several sets of weights ({', '.join(nested)})"
            raise RequestError(f"checkpoint {path} holds {several}; save the one you mean alone")
        content = content[nested[0]] if nested else content
    if not isinstance(content, Mapping) or not content:
        raise RequestError(f"checkpoint {path} holds no state dict; save one: torch.save(model.state_dict(), path)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RequestError(f"checkpoint {path} has {name!r} among its weights, which is no tensor; save them alone")
    return content


def _plain(raw: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """The network's tensors under torchvision's names, and "mean" and "std" where they are there."""
    state: dict[str, Tensor] = {}
    for long_name, value in raw.items():
        name = _WRAPPERS.sub("", long_name)
        name = re.sub(r"^linear\.", "fc.", name).replace(".shortcut.", ".downsample.")
        if role := _NORMALISATION.get(_NORMALISER.sub("", name)):
            name, value = role, value.flatten()
        if name in state and not torch.equal(state[name], value):
            raise RequestError(f"checkpoint {path} has two different tensors for {name!r}; save one network alone")
        state[name] = value
    return state, {role: state.pop(role).tolist() for role in ("mean", "std") if role in state}
