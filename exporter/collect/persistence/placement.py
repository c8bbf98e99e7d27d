"""Where the state file stands, and who can reach it."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import structlog

OWNERS_ALONE = 0o600
_OTHERS = 0o077

COMPANIONS = ("", "-wal", "-shm")
"""The file itself, and what SQLite keeps beside it, by the end of the name."""

log = structlog.get_logger()


def place_of(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path, by device and number; None where none can be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def close_to_others(path: Path) -> None:
    """Let nobody but the owner reach the file and its companions, however they were left; warn where that fails."""
    for companion in COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            _close_to_others(path.with_name(path.name + companion))


def _close_to_others(file: Path) -> None:
    before = _mode_of(file)
    if not before & _OTHERS:
        return
    with contextlib.suppress(OSError):
        # By its name: to close a descriptor of our own would let go of SQLite's locks on the file.
        file.chmod(OWNERS_ALONE)
    if _mode_of(file) & _OTHERS:
        log.warning(
            "others can reach the state file, and its mode cannot be changed", file=file.name, mode=f"{before:04o}"
        )
    else:
        log.info("others could reach the state file; now its owner alone can", file=file.name, mode=f"{before:04o}")


def _mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)
