"""Presets read from TOML: every key is required and no other is allowed, so that a file is the whole truth of its run.

What is well typed and makes no sense is refused in one line, before anything is computed.
"""

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

from advlook.config import ARCHITECTURES, STEMS, Eps, Preset, parse_eps
from advlook.errors import RequestError
from advlook.precision import PRECISIONS

PRESET_FOLDER = Path(__file__).parent / "presets"


def available() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def load_preset(name: str | Path) -> Preset:
    """Read a preset by name, or from a path that ends in .toml.

    Raises RequestError naming an unknown preset, or the key that is unknown, missing or of the wrong type.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = PRESET_FOLDER / f"{name}.toml"
        if not path.is_file():
            raise RequestError(
                f"preset {str(name)!r} does not exist; choose one of {', '.join(available())}, or a .toml"
            )
    elif not path.is_file():
        raise RequestError(f"preset file {path} does not exist")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"preset {path.name} is not valid TOML: {error}") from None
    preset = _build(Preset, {"name": path.stem, **values}, path.name)
    _check(preset, path.name)
    return preset


def _build(kind: type, values: object, where: str) -> typing.Any:
    """Turn parsed TOML into dataclass `kind`; `where` names the place in error messages."""
    if not isinstance(values, dict):
        raise RequestError(f"{where} must be a table, not {values!r}")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise RequestError(f"{where}: unknown key {key!r}; the keys are {', '.join(hints)}")
    for key in hints:
        if key not in values:
            raise RequestError(f"{where}: missing key {key!r}")
    return kind(**{key: _convert(hints[key], values[key], f"{where}: {key}") for key in hints})


def _convert(hint: typing.Any, value: object, where: str) -> object:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if origin is dict and isinstance(value, dict):
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is Eps and isinstance(value, str):
        try:
            return parse_eps(value)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    expected = {Eps: 'a string such as "4/255"'}.get(hint, getattr(hint, "__name__", str(hint)))
    raise RequestError(f"{where} = {value!r} should be {expected}")


def _check(preset: Preset, where: str) -> None:
    """Refuse values that are well typed and make no sense, before anything is computed."""
    training, data, adversary = preset.training, preset.data, preset.adversary
    corruptions, ensembles = preset.corruptions, preset.ensembles
    chosen = [
        ("training.schedule", training.schedule, ("step", "onecycle")),
        ("training.precision", training.precision, PRECISIONS),
        ("adversary.method", adversary.method, ("fgsm", "pgd")),
        ("stylization.engine", preset.stylization.engine, ("optimised", "adain")),
    ]
    positive = [
        ("training.step_epochs", training.step_epochs),
        ("evaluation.suite_steps", preset.evaluation.suite_steps),
        ("training.check_every", training.check_every),
        ("training.accumulate", training.accumulate),
        ("adversary.steps", adversary.steps),
        ("adversary.eps", adversary.eps),
        *((f"visualize.{key}", value) for key, value in dataclasses.asdict(preset.visualize).items()),
        ("corruptions.family_images", corruptions.family_images),
        *((f"stylization.{key}", getattr(preset.stylization, key)) for key in ("partial_images", "cues", "steps")),
        *(
            (f"ensembles.{key}", value)
            for key, value in dataclasses.asdict(ensembles).items()
            if not isinstance(value, tuple)
        ),
    ]
    ascending = [
        ("corruptions.sigmas", corruptions.sigmas),
        ("corruptions.passes", corruptions.passes),
        ("corruptions.median_kernels", corruptions.median_kernels),
        ("ensembles.sides", ensembles.sides),
    ]
    resized = any(size != data.size for size in training.sizes)
    generated = data.name == "synthetic"
    rules = [
        (not preset.archs, "archs is empty"),
        (not preset.seeds, "seeds is empty"),
        *(
            (value not in choices, f"{key} = {value!r} is not one of {', '.join(choices)}")
            for key, value, choices in chosen
        ),
        *((value <= 0, f"{key} = {value} must be positive") for key, value in positive),
        *(
            (
                not values or min(values) <= 0 or list(values) != sorted(set(values)),
                f"{key} = {list(values)} must be positive and ascend",
            )
            for key, values in ascending
        ),
        *(
            (kernel < 1 or kernel % 2 == 0, f"corruptions: kernel of {kernel} pixels is not odd")
            for kernel in (corruptions.blur_kernel, *corruptions.median_kernels)
        ),
        (data.test_store < data.size, f"data.test_store = {data.test_store} is below data.size = {data.size}"),
        (0 != data.store < data.size, f"data.store = {data.store} is below data.size = {data.size}"),
        (
            data.store == 0 and data.crop_scale == 1,
            "data.store = 0 needs data.crop_scale < 1: images that are read from their files are cropped at random",
        ),
        (not 0 < data.crop_scale <= 1, f"data.crop_scale = {data.crop_scale} is not in (0, 1]"),
        (not training.sizes or min(training.sizes) < 1, f"training.sizes = {list(training.sizes)} names no size"),
        (
            resized and data.crop_scale == 1,
            f"training.sizes = {list(training.sizes)} needs data.crop_scale < 1: only crops are resized",
        ),
        (
            generated and (data.crop_scale < 1 or data.shift > 0 or data.flip),
            "data.crop_scale, shift and flip must be 1.0, 0 and false: generated images are fresh in every epoch",
        ),
        (not ensembles.targets, "ensembles.targets is empty"),
        *(
            (not re.fullmatch("[^@]+(@[1-9][0-9]*)?", name), f'ensembles.targets: {name!r} is no "name" or "name@20"')
            for name in ensembles.targets
        ),
        *((arch not in preset.archs, f"external.{arch} is not one of archs") for arch in preset.external),
        (
            bool(preset.external) and preset.seeds != (0,),
            f"seeds = {list(preset.seeds)} must be [0] where [external] names checkpoints: each is one model",
        ),
        (
            training.batch_size < 2 * max(1, training.accumulate),
            f"training.batch_size = {training.batch_size} in {training.accumulate} parts is too small for batch "
            "normalisation",
        ),
        (
            training.batch_size % max(1, training.accumulate) != 0,
            f"training.batch_size = {training.batch_size} is not divisible by training.accumulate = "
            f"{training.accumulate}",
        ),
        (training.rate_for_batch < 0, f"training.rate_for_batch = {training.rate_for_batch} is negative"),
    ]
    for arch in (*preset.archs, *preset.models):
        rules.append((arch not in ARCHITECTURES, f"arch {arch!r} is unknown; choose from {', '.join(ARCHITECTURES)}"))
        rules.append((arch not in preset.models, f"missing key 'models.{arch}'"))
    for arch, model in preset.models.items():
        for epochs in (model.epochs_std, model.epochs_adv):
            rules.append((epochs <= 0, f"models.{arch} must be trained for at least one epoch, not {epochs}"))
        rules.append((model.stem not in STEMS, f"models.{arch}.stem = {model.stem!r} is unknown"))
    for broken, message in rules:
        if broken:
            raise RequestError(f"{where}: {message}")
