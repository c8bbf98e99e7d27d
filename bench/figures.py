"""A figure: what was measured of whom, and what it has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.numbers import Samples


class Comparison(StrEnum):
    """What a target is about."""

    VALUE = "value"
    UNDER_NAIVE = "under naive"
    UNDER_GO = "under Go"


class TargetResult(StrEnum):
    """How a figure stands to its target."""

    STRETCH = "stretch met"
    MET = "met"
    MISSED = "MISSED"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a value, or on how many times less than a peer's it is."""

    bound: float
    comparison: Comparison = Comparison.VALUE
    stretch: float | None = None
    at_least: bool = False
    """A value is to be at least the bound; ratios always are."""

    def __str__(self) -> str:
        if self.comparison is Comparison.VALUE:
            sign = "≥" if self.at_least else "≤"
            more = "" if self.stretch is None else f" ({self.stretch:g})"
            return f"{sign} {self.bound:g}{more}"
        more = "" if self.stretch is None else f" ({self.stretch:g} ×)"
        return f"≥ {self.bound:g} ×{more} {self.comparison.value}"

    def evaluate(self, reached: float) -> TargetResult:
        """The verdict on what was reached."""
        if self.stretch is not None and self._satisfies(reached, self.stretch):
            return TargetResult.STRETCH
        return TargetResult.MET if self._satisfies(reached, self.bound) else TargetResult.MISSED

    def _satisfies(self, reached: float, bound: float) -> bool:
        upwards = self.at_least or self.comparison is not Comparison.VALUE
        return reached >= bound if upwards else reached <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    what: str
    unit: str
    ours: Samples
    naive: Samples | None = None
    go: Samples | None = None
    targets: tuple[Target, ...] = ()

    def ratio(self, peer: Samples | None) -> float | None:
        """How many times more a peer takes, by the medians; None without a peer."""
        return None if peer is None or self.ours.median <= 0 else peer.median / self.ours.median

    def measured_value(self, target: Target) -> float:
        """What the target is about, as it was measured.

        Raises `ValueError` when that peer was not measured.
        """
        match target.comparison:
            case Comparison.VALUE:
                # A limit that holds only by the median does not hold.
                return self.ours.median if target.at_least else self._against_limit()
            case Comparison.UNDER_NAIVE:
                ratio = self.ratio(self.naive)
            case Comparison.UNDER_GO:
                ratio = self.ratio(self.go)
        if ratio is None:
            raise ValueError(f"{self.what}: the peer of the target was not measured")
        return ratio

    def results(self) -> tuple[TargetResult, ...]:
        """One for each target."""
        return tuple(target.evaluate(self.measured_value(target)) for target in self.targets)

    def _against_limit(self) -> float:
        return self.ours.high if self.unit == STRICT_UNIT else self.ours.median


STRICT_UNIT = "calls in the fullest second"
"""Of what must never exceed its limit, the worst measurement counts and not the median."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that could not be had."""

    what: str
    why: str


Row = Figure | Missing
