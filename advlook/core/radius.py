"""Radii and step sizes of attacks, in pixel units of [0, 1]; presets and the command line write them as "4/255"."""

from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator

from advlook.core.errors import RequestError


def parse_eps(text: str) -> float:
    """Read "4/255", "0.5/255" or "0.0157" as a radius; RequestError where it is no number or lies outside [0, 1]."""
    try:
        value = float(Fraction(*map(Fraction, text.split("/"))))  # of one number or two
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise RequestError(f"eps {text!r} is not a number; write it as a fraction such as 4/255") from None
    return check_eps(value)


def check_eps(eps: float, name: str = "eps") -> float:
    """Return `eps` where it is a radius for images in [0, 1]; RequestError where it is in the wrong unit."""
    if not 0 <= eps <= 1:
        remedy = f"images lie in [0, 1], so give it in those units, e.g. {name}=4/255"
        raise RequestError(f"{name}={eps:g} is outside [0, 1]: {remedy}")
    return float(eps)


def _parse_written(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError('write it as a string such as "4/255"')
    return parse_eps(value)


Eps = Annotated[float, BeforeValidator(_parse_written)]  # a preset's key
