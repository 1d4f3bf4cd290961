"""Requests that cannot be carried out."""

from collections.abc import Iterable

UNSUITED = (RuntimeError, AssertionError, ValueError)  # what networks raise for images that they are not made for


class RequestError(ValueError):
    """A mistake that the user can correct; its message is one line that names the thing, the value and the remedy."""


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise RequestError, which names the choices, where `value` is none of them."""
    if value not in choices:
        raise RequestError(f"{name} {value!r} is unknown; choose from {', '.join(choices)}")
