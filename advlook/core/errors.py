"""The one exception that means: the request cannot be carried out, and here is why."""


class RequestError(ValueError):
    """Something the user can mend: a path, a preset key, an architecture, a unit.

    Its message is one line that names the thing, the value and the remedy. The command line prints it and
    exits with code 2; in Python it is an ordinary `ValueError`.
    """
