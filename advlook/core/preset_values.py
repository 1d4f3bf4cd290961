"""The types of the values in a preset file, with their ranges."""

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

ARCHITECTURES = ("alexnet_bn", "resnet10", "resnet18", "resnet50", "resnet101")
SETTINGS = ("std", "adv")
STEMS = ("imagenet", "small", "tiny")


def _ascending(values: tuple) -> tuple:
    if list(values) != sorted(set(values)):
        raise ValueError("must ascend")
    return values


def _target(name: str) -> str:
    if not re.fullmatch("[^@]+(@[1-9][0-9]*)?", name):
        raise ValueError("must be the name of an image set, with @ and its pixels a side where it is reduced")
    return name


def _setting(name: str) -> str:
    if name in (*SETTINGS, "random") or not re.fullmatch("[a-z0-9]+([-.][a-z0-9]+)*", name):
        raise ValueError("must be small letters, digits, - and ., and not std, adv or random: it names files")
    return name


def _arch(name: str) -> str:
    if not re.fullmatch("[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*", name):
        raise ValueError(
            "must be letters, digits, -, _ and .: it names files; [external.NAME] has a key arch for others"
        )
    return name


def _odd(pixels: int) -> int:
    if pixels % 2 == 0:
        raise ValueError("must be odd")
    return pixels


Item = TypeVar("Item")
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]
Odd = Annotated[Positive, AfterValidator(_odd)]
Several = Annotated[tuple[Item, ...], Field(min_length=1)]
Arch = Annotated[str, AfterValidator(_arch)]
Ascending = Annotated[Several[Item], AfterValidator(_ascending)]
Target = Annotated[str, AfterValidator(_target)]
Setting = Annotated[str, AfterValidator(_setting)]
