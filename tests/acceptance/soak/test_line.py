from __future__ import annotations

from random import Random

import pytest

from tests.acceptance.soak.line import line, means


def test_straight_line_has_its_slope_and_no_error() -> None:
    found = line([(x, 3 + 2 * x) for x in range(10)])
    assert found.slope == pytest.approx(2)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert not found.is_within_noise


def test_noise_is_distinguished_from_growth() -> None:
    random = Random(5)
    flat = [(float(x), random.gauss(100, 10)) for x in range(60)]
    assert line(flat).is_within_noise
    assert not line([(x, y + x) for x, y in flat]).is_within_noise
    assert line([(x, y - x) for x, y in flat]).is_within_noise


def test_standard_error_matches_the_textbook() -> None:
    found = line([(1, 2), (2, 4), (3, 5), (4, 4), (5, 5)])
    assert found.slope == pytest.approx(0.6)
    assert found.error == pytest.approx(0.2828427)


def test_correlated_points_increase_the_error() -> None:
    random = Random(5)
    apart = [(float(x), random.gauss(0, 1)) for x in range(60)]
    alike = [(4 * x + step, y) for x, y in apart for step in range(4)]
    assert line(alike).slope * 4 == pytest.approx(line(apart).slope, rel=0.1)
    assert line(alike).error * 4 > line(apart).error
    naive = line(apart).error / 2  # for four times as many uncorrelated points
    assert line(alike).error * 4 > 2 * naive


@pytest.mark.parametrize("points", [[], [(1, 1), (2, 2)], [(1, 1), (1, 2), (1, 3)]])
def test_points_without_a_slope_are_rejected(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="point"):
        line(points)


def test_samples_are_averaged_per_interval() -> None:
    assert means([(0, 1), (59, 3), (60, 10), (130, 7)], 60) == [(29.5, 2), (60, 10), (130, 7)]
