"""A straight line through measurements, and how sure its slope is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Line:
    """The least-squares line through some points."""

    slope: float
    error: float
    """The standard error of the slope."""

    @property
    def is_within_noise(self) -> bool:
        """Whether a slope of nothing lies within two standard errors, or the slope goes down."""
        return self.slope <= 2 * self.error


def line(points: Sequence[tuple[float, float]]) -> Line:
    """The line through points (x, y).

    Raises `ValueError` with fewer than three points, or all at one x.
    """
    if len(points) < 3:
        raise ValueError("a slope with an error takes three points")
    middle_x, middle_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    if not spread:
        raise ValueError("all points stand at one x")
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    residual = sum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in points)
    return Line(slope, math.sqrt(residual / (len(points) - 2) / spread))


def means(points: Sequence[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """The points as means over stretches of so much x each.

    Neighbouring readings of one process are alike, and would make a slope look surer than it is.
    """
    stretches: dict[int, list[tuple[float, float]]] = {}
    for x, y in points:
        stretches.setdefault(int(x // length), []).append((x, y))
    return [(fmean(x for x, _ in found), fmean(y for _, y in found)) for found in stretches.values()]
