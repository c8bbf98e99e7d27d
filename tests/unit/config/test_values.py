"""Durations in the format of Prometheus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.values import MAX_MS, canonical_duration, parse_duration

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
def test_duration_is_parsed_to_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", " ", "1", "d", "1.5h", "-1h", "+1h", "1 h", "1h ", "1D", "30m1h", "1h1h", "1h\n", "١d", "1e3s", "1µs"]
)
def test_duration_rejected_by_prometheus_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_duration_above_100_years_is_rejected() -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration("100y1ms")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("720h", "30d"), ("7d", "7d"), ("1w", "7d"), ("1y", "365d"), ("90m", "1h30m"), ("1500ms", "1s500ms"), ("0", "0s")],
)
def test_duration_has_one_canonical_form(text: str, canonical: str) -> None:
    assert canonical_duration(parse_duration(text)) == canonical


@given(st.integers(0, MAX_MS))
def test_canonical_duration_parses_to_the_same_value(milliseconds: int) -> None:
    assert parse_duration(canonical_duration(milliseconds)) == milliseconds
