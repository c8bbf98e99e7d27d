"""Reads the files that an operator names: regular ones only, which can be read again and keep nobody waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """A pipe or a device, whose content is gone once it was read; the text says which and what was expected."""


def read_regular(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """At most `most` bytes of a regular file, whatever links lead to it, and how it was when it was opened.

    Raises `NotRegular`, and another `OSError` when the file cannot be read.
    """
    # Links may have another end a moment later: what was opened is looked at, and not what the path leads to.
    with open(path, "rb", opener=_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
            raise NotRegular(f"{kind}, expected a regular file")
        return file.read(most), status


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by whatever links; of a file that is not there, its place counts."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for somebody who writes to a pipe, and without making a terminal ours."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
