"""Keep freed memory in the process: glibc returns it to the kernel, and page faults slow down the next batch."""

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks; does nothing with another C library."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # bytes; glibc refuses more
            mallopt(_M_TRIM_THRESHOLD, 1 << 30)
