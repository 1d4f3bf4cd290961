"""The exception for requests that cannot be carried out."""


class RequestError(ValueError):
    """A mistake that the user can correct: a path, a preset key, an architecture, a unit.

    Its message is one line that names the thing, the value and the remedy. The command line prints it and exits with
    code 2; in Python it is an ordinary `ValueError`.
    """
