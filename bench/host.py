"""Description of the machine, and CPU usage by other programs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_OTHER_SHARE = 0.08
"""Share of all cores that other programs may use before a measurement counts as disturbed."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU times in seconds at one point in time."""

    wall: float
    total: float
    """CPU time of all processes, including time that the hypervisor took."""
    own: float


def other_cores(before: CpuTimes, after: CpuTimes) -> float:
    """Return the mean number of cores that other programs used between two readings."""
    wall = after.wall - before.wall
    if wall <= 0:
        raise ValueError("the second reading is not after the first")
    others = (after.total - before.total) - (after.own - before.own)
    return max(0.0, others / wall)


def busy_seconds(stat: str, ticks_per_second: int) -> float:
    """Return the busy time in /proc/stat: all time except idle and I/O wait."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_per_second


def read_cpu_times(own: Callable[[], float]) -> CpuTimes:
    """Return the current CPU times. `own` returns the CPU seconds of the benchmark itself."""
    stat = Path("/proc/stat").read_text()
    return CpuTimes(time.monotonic(), busy_seconds(stat, os.sysconf("SC_CLK_TCK")), own())


def available_cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0))


def description() -> str:
    """Describe the machine without any identifying information."""
    return f"{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}"
