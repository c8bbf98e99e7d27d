"""A figure: what was measured of whom, and what it has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.numbers import Samples


class Basis(StrEnum):
    """What a target is about."""

    VALUE = "value"
    UNDER_NAIVE = "under naive"
    UNDER_GO = "under Go"


class Verdict(StrEnum):
    """How a figure stands to its target."""

    STRETCH = "stretch met"
    MET = "met"
    MISSED = "MISSED"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a value, or on how many times less than a peer's it is."""

    bound: float
    basis: Basis = Basis.VALUE
    stretch: float | None = None
    at_least: bool = False
    """A value is to be at least the bound; ratios always are."""

    def __str__(self) -> str:
        if self.basis is Basis.VALUE:
            sign = "≥" if self.at_least else "≤"
            more = "" if self.stretch is None else f" ({self.stretch:g})"
            return f"{sign} {self.bound:g}{more}"
        more = "" if self.stretch is None else f" ({self.stretch:g} ×)"
        return f"≥ {self.bound:g} ×{more} {self.basis.value}"

    def judged(self, reached: float) -> Verdict:
        """The verdict on what was reached."""
        if self.stretch is not None and self._satisfies(reached, self.stretch):
            return Verdict.STRETCH
        return Verdict.MET if self._satisfies(reached, self.bound) else Verdict.MISSED

    def _satisfies(self, reached: float, bound: float) -> bool:
        upwards = self.at_least or self.basis is not Basis.VALUE
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

    def reached(self, target: Target) -> float:
        """What the target is about, as it was measured.

        Raises `ValueError` when that peer was not measured.
        """
        match target.basis:
            case Basis.VALUE:
                # A limit that holds only by the median does not hold.
                return self.ours.median if target.at_least else self._against_limit()
            case Basis.UNDER_NAIVE:
                ratio = self.ratio(self.naive)
            case Basis.UNDER_GO:
                ratio = self.ratio(self.go)
        if ratio is None:
            raise ValueError(f"{self.what}: the peer of the target was not measured")
        return ratio

    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each target."""
        return tuple(target.judged(self.reached(target)) for target in self.targets)

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
