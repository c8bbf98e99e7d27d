"""Measured figures and their targets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.numbers import Samples


class Comparison(StrEnum):
    """Quantity that a target limits."""

    VALUE = "value"
    UNDER_NAIVE = "under naive"
    UNDER_GO = "under Go"


class TargetResult(StrEnum):
    """Result of comparing a figure with its target."""

    STRETCH = "stretch met"
    MET = "met"
    MISSED = "MISSED"


@dataclass(frozen=True, slots=True)
class Target:
    """Bound on a value, or on the ratio to a peer's value."""

    bound: float
    comparison: Comparison = Comparison.VALUE
    stretch: float | None = None
    at_least: bool = False
    """True if the value must be at least the bound. Always the case for ratios."""

    def __str__(self) -> str:
        if self.comparison is Comparison.VALUE:
            sign = "≥" if self.at_least else "≤"
            more = "" if self.stretch is None else f" ({self.stretch:g})"
            return f"{sign} {self.bound:g}{more}"
        more = "" if self.stretch is None else f" ({self.stretch:g} ×)"
        return f"≥ {self.bound:g} ×{more} {self.comparison.value}"

    def evaluate(self, reached: float) -> TargetResult:
        """Compare a measured value with the target."""
        if self.stretch is not None and self._satisfies(reached, self.stretch):
            return TargetResult.STRETCH
        return TargetResult.MET if self._satisfies(reached, self.bound) else TargetResult.MISSED

    def _satisfies(self, reached: float, bound: float) -> bool:
        upwards = self.at_least or self.comparison is not Comparison.VALUE
        return reached >= bound if upwards else reached <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """Row of the table."""

    what: str
    unit: str
    ours: Samples
    naive: Samples | None = None
    go: Samples | None = None
    targets: tuple[Target, ...] = ()

    def ratio(self, peer: Samples | None) -> float | None:
        """Return the ratio of a peer's median to the exporter's, or None without a peer."""
        return None if peer is None or self.ours.median <= 0 else peer.median / self.ours.median

    def measured_value(self, target: Target) -> float:
        """Return the measured quantity that the target limits.

        Raise `ValueError` if the peer of the target was not measured.
        """
        match target.comparison:
            case Comparison.VALUE:
                # For a strict limit, the maximum counts, not the median.
                return self.ours.median if target.at_least else self._against_limit()
            case Comparison.UNDER_NAIVE:
                ratio = self.ratio(self.naive)
            case Comparison.UNDER_GO:
                ratio = self.ratio(self.go)
        if ratio is None:
            raise ValueError(f"{self.what}: the peer of the target was not measured")
        return ratio

    def results(self) -> tuple[TargetResult, ...]:
        """Return one result per target."""
        return tuple(target.evaluate(self.measured_value(target)) for target in self.targets)

    def _against_limit(self) -> float:
        return self.ours.high if self.unit == STRICT_UNIT else self.ours.median


STRICT_UNIT = "calls in the fullest second"
"""Unit of figures with a strict limit, for which the worst measurement counts, not the median."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Row of a measurement that failed."""

    what: str
    why: str


Row = Figure | Missing
