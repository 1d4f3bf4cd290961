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

from advlook.core import Preset, write_atomically
from advlook.core.preset_files import load_preset
from advlook.corruptions import style_network
from advlook.data import catalogue
from advlook.data.layouts import images_below
from advlook.data.streaming import StreamedImages
from advlook.data.styles import GENERATED
from advlook.models import normalisation
from advlook.models.asked import classes_asked, images_asked
from advlook.models.builders import builder_file
from advlook.models.checkpoint_accuracy import image_size
from advlook.models.external import load_model
from advlook.report.plan import fitted, seconds_an_image
from advlook.report.runner import reproduce
from advlook.study.folders import data_folder, output_folder

NOTEBOOKS = ("01", "02", "03", "04", "05", "07", "08")
STYLIZATION, ENSEMBLES = "05", "06"  # need what may be absent: a package; other image sets
STYLES = ("dtd10", "paintings")  # those of them that are there, else generated textures
Sections = Mapping[str, Mapping[str, Any]]  # of a preset file


@dataclass(frozen=True)
class Asked:
    """What `advlook compare` is asked for.

    pairs: paths of STD and ADV. arch, stem, mean, std: as of `models.external.load_model`. data: a folder of class
    folders, or one with test/ or val/. eps: of the attacks. size: pixels a side, by default those that the models were
    made for. classes: a file with the name of every logit. minutes: 0 for all samples. name: of the preset and its
    results. notebooks: by default all but 09, and 06 where image sets are there and no time is given."""

    pairs: Sequence[tuple[Path, Path]]
    arch: str
    data: Path
    eps: str = "4/255"
    size: int | None = None
    minutes: float = 0.0
    name: str | None = None
    stem: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: Path | None = None
    notebooks: Sequence[str] = ()


def compare(asked: Asked, output: Path | None = None, force: bool = False) -> int:
    """Write the preset, say what will be done and how long it takes, and run the notebooks. Returns the exit code of
    `runner.reproduce`. Raises RequestError where models, images and classes do not suit each other."""
    folder = next((each for name in ("test", "val") if (each := asked.data / name).is_dir()), asked.data)
    paths = list(dict.fromkeys(path for pair in asked.pairs for path in pair))
    how = {"stem": asked.stem, "size": asked.size, "mean": asked.mean, "std": asked.std}
    loaded = {path: load_model(path, asked.arch, **how) for path in paths}
    size, short = image_size(loaded[paths[0]], paths[0], asked.size, None)
    places = {}
    for path, each in loaded.items():
        listing, lines = images_asked(path, folder, "all")
        places[path], source, more = classes_asked(each, listing.classes, path, folder, asked.classes)
        known = f"{path}: {len(places[path])} of {each.classes:,} classes, names from: {source}"
        print(*lines, *more, f"{known}; normalisation: {normalisation.described(each)}", sep="\n")
    root = (output or output_folder()).resolve()
    arch = _arch_name(asked.arch)
    target = root / f"{asked.name or _slug(f'{arch}-{asked.data.resolve().name}')}.toml"
    sections, title = _sections(asked, folder, size, short, len(listing.classes)), f"{arch}, {folder.resolve().name}"
    preset = _written(target, title, sections)
    # Of the first standard model alone: it is the most accurate, and the others were hardly normalised otherwise.
    images, batch_size = StreamedImages(listing.subset(normalisation.TRIED), size, short), preset.evaluation.batch_size
    first, place = loaded[paths[0]], places[paths[0]]
    for line in normalisation.notes(first, paths[0], images, place, batch_size=batch_size):
        print(line)
    notebooks = asked.notebooks or _notebooks(preset, bool(asked.minutes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = seconds_an_image(first.model.to(device), size, device, preset.evaluation.batch_size)
    wanted = 60 * asked.minutes if asked.minutes else math.inf
    fit, takes = fitted(preset, len(listing), seconds, wanted, notebooks)
    _written(target, title, _with_samples(sections, preset, fit))
    shown = f"{min(len(listing), fit.data.test_images or len(listing)):,} of {len(listing):,} images at {size} px"
    print(f"{len(asked.pairs)} pair{'s' * (len(asked.pairs) > 1)}, {shown}; preset {target}")
    least = f", the least; --minutes {asked.minutes:g} is too short" if takes > wanted else ""
    print(f"notebooks {', '.join(notebooks)}: about {math.ceil(takes / 60)} minutes{least}", flush=True)
    return reproduce(str(target), notebooks, root, force)


def _notebooks(preset: Preset, hurried: bool) -> Sequence[str]:
    """Those of NOTEBOOKS that can run, and 06 where there is time and an image set to learn; says what is left out."""
    found = set(NOTEBOOKS)
    if not style_network.is_here():
        found.remove(STYLIZATION)
        print(f"notebook {STYLIZATION} is left out: stylizing photographs needs pip install 'advlook[stylize]'")
    if hurried:
        print(f"notebook {ENSEMBLES} is left out: it is not fitted to a time; to have it, leave out --minutes")
    elif any(catalogue.check(name, data_folder()).present for name in preset.ensembles.targets):
        found.add(ENSEMBLES)
    return sorted(found)


def _written(target: Path, title: str, sections: Sections) -> Preset:
    """Write a preset, and read it."""
    target.parent.mkdir(parents=True, exist_ok=True)
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
    external |= {"mean": asked.mean, "standard_deviation": asked.std} if asked.mean else {}
    data = {"name": str(folder.resolve()), "size": size, "test_store": short, "classes": classes, "whole": True}
    styles = [name for name in STYLES if images_below(data_folder() / "datasets" / name)] or [GENERATED]
    own = {} if len(styles) == len(STYLES) else {"stylization": {"styles": styles}}
    section = f"external.{json.dumps(_arch_name(asked.arch))}"
    return {"data": data, section: external, "evaluation": {"eps": asked.eps}} | own


def _with_samples(sections: Sections, preset: Preset, fit: Preset) -> Sections:
    """The sections, and every key in which the fitted preset differs from that of the sections."""
    found = {name: dict(keys) for name, keys in sections.items()}
    for name in ("data", "evaluation", "visualize", "corruptions", "stylization"):
        before, after = (asdict(getattr(each, name)) for each in (preset, fit))
        found[name] = found.get(name, {}) | {key: after[key] for key in after if after[key] != before[key]}
    return found


def _arch_name(arch: str) -> str:
    """A name for tables and figures: that of the network, or of file and function."""
    path, name = builder_file(arch), arch.rpartition(":")[2]
    return _slug(f"{path.stem}.{name}" if path else name)


def _absolute(arch: str) -> str:
    """A builder in a file by its absolute path, as notebooks run in another folder."""
    path = builder_file(arch)
    return f"{path.resolve()}:{arch.rpartition(':')[2]}" if path else arch


def _toml(title: str, sections: Sections) -> str:
    """Sections as the text of a TOML file; JSON's strings, numbers, lists and booleans are TOML's."""
    lines = ["# Written by `advlook compare`.", f"title = {json.dumps(title)}"]
    for name, keys in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())] if keys else []
    return "\n".join(lines) + "\n"
