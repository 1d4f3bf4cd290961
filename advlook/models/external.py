"""Checkpoints of any origin: ours, torchvision's, those of the `robustness` library and of RobustBench, plain ones.

What a file does not say is asked for (stem) or reported as assumed (normalisation). No code in a file is ever run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from advlook.core import ARCHITECTURES, FORMS, STEMS, Classifier, RequestError, check_choice, evaluating
from advlook.data.class_names import listed, names_of_set, same_classes
from advlook.models.architectures import Normalized, build_model
from advlook.models.builders import IMAGENET_MEAN, IMAGENET_STD, ROLES, Builder, builder, is_built, normalises_itself
from advlook.models.checkpoints import fill_model, is_safetensors, read_metadata, read_weights
from advlook.models.foreign import filled, stored_normalisation
from advlook.models.weight_sets import weights_in

Channels = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of red, green and blue
_WRAPPERS = re.compile(r"^((module|model|network|net|attacker|_orig_mod)\.)+")
_NORMALISER = re.compile(r"^normaliz(e|er|ation)\.")


@dataclass(frozen=True)
class Loaded:
    """A model filled from a file, and what is known about it."""

    model: nn.Module  # in eval mode, on the CPU, from images in [0, 1] to logits
    stem: str | None  # None of a network that a builder makes, as is its width
    width: int | None
    classes: int
    normalisation: str  # where mean and std come from: "given", "file", "network", "builder" or "assumed"
    size: int | None  # pixels shown in training; None where the file does not say
    resize: int | None  # pixels of the short side of the images whose central `size` were tested on
    names: tuple[str, ...] = ()  # of the classes, in the order of the logits; empty where nothing tells them


def load_model(
    path: Path,
    arch: str,
    *,
    stem: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    weights: str | None = None,
    size: int | None = None,
    fallback: Channels = (IMAGENET_MEAN, IMAGENET_STD),
) -> Loaded:
    """Build the model that a checkpoint holds, a file of safetensors or of torch, whatever its suffix. arch: one of
    ARCHITECTURES, or the name of a builder; of these the network may normalise by itself, and size is pixels a side,
    for networks that are made for one. Of the others width, number
    of classes and stem are read from the tensors, but "small" and "tiny" differ in none: it must be given, unless the
    file is ours, or has the names of the usual CIFAR ResNets, which are "tiny". mean, std: the normalisation, three
    values in units of [0, 1]; by default the one in the file, else `fallback`. weights: of several sets of weights in
    the file, such as those of training and their average, the name of one. Raises RequestError for a file that is
    absent, broken, holds code, another architecture or several sets, and a wrong normalisation."""
    if (mean is None) != (std is None):
        raise RequestError("mean and std belong together; give both or neither")
    if is_built(arch):
        return _load_built(path, builder(arch), None if mean is None else (mean, std), weights, fallback, size)
    if arch not in ARCHITECTURES:
        raise RequestError(f"arch {arch!r} is unknown; choose from {', '.join(ARCHITECTURES)}, or give {FORMS}")
    if stem is not None:
        check_choice("stem", stem, STEMS)
    made = _training(path, arch)
    content = read_weights(path)
    first, last = ("features.0", "classifier.6") if arch == "alexnet_bn" else ("conv1", "fc")
    raw, beside = weights_in(content, first, (last, "linear"), path, weights)
    state, stored = _plain(raw, beside, path)
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
    given = None if mean is None else (mean, std)
    source, (mean, std) = _normalisation(path, given, stored, ("assumed", fallback))
    model = build_model(arch, classes, stem=stem, width=width, mean=mean, std=std)
    fill_model(model.network, state, path)
    names = _class_names(content, stored_metadata(path), made, classes)
    return Loaded(model.eval(), stem, width, classes, source, *_trained_at(path), names)


def _load_built(
    path: Path, make: Builder, given: Channels | None, weights: str | None, fallback: Channels, size: int | None
) -> Loaded:
    content = read_weights(path)
    network, beside = filled(make, content, path, size, weights)
    stored = stored_normalisation(beside)
    otherwise = ("builder", (make.mean, make.std)) if make.mean is not None else ("assumed", fallback)
    otherwise = ("network", None) if normalises_itself(network) else otherwise
    source, chosen = _normalisation(path, given, stored, otherwise)
    model = network if chosen is None else Normalized(network, *chosen)
    side = size or make.size or 224
    count = classes_of(model, side)
    names = _class_names(content, stored_metadata(path), _made(path), count)
    trained, made_for = _trained_at(path), (make.size, make.resize)
    return Loaded(model.eval(), None, None, count, source, *(trained if trained[0] else made_for), names)


def _normalisation(
    path: Path, given: Channels | None, stored: Mapping[str, list[float]], otherwise: tuple[str, Channels | None]
) -> tuple[str, Channels | None]:
    """Where mean and std come from, and both, checked: from the user, else stored in the file, else as `otherwise`."""
    if given is not None:
        source, chosen = "given", given
    elif len(stored) == 1:
        raise RequestError(f"checkpoint {path} has only one of mean and std; give both with --mean and --std")
    else:
        source, chosen = ("file", (stored["mean"], stored["std"])) if stored else otherwise
    if chosen is None:
        return source, None
    where = f"checkpoint {path}: " if source == "file" else ""
    return source, (check_channels(chosen[0], f"{where}mean"), check_channels(chosen[1], f"{where}std", positive=True))


def _trained_at(path: Path) -> tuple[int | None, int | None]:
    """Pixels shown in our own training, and of the short side in its test; None of files of other origin."""
    size = _made(path).get("data", {}).get("size")
    return size, stored_metadata(path).get("test_store") if size else None


def untrained(arch: str, loaded: Loaded, size: int, seed: int) -> nn.Module:
    """The network of a loaded checkpoint, without its normalisation, with the initial weights of a seed; the global
    random state is left as it was."""
    if not is_built(arch):
        return build_model(arch, loaded.classes, stem=loaded.stem, width=loaded.width, seed=seed).network
    return builder(arch).drawn(seed, loaded.classes, size)


def classes_of(model: nn.Module, size: int) -> int:
    """The number of a model's logits, by running it on a black image of `size` pixels a side."""
    classifier = Classifier(model)
    with torch.no_grad(), evaluating(classifier):
        return classifier(torch.zeros(1, 3, size, size)).shape[1]


