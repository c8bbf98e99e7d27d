from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.numbers import max_per_window, percentile, samples


def test_median_of_even_number_is_mean_of_middle_two() -> None:
    assert samples([4, 1, 3, 2]).median == 2.5


def test_spread_is_smallest_and_largest_value() -> None:
    several = samples([3, 9, 5])
    assert (several.low, several.median, several.high) == (3, 5, 9)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_invalid_samples_are_rejected(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        samples(values)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (10, 1), (11, 2), (50, 5), (90, 9), (91, 10), (100, 10)],
)
def test_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    assert percentile([7, 3, 1, 10, 2, 9, 4, 8, 6, 5], percent) == expected


def test_percentile_of_nothing_is_rejected() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 90)


@pytest.mark.parametrize(
    ("moments", "most"),
    [
        ([], 0),
        ([5.0], 1),
        ([0.0, 1.0, 2.0], 1),
        ([0.0, 0.999, 1.0], 2),
        ([0.9, 0.1, 0.5, 1.05, 3.0], 4),
        ([10.0, 10.0, 10.0], 3),
    ],
)
def test_window_is_open_at_its_end(moments: list[float], most: int) -> None:
    assert max_per_window(moments) == most


@given(st.lists(st.integers(0, 5_000), max_size=60))
def test_max_per_window_equals_naive_count(milliseconds: list[int]) -> None:
    count_calls = max((sum(start <= one < start + 1000 for one in milliseconds) for start in milliseconds), default=0)
    assert max_per_window(milliseconds, seconds=1000) == count_calls
