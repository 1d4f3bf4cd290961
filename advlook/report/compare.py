"""`advlook compare`: the whole study on pairs of models from elsewhere, and a folder of photographs.

It writes a short preset, draws as many images as fit the time, and runs the notebooks."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from advlook.core import Preset, RequestError, write_atomically
from advlook.core.preset_files import load_preset
from advlook.data.layouts import list_images
from advlook.models.asked import classes_asked
from advlook.models.external import load_model
from advlook.report.plan import fitted, seconds_an_image
from advlook.report.runner import reproduce
from advlook.study.folders import output_folder

NOTEBOOKS = ("01", "02", "03", "04", "05", "07", "08")
Sections = Mapping[str, Mapping[str, Any]]  # of a preset file


@dataclass(frozen=True)
class Asked:
    """What `advlook compare` is asked for.

    pairs: paths of STD and ADV. arch, stem: as of `models.external.load_model`. data: a folder of class folders, or one
    with test/ or val/. eps: of the attacks. size: pixels a side, by default those that the models were made for.
    classes: a file with the name of every logit. minutes: 0 for all samples. name: of the preset and its results."""

    pairs: Sequence[tuple[Path, Path]]
    arch: str
    data: Path
    eps: str = "4/255"
    size: int | None = None
    minutes: float = 0.0
    name: str | None = None
    stem: str | None = None
    classes: Path | None = None
    notebooks: Sequence[str] = NOTEBOOKS


def compare(asked: Asked, output: Path | None = None, force: bool = False) -> int:
    """Write the preset, say what will be done and how long it takes, and run the notebooks. Returns the exit code of
    `runner.reproduce`. Raises RequestError where models, images and classes do not suit each other."""
    folder = next((each for name in ("test", "val") if (each := asked.data / name).is_dir()), asked.data)
    listing = list_images(folder)
    paths = list(dict.fromkeys(path for pair in asked.pairs for path in pair))
    loaded = {path: load_model(path, asked.arch, stem=asked.stem, size=asked.size) for path in paths}
    first = loaded[paths[0]]
    size = asked.size or first.size or (224 if first.stem == "imagenet" else None)
    if size is None:
        raise RequestError(f"checkpoint {paths[0]} does not say the size of its images; give --size in pixels")
    for path, each in loaded.items():
        places, source, lines = classes_asked(each, listing.classes, path, folder, asked.classes)
        known = f"{path}: {len(places)} of {each.classes:,} classes, names from: {source}"
        print(*lines, f"{known}; normalisation from: {each.normalisation}", sep="\n")
    root = (output or output_folder()).resolve()
    target = root / f"{asked.name or _slug(f'{_arch_name(asked)}-{asked.data.resolve().name}')}.toml"
    short = first.resize if first.size == size and first.resize else round(size / 0.875)
    sections, title = _sections(asked, folder, size, short, len(listing.classes)), f"{_arch_name(asked)}, {folder.name}"
    preset = _written(target, title, sections)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = seconds_an_image(first.model.to(device), size, device, preset.evaluation.batch_size)
    wanted = 60 * asked.minutes if asked.minutes else math.inf
    fit, takes = fitted(preset, len(listing), seconds, wanted, asked.notebooks)
    _written(target, title, _with_samples(sections, preset, fit))
    shown = f"{min(len(listing), fit.data.test_images or len(listing)):,} of {len(listing):,} images at {size} px"
    print(f"{len(asked.pairs)} pair{'s' * (len(asked.pairs) > 1)}, {shown}; preset {target}")
    print(f"notebooks {', '.join(asked.notebooks)}: about {math.ceil(takes / 60)} minutes", flush=True)
    return reproduce(str(target), asked.notebooks, root, force)


def _written(target: Path, title: str, sections: Sections) -> Preset:
    """Write a preset, and read it."""
    write_atomically(target, lambda partial: partial.write_text(_toml(title, sections)))
    return load_preset(target)


def _slug(text: str) -> str:
    """Letters, digits and single hyphens, underscores and dots: it names files."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-._") or "pair"


def _sections(asked: Asked, folder: Path, size: int, short: int, classes: int) -> Sections:
    """A short preset by sections: names, images, files and the radius."""
    std, adv = ([str(path.resolve()) for path in each] for each in zip(*asked.pairs, strict=True))
    external = {"arch": _absolute(asked.arch), "std": std, "adv": adv}
    external |= {"stem": asked.stem} if asked.stem else {}
    external |= {"names": str(asked.classes.resolve())} if asked.classes else {}
    data = {"name": str(folder.resolve()), "size": size, "test_store": short, "classes": classes, "whole": True}
    return {"data": data, f"external.{json.dumps(_arch_name(asked))}": external, "evaluation": {"eps": asked.eps}}


def _with_samples(sections: Sections, preset: Preset, fit: Preset) -> Sections:
    """The sections, and every key in which the fitted preset differs from that of the sections."""
    found = {name: dict(keys) for name, keys in sections.items()}
    for name in ("data", "evaluation", "visualize", "corruptions", "stylization"):
        before, after = (asdict(getattr(each, name)) for each in (preset, fit))
        found[name] = found.get(name, {}) | {key: after[key] for key in after if after[key] != before[key]}
    return found


def _arch_name(asked: Asked) -> str:
    return _slug(asked.arch.rpartition(":")[2])


def _absolute(arch: str) -> str:
    """A builder in a file by its absolute path, as notebooks run in another folder."""
    source, colon, function = arch.rpartition(":")
    return f"{Path(source).expanduser().resolve()}{colon}{function}" if source.endswith(".py") else arch


def _toml(title: str, sections: Sections) -> str:
    """Sections as the text of a TOML file; JSON's strings, numbers, lists and booleans are TOML's."""
    lines = ["# Written by `advlook compare`.", f"title = {json.dumps(title)}"]
    for name, keys in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())] if keys else []
    return "\n".join(lines) + "\n"