def check_classes(path: Path, names: Sequence[str], wanted: Sequence[str], images: str) -> None:
    """Raise RequestError where a checkpoint's classes are not those of the image set, in its order; silent where either
    are not known."""
    if names and wanted and not same_classes(wanted, names):
        raise RequestError(f"checkpoint {path} has the classes {listed(names)}, but {images} has {listed(wanted)}")


def stored_metadata(path: Path) -> dict[str, object]:
    """What a checkpoint tells about itself: `read_metadata` of a safetensors file, nothing for any other."""
    return read_metadata(path) if is_safetensors(path) else {}


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


def _made(path: Path) -> dict[str, dict]:
    """What our own training recorded of the model, empty for files of other origin."""
    made = stored_metadata(path).get("training")
    ours = isinstance(made, dict) and all(isinstance(made.get(key), dict) for key in ("model", "data"))
    return made if ours else {}


def _training(path: Path, arch: str) -> dict[str, dict]:
    """The same of one of ARCHITECTURES; refuses a file of another."""
    made = _made(path)
    if made and (own := made.get("arch")) != arch:
        named = made["model"].get("builder", own)
        raise RequestError(f"checkpoint {path} is of arch {own!r}, not {arch!r}; give --arch {named}")
    return made


def _class_names(content: object, metadata: Mapping, made: Mapping, count: int) -> tuple[str, ...]:
    """The name of every class, where the file tells so many, or where the set that it was trained on is known."""
    told = dict(metadata) | (dict(content) if isinstance(content, Mapping) else {})
    numbers = told.get("class_to_idx")
    numbered = isinstance(numbers, Mapping) and sorted(map(str, numbers.values())) == sorted(map(str, range(count)))
    known = [told.get("classes"), told.get("class_names"), sorted(numbers, key=numbers.get) if numbered else ()]
    for names in (*known, names_of_set(made.get("data", {}).get("name", ""))):
        if isinstance(names, Sequence) and len(names) == count and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def _plain(
    own: Mapping[str, Tensor], beside: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """A network's tensors under torchvision's names, and "mean" and "std" where they are there. Of what lies beside the
    network single numbers are left out: they count how often it was averaged (n_averaged of AveragedModel)."""
    state: dict[str, Tensor] = {}
    for long_name, value in chain(own.items(), beside.items()):
        name = _WRAPPERS.sub("", long_name)
        name = re.sub(r"^linear\.", "fc.", name).replace(".shortcut.", ".downsample.")
        if role := ROLES.get(_NORMALISER.sub("", name)):
            name, value = role, value.flatten()
        elif long_name in beside and value.dim() == 0:
            continue
        elif long_name in beside:
            raise RequestError(
                f"checkpoint {path} has {long_name!r} beside the network; save the network's state alone"
            )
        if name in state and not torch.equal(state[name], value):
            raise RequestError(f"checkpoint {path} has two different tensors for {name!r}; save one network alone")
        state[name] = value
    return state, {role: state.pop(role).tolist() for role in ("mean", "std") if role in state}
