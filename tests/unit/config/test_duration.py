"""Durations as Prometheus writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.duration import MAX_MS, canonical_duration, parse_duration

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("5ms", 5),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("90d", 90 * DAY),
        ("2w", 14 * DAY),
        ("1y", 365 * DAY),
        ("1y1w1d1h1m1s1ms", (365 + 7 + 1) * DAY + HOUR + 61_001),
        ("100y", MAX_MS),
    ],
)
def test_a_duration_in_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", " ", "1", "d", "1.5h", "-1h", "+1h", "1 h", "1h ", "1D", "30m1h", "1h1h", "1h\n", "١d", "1e3s", "1µs"]
)
def test_what_prometheus_refuses_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_a_duration_has_a_bound() -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration("100y1ms")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("720h", "30d"), ("7d", "7d"), ("1w", "7d"), ("1y", "365d"), ("90m", "1h30m"), ("1500ms", "1s500ms"), ("0", "0s")],
)
def test_there_is_one_way_to_write_a_duration(text: str, canonical: str) -> None:
    assert canonical_duration(parse_duration(text)) == canonical


@given(st.integers(0, MAX_MS))
def test_the_canonical_form_means_the_same(milliseconds: int) -> None:
    assert parse_duration(canonical_duration(milliseconds)) == milliseconds
