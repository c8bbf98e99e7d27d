"""Results of a soak and their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.soak.line import Line, line, means
from tests.acceptance.soak.process import Reading

MIB = 1024 * 1024
HOUR = 3600.0

STEP_BYTES = 1 * MIB
"""Growth that is ignored: Python's allocator reserves this much at once and touches it gradually."""


@dataclass
class Scrapes:
    """Results of the scrapes."""

    asked: int = 0
    answered: int = 0
    slowest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)
    """Pages with inconsistent sums."""


@dataclass
class SoakResults:
    """Measurements of a run."""

    warm_up: float
    """Seconds that the slope excludes."""
    sweep_seconds: float
    wanted_seconds: float
    readings: list[Reading] = field(default_factory=list)
    scrapes: Scrapes = field(default_factory=Scrapes)
    events: int = 0
    reloads: int = 0
    sweeps: int = 0
    sweep_failures: dict[str, float] = field(default_factory=dict)
    calls: int = 0
    call_failures: dict[str, float] = field(default_factory=dict)
    largest_lag: int = 0
    """Largest difference in devices between a page and the emulator, due to changes since the last read."""
    drift: list[str] | None = None
    """Differences between the last page and the emulator after a calm sweep; None without one."""

    @property
    def seconds(self) -> float:
        return self.readings[-1].at if self.readings else 0.0

    @property
    def warm(self) -> list[Reading]:
        return [reading for reading in self.readings if reading.at >= self.warm_up]

    def memory(self) -> Line | None:
        """Slope in bytes per second; None if the run was too short."""
        points = means([(reading.at, float(reading.rss)) for reading in self.warm], self.sweep_seconds)
        return line(points) if len(points) >= 3 else None

    def growth(self, name: str) -> int:
        """Growth of the minimum between the first third of the run and the last: memory that is never freed."""
        values = [int(getattr(reading, name)) for reading in self.warm]
        third = len(values) // 3
        return min(values[-third:]) - min(values[:third]) if third else 0

    def risen(self, memory: Line) -> float:
        """Bytes by which the line rises from the end of the warm-up to the end."""
        return memory.slope * (self.seconds - self.warm_up)

    def faults(self) -> list[str]:
        """Return every promise that was not kept."""
        memory = self.memory()
        checks = {
            "memory grows": memory is not None and not memory.is_within_noise and self.risen(memory) > STEP_BYTES,
            "descriptors grow": self.growth("descriptors") > 0,
            "threads grow": self.growth("threads") > 0,
            f"{self.scrapes.asked - self.scrapes.answered} scrapes without an answer": self.scrapes.asked
            != self.scrapes.answered,
            f"{len(self.scrapes.unsound)} pages with sums that do not agree": bool(self.scrapes.unsound),
            f"the last page is not the truth: {self.drift}": bool(self.drift),
            "the truth was not compared": self.drift is None,
            f"ended after {self.seconds:.0f} of {self.wanted_seconds:.0f} s": self.seconds < self.wanted_seconds - 10,
        }
        return [fault for fault, is_so in checks.items() if is_so]

    def as_dict(self) -> dict[str, Any]:
        """Return the results for JSON."""
        memory = self.memory()
        return {
            "seconds": round(self.seconds, 1),
            "memory_slope_bytes_per_hour": memory and round(memory.slope * HOUR),
            "memory_slope_standard_error_bytes_per_hour": memory and round(memory.error * HOUR),
            "descriptors_growth": self.growth("descriptors"),
            "threads_growth": self.growth("threads"),
            "cpu_cores": round(self.readings[-1].cpu_seconds / self.seconds, 3) if self.seconds else None,
            "scrapes_asked": self.scrapes.asked,
            "scrapes_answered": self.scrapes.answered,
            "scrape_failures": self.scrapes.failures[:20],
            "slowest_scrape_seconds": round(self.scrapes.slowest_seconds, 4),
            "unsound_pages": len(self.scrapes.unsound),
            "events": self.events,
            "reloads": self.reloads,
            "sweeps": self.sweeps,
            "sweep_failures": self.sweep_failures,
            "calls": self.calls,
            "call_failures": self.call_failures,
            "largest_lag_devices": self.largest_lag,
            "drift": self.drift,
            "faults": self.faults(),
            "readings": [[round(r.at, 1), r.rss, r.descriptors, r.threads] for r in self.readings],
        }


def markdown(found: SoakResults) -> str:
    """Return the results as Markdown."""
    memory = found.memory()
    slope = "too short to tell"
    if memory is not None:
        within = "within noise" if memory.is_within_noise else "more than noise"
        slope = f"{memory.slope * HOUR / MIB:+.2f} ± {memory.error * HOUR / MIB:.2f} MiB per hour ({within})"
        slope += f", {found.risen(memory) / MIB:+.1f} MiB in all"
    failed = sum(found.call_failures.values())
    share = f"{failed / found.calls:.1%}" if found.calls else "none"
    rows = [
        ("ran for", f"{found.seconds / 60:.1f} minutes, the first {found.warm_up / 60:.1f} left out of the slope"),
        ("memory", f"{_span(found.warm, 'rss', MIB)} MiB; slope {slope}"),
        ("file descriptors", f"{_span(found.warm, 'descriptors')}; the least grew by {found.growth('descriptors')}"),
        ("threads", f"{_span(found.warm, 'threads')}; the least grew by {found.growth('threads')}"),
        ("scrapes", f"{found.scrapes.asked} asked, {found.scrapes.answered} answered"),
        ("slowest scrape", f"{found.scrapes.slowest_seconds * 1000:.0f} ms"),
        ("calls to AWS", f"{found.calls}, of which {share} failed: {_listed(found.call_failures)}"),
        ("sweeps", f"{found.sweeps} finished; failed: {_listed(found.sweep_failures)}"),
        ("reloads", str(found.reloads)),
        ("changes of the pools", f"{found.events}; a page was at most {found.largest_lag} devices behind"),
        ("truth at the end", "not compared" if found.drift is None else "; ".join(found.drift) or "equal"),
        ("promises not kept", "; ".join(found.faults()) or "none"),
    ]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _span(readings: Sequence[Reading], name: str, unit: int = 1) -> str:
    values = [getattr(reading, name) / unit for reading in readings] or [0]
    return f"{min(values):.0f} to {max(values):.0f}"


def _listed(counts: dict[str, float]) -> str:
    return ", ".join(f"{name} {count:.0f}" for name, count in sorted(counts.items())) or "none"
