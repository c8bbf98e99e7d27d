"""Measurements of the process under test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reading:
    """Measurement of a process."""

    at: float
    """Seconds since the start of the soak."""
    rss: int
    """Resident memory in bytes."""
    descriptors: int
    threads: int
    cpu_seconds: float


def read(pid: int, at: float) -> Reading:
    """Measure a process.

    Raises `OSError` if it does not exist.
    """
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    used = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return Reading(
        at=at,
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        cpu_seconds=sum(map(int, used)) / os.sysconf("SC_CLK_TCK"),
    )
