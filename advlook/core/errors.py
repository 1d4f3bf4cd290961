"""Requests that cannot be carried out."""

from collections.abc import Iterable

UNSUITED = (RuntimeError, AssertionError, ValueError)  # what networks raise for images that they are not made for


class RequestError(ValueError):
    """A mistake that the user can correct; its message is one line that names the thing, the value and the remedy."""


class NotDefinedError(RequestError):
    """What was asked for does not exist for this network; `why` says it in a few words, for figures and tables."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise RequestError, which names the choices, where `value` is none of them."""
    if value not in choices:
        raise RequestError(f"{name} {value!r} is unknown; choose from {', '.join(choices)}")


def reason(error: BaseException) -> str:
    """An error in one line: its type, and the first line of its message where it has one."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
