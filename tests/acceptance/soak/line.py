"""Linear regression, with the standard error of the slope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Line:
    """Least-squares line."""

    slope: float
    error: float
    """Standard error of the slope, corrected for autocorrelation."""

    @property
    def is_within_noise(self) -> bool:
        """True if the slope is negative, or zero within two standard errors."""
        return self.slope <= 2 * self.error


def line(points: Sequence[tuple[float, float]]) -> Line:
    """Fit a line to points (x, y).

    Raises `ValueError` with fewer than three points, or with the same x for all.
    """
    if len(points) < 3:
        raise ValueError("a slope with an error takes three points")
    middle_x, middle_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    if not spread:
        raise ValueError("all points have the same x")
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    residuals = [y - middle_y - slope * (x - middle_x) for x, y in points]
    variance = sum(residual**2 for residual in residuals) / (len(points) - 2)
    return Line(slope, math.sqrt(variance / spread * _inflation(residuals)))


def _inflation(residuals: Sequence[float]) -> float:
    """Return the factor by which autocorrelation increases the variance of a slope: (1 + r) / (1 - r).

    r is the correlation of each residual with the next one.
    """
    squares = sum(residual**2 for residual in residuals)
    alike = sum(residual * following for residual, following in pairwise(residuals))
    return (squares + alike) / (squares - alike) if alike > 0 else 1.0


def means(points: Sequence[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """Return the means of the points over intervals of this length."""
    stretches: dict[int, list[tuple[float, float]]] = {}
    for x, y in points:
        stretches.setdefault(int(x // length), []).append((x, y))
    return [(fmean(x for x, _ in found), fmean(y for _, y in found)) for found in stretches.values()]
