"""The only reader of wall and monotonic time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time as the daemon sees it."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump when the system clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, for intervals and deadlines."""
        ...


class SystemClock:
    """The clock of the machine."""

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary fixed point."""
        return time.monotonic()
