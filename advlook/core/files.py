"""Files that are written whole or not at all, hashes of files and values, and seeds made from them."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from advlook.core.errors import RequestError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, which is flushed and renamed to `path`: a crash leaves the old or the new.
    Raises RequestError where the disk is full or the folder is read-only."""
    # The suffix is kept: some writers choose the format by it, or append one.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RequestError(f"the disk that holds {path} is full; earlier results are untouched") from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise RequestError(f"{path} cannot be written: {error.strerror}") from None
        raise
    finally:
        with suppress(OSError):  # it is not there: it was renamed, or its folder could not be made
            partial.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} where the file is absent or holds anything else."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}


def file_hash(path: Path) -> str:
    """First sixteen digits of the SHA-256 of a file; it is read once while it stays the same file."""
    status = path.stat()
    return _file_hash(path, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _file_hash(path: Path, *_identity: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(value: object) -> str:
    """Sixteen hexadecimal digits that depend on every part of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def mixed_seed(*values: int) -> int:
    """A different seed for every combination of values."""
    return int(digest(values), 16) % 2**63
