"""File identity and permissions of the state file."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import structlog

OWNERS_ALONE = 0o600
_OTHERS = 0o077

COMPANIONS = ("", "-wal", "-shm")
"""Suffixes of the state file and of the files that SQLite keeps next to it."""

log = structlog.get_logger()


def place_of(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at `path`, or None if `stat` fails."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def close_to_others(path: Path) -> None:
    """Restrict the file and its companions to their owner. Log a warning if that fails."""
    for companion in COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            _close_to_others(path.with_name(path.name + companion))


def _close_to_others(file: Path) -> None:
    before = _mode_of(file)
    if not before & _OTHERS:
        return
    with contextlib.suppress(OSError):
        # By name, not by descriptor: closing any descriptor of the file would release SQLite's POSIX locks.
        file.chmod(OWNERS_ALONE)
    if _mode_of(file) & _OTHERS:
        log.warning(
            "others can reach the state file, and its mode cannot be changed", file=file.name, mode=f"{before:04o}"
        )
    else:
        log.info("others could reach the state file; now its owner alone can", file=file.name, mode=f"{before:04o}")


def _mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)
