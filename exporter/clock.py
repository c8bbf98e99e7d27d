"""Wall clock and monotonic clock. No other module reads the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of time."""

    def wall(self) -> float:
        """Return the seconds since the Unix epoch. Can jump when the system clock is set."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never decrease, for intervals and deadlines."""
        ...


class SystemClock:
    """Clock of the operating system."""

    def wall(self) -> float:
        """Return the seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary fixed point."""
        return time.monotonic()
