"""Keep freed memory in the process.

glibc hands every large block back to the kernel when it is freed and gets it, page by page, when the next batch asks
for it. On the CPU those page faults cost more than many of the operations they serve: kept blocks
serve the next batch instead.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20  # bytes; glibc refuses more


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks; does nothing where the C library is another one."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
