"""Reading of files named by the operator: only regular files, which can be read again and do not block."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """The path is a pipe or a device, which can be read only once; the text says what it is and what was expected."""


def read_regular(path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Return the first `max_bytes` bytes of a regular file and its status when it was opened; links are followed.

    Raises `NotRegular`, or another `OSError` if the file cannot be read.
    """
    # Check the open file, not the path: a link could be changed between a check and the opening.
    with open(path, "rb", opener=_open_nonblocking) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
            raise NotRegular(f"{kind}, expected a regular file")
        return file.read(max_bytes), status


def same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file; if a file is missing, whether they resolve to the same path."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe, and without acquiring a controlling terminal."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
