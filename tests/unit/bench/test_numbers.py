from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.numbers import max_per_window, percentile, samples


def test_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert samples([4, 1, 3, 2]).median == 2.5


def test_spread_is_smallest_and_largest() -> None:
    several = samples([3, 9, 5])
    assert (several.low, several.median, several.high) == (3, 5, 9)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_measurement_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        samples(values)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (10, 1), (11, 2), (50, 5), (90, 9), (91, 10), (100, 10)],
)
def test_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    assert percentile([7, 3, 1, 10, 2, 9, 4, 8, 6, 5], percent) == expected


def test_percentile_of_nothing_is_refused() -> None:
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
def test_a_window_is_open_at_its_end(moments: list[float], most: int) -> None:
    assert max_per_window(moments) == most


@given(st.lists(st.integers(0, 5_000), max_size=60))
def test_windows_agree_with_counting_them_one_by_one(milliseconds: list[int]) -> None:
    count_calls = max((sum(start <= one < start + 1000 for one in milliseconds) for start in milliseconds), default=0)
    assert max_per_window(milliseconds, seconds=1000) == count_calls
