"""The machine: what it is, and how much of it others have used while something was measured."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_OTHER_SHARE = 0.08
"""Of all cores; programs that the bench has not started may use so much before a measurement counts as disturbed."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds of processor time used until some moment."""

    wall: float
    total: float
    """All processes of the machine, and what its host took away from it."""
    own: float


def other_cores(before: CpuTimes, after: CpuTimes) -> float:
    """How many cores others have used between two readings, on average."""
    wall = after.wall - before.wall
    if wall <= 0:
        raise ValueError("the second reading is not after the first")
    others = (after.total - before.total) - (after.own - before.own)
    return max(0.0, others / wall)


def busy_seconds(stat: str, ticks_per_second: int) -> float:
    """What /proc/stat counts as used, by whomever: all but idle and waiting for disks."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_per_second


def read_cpu_times(own: Callable[[], float]) -> CpuTimes:
    """How things stand now; `own` gives the processor seconds of the bench itself."""
    stat = Path("/proc/stat").read_text()
    return CpuTimes(time.monotonic(), busy_seconds(stat, os.sysconf("SC_CLK_TCK")), own())


def available_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def description() -> str:
    """The machine by what matters to the figures; nothing that tells one from another of the same kind."""
    return f"{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}"
