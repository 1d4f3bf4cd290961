"""The exception for requests that cannot be carried out."""


class RequestError(ValueError):
    """A mistake that the user can correct; its message is one line that names the thing, the value and the remedy."""
