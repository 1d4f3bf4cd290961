"""Presets as files: found by name or path, read, and checked; what is wrong is told in one line."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from advlook.core.errors import RequestError
from advlook.core.names import FORMS
from advlook.core.presets import ARCHITECTURES, ArchConfig, ExternalConfig, Preset
from advlook.core.short_presets import completed, is_short

PRESET_FOLDER = Path(__file__).parents[1] / "presets"


def available() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def load_preset(name: str | Path) -> Preset:
    """Read a preset by name, or from a path that ends in .toml; RequestError where it is unknown or not valid."""
    path = Path(name) if Path(name).suffix == ".toml" else PRESET_FOLDER / f"{name}.toml"
    if not path.is_file():
        choices = f"choose one of {', '.join(available())}, or a path that ends in .toml"
        raise RequestError(f"preset {str(name)!r} does not exist; {choices}")
    try:
        given = {"name": path.stem} | tomllib.loads(path.read_text())
        values = json.dumps(_with_controls(completed(given) if is_short(given) else given), default=str)
        # Of JSON, strict mode accepts a list as a tuple and 1 as a float, but neither 1.0 nor true as an integer.
        preset = TypeAdapter(Preset).validate_json(values)
    except ValidationError as error:
        raise RequestError(f"{path.name}: {_first_mistake(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"preset {path.name} is not valid TOML: {error}") from None
    for message in _contradictions(preset):
        raise RequestError(f"{path.name}: {message}")
    return preset


def _with_controls(values: dict[str, Any]) -> dict[str, Any]:
    """What a file says, with the preset's keys where a control gives none. What is no table is left for pydantic."""
    controls = values.get("controls")
    for control in controls.values() if isinstance(controls, dict) else ():
        for section in ("training", "adversary") if isinstance(control, dict) else ():
            own, given = values.get(section), control.get(section, {})
            if isinstance(own, dict) and isinstance(given, dict):
                control[section] = own | given
    return values


def _first_mistake(error: ValidationError) -> str:
    """One mistake in one line. An unknown key comes first: often it is a missing one, misspelt."""
    first = min(error.errors(), key=lambda each: each["type"] != "unexpected_keyword_argument")
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if wrong := {"unexpected_keyword_argument": "unknown", "missing": "missing"}.get(first["type"]):
        return f"{wrong} key {key!r}; advlook/core/presets.py lists the keys"
    return f"{key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"


def _contradictions(preset: Preset) -> Iterator[str]:
    """What is wrong between keys that are valid one by one."""
    data, training, batch_size = preset.data, preset.training, preset.training.batch_size
    for arch in preset.archs:
        if arch not in preset.external:
            yield from _trained(arch, preset.models.get(arch))
    yield from (f"external.{arch} is not one of archs" for arch in preset.external if arch not in preset.archs)
    for arch, external in preset.external.items():
        yield from _pairing(arch, external, preset.seeds)
    for key, side in {"store": data.store, "test_store": data.test_store}.items():
        if 0 != side < data.size:
            yield f"data.{key} = {side} is below data.size = {data.size}"
    if data.store == 0 and data.crop_scale == 1:
        yield "data.store = 0 needs data.crop_scale < 1: images that are read from their files are cropped at random"
    if data.crop_scale == 1 and any(size != data.size for size in training.sizes):
        yield f"training.sizes = {list(training.sizes)} needs data.crop_scale < 1: only crops are resized"
    if data.name == "synthetic" and (data.crop_scale < 1 or data.shift > 0 or data.flip):
        yield "data.crop_scale, shift and flip must be 1.0, 0 and false: generated images are fresh in every epoch"
    if batch_size % training.accumulate != 0:
        yield f"training.batch_size = {batch_size} is not divisible by training.accumulate = {training.accumulate}"
    if batch_size < 2 * training.accumulate:
        yield f"training.batch_size = {batch_size} in {training.accumulate} parts is too small for batch normalisation"
    for name, control in preset.controls.items():
        wrong = [arch for arch in control.archs if arch not in preset.models or arch in preset.external]
        yield from (
            f"controls.{name}.archs names {arch}, which the preset does not train; take it out there" for arch in wrong
        )
        yield from (f"controls.{name}: {message}" for message in _contradictions(preset.variant(name)[0]))


def _trained(arch: str, model: ArchConfig | None) -> Iterator[str]:
    """What is wrong with the description of an architecture that is trained."""
    known = ", ".join(ARCHITECTURES)
    if arch not in ARCHITECTURES and not (model and model.builder):
        own = f"give models.{arch}.builder = {FORMS}"
        yield f"arch {arch!r} is unknown; choose from {known}, {own}, or add a section [external.{arch}]"
    if model is None:
        yield f"missing key 'models.{arch}'"
    elif not model.builder:
        yield from (f"missing key 'models.{arch}.{key}'" for key in ("stem", "width") if not getattr(model, key))
    elif ":" not in model.builder:
        yield f"models.{arch}.builder = {model.builder!r} is unknown; give {FORMS}"
    elif model.stem or model.width:
        yield f"models.{arch} has a builder, so take out stem and width: they are those of {known}"


def _pairing(arch: str, external: ExternalConfig, seeds: tuple[int, ...]) -> Iterator[str]:
    """What is wrong between the checkpoints of an architecture and the seeds, which number its pairs."""
    if (named := external.arch or arch) not in ARCHITECTURES and ":" not in named:
        yield f"external.{arch}.arch = {named!r} is unknown; choose from {', '.join(ARCHITECTURES)}, {FORMS}"
    std, adv = ([paths] if isinstance(paths, str) else paths for paths in (external.std, external.adv))
    if len(std) != len(adv):
        yield f"external.{arch} has {len(std)} checkpoints in std, but {len(adv)} in adv; name pairs"
    elif seeds != tuple(range(len(std))):
        pairs = f"[external.{arch}] names {len(std)} pair{'s' * (len(std) > 1)}"
        yield f"seeds = {list(seeds)} must be {list(range(len(std)))}, as {pairs}"
