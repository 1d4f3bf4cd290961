"""Progress of notebooks that run side by side, in one line."""

import re
import shutil
import sys
import threading
from typing import TextIO

BAR = re.compile(r"(?P<title>[^\r\n]*?):?\s+(?P<percent>\d+)%\|.*?\[[^<\]]*<(?P<left>[\d:]+|\?)")


class Bars:
    """What the bars of several kernels say, in the last line of the terminal; other text above it.

    stream: where it is written, such as standard error. `of(name)` is the stream of one notebook.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._said: dict[str, str] = {}
        self._shown = False

    def of(self, name: str) -> "_Stream":
        """Where the kernel of a notebook writes."""
        return _Stream(self, name)

    def say(self, text: str, ended: str | None = None) -> None:
        """Print a line to standard output; `ended` is the notebook whose bar goes."""
        with self._lock:
            self._said.pop(ended, None)
            self._above(text, sys.stdout)

    def hear(self, name: str, text: str) -> None:
        """Take what a kernel wrote: the last state of its bars, or a text."""
        found = list(BAR.finditer(text))
        if not found:
            if text.replace("\x1b[A", "").strip():
                with self._lock:
                    self._above(text.strip("\r\n"), self._stream)
            return
        with self._lock:
            title, percent, left = found[-1].group("title", "percent", "left")
            self._said[name] = f"{name}: {title.strip()} {percent}% ({left} left)"
            self._draw()

    @property
    def _width(self) -> int:
        return shutil.get_terminal_size().columns - 1

    def _above(self, text: str, stream: TextIO) -> None:
        if self._shown:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
        print(text, file=stream, flush=True)
        self._draw()

    def _draw(self) -> None:
        line = " · ".join(self._said.values())
        if line or self._shown:
            self._stream.write(f"\r{line[: self._width]:{self._width}}")
            self._stream.flush()
        self._shown = bool(line)


class _Stream:
    def __init__(self, bars: Bars, name: str) -> None:
        self._bars, self._name = bars, name

    def write(self, text: str) -> None:
        self._bars.hear(self._name, text)

    def flush(self) -> None:
        pass
