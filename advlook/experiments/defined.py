"""What is defined for the networks of a study. Where a measure is not, its column says so, and all else is there."""

from functools import lru_cache

import pandas as pd
import torch
from torch import nn

from advlook.core.errors import NotDefinedError, RequestError
from advlook.models import folded
from advlook.sensitivity import METHODS, TITLES, by_name, stages
from advlook.sensitivity.filters import conv_sides, first_filters, first_layer
from advlook.sensitivity.strength import check_strength
from advlook.sensitivity.truncated import Truncated
from advlook.study import Study

DEPTHS = 5  # layers whose units are excited
# What may not be defined, in words.
SUBJECTS = TITLES | {"filters": "A filter of the first layer", "strength": "The strength of a first-layer filter"}


@lru_cache(maxsize=16)  # asked for every model and unit of an architecture
def undefined_maps(study: Study, arch: str) -> dict[str, str]:
    """The maps that are not defined for an architecture, each with the reason in a few words."""
    found, model = {}, study.model(arch, "std", study.preset.seeds[0])
    image, label = next(study.test[:1].batches(1, study.device))
    for method in METHODS:
        try:
            by_name(method, model, image, label, samples=1)
        except NotDefinedError as error:
            found[method] = error.why
    return found


def defined_maps(study: Study, arch: str) -> list[str]:
    """The other maps, in the order of `sensitivity.METHODS`."""
    undefined = undefined_maps(study, arch)
    return [method for method in METHODS if method not in undefined]


def save_undefined(study: Study, number: str, filters: bool = False) -> None:
    """Save `<number>_undefined`, where something is not defined: arch, method (of maps; filters: also of
    `undefined_filters`), reason."""
    found = []
    for arch in study.preset.archs:
        what = undefined_maps(study, arch) | (undefined_filters(study, arch) if filters else {})
        found += [(arch, *each) for each in what.items()]
    if found:
        study.save_table(f"{number}_undefined", pd.DataFrame(found, columns=["arch", "method", "reason"]))


@lru_cache(maxsize=16)
def undefined_filters(study: Study, arch: str) -> dict[str, str]:
    """What is not defined of an architecture's first filters, "filters" or "strength", and why in a few words."""
    model, size = study.model(arch, "std", study.preset.seeds[0]), study.preset.data.size
    for what, ask in (("filters", first_filters), ("strength", check_strength), ("strength", _folded_first)):
        try:
            ask(model, size=size)
        except NotDefinedError as error:
            return {what: error.why}
    return {}


def _folded_first(model: nn.Module, *, size: int) -> None:
    folded(model, size=size, required=[first_layer(model, size=size)])


def unit_layers(model: nn.Module, size: int) -> list[str]:
    """Names of up to DEPTHS layers whose units are looked at, evenly spread from the first to the last: convolutions,
    without those of shortcuts and gates; of a network with fewer of them, such as a transformer, the ends of its stages
    but the last, which classifies."""
    found = conv_sides(model, size=size)
    names = [
        each for each in found if "downsample" not in each and not _is_gate(model.get_submodule(each), found[each])
    ]
    if len(names) < DEPTHS:
        *ends, head = [parts[-1] for parts in stages(model).values()]
        while ends and _alike(model, ends[-1], head):  # a second head, as distilled transformers have
            ends.pop()
        names = [name for name in dict.fromkeys([*names[:1], *ends]) if _has_units(model, name, size)]
    places = torch.linspace(0, len(names) - 1, min(DEPTHS, len(names))).round().int().tolist()
    return [names[place] for place in places]


def _is_gate(convolution: nn.Conv2d, side: tuple[int, int]) -> bool:
    """Whether it mixes the channels of a single pixel, as on a mean over the image that weights the channels of a map
    (squeeze and excite): such units see no structure. side: height and width of its output."""
    return side == (1, 1) and tuple(convolution.kernel_size) == (1, 1)


def _alike(model: nn.Module, name: str, head: str) -> bool:
    modules = dict(model.named_modules())  # a stage may end with a parameter
    layer, last = modules.get(name), modules.get(head)
    return isinstance(layer, nn.Linear) and isinstance(last, nn.Linear) and layer.weight.shape == last.weight.shape


def _has_units(model: nn.Module, layer: str, size: int) -> bool:
    try:
        return Truncated(model, layer).channels(size) > 0
    except RequestError:
        return False
