"""Text on the status page for numbers, times, states and reasons."""

from __future__ import annotations

from datetime import datetime

from exporter.errors import Reason
from exporter.model import PoolState

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

STATE_NAMES = {state: state.value.replace("_", " ") for state in PoolState}

STATE_MEANINGS = {
    PoolState.MISSING: "The pool does not exist. Its values are no longer exposed.",
    PoolState.DENIED: "IAM denies access. The last values are kept until max_staleness.",
    PoolState.FAILING: "Sweeps fail and are retried. The last values are kept until max_staleness.",
    PoolState.TRACKING_OFF: "The pool does not remember devices, so its users are not read.",
    PoolState.UNREAD: "No sweep has finished yet, so there are no values.",
    PoolState.OK: "The last sweep finished.",
}

REASON_MEANINGS = {
    Reason.THROTTLED: "AWS throttles requests: the quota is exceeded",
    Reason.DENIED: "IAM does not allow an operation",
    Reason.CREDENTIALS: "AWS credentials are missing or rejected",
    Reason.NOT_FOUND: "the pool or one of its groups does not exist",
    Reason.INVALID_REQUEST: "AWS rejects parameters, such as a filter",
    Reason.TRACKING_OFF: "the pool does not remember devices",
    Reason.SERVER_ERROR: "AWS returns internal errors",
    Reason.TIMEOUT: "AWS does not respond in time",
    Reason.CONNECTION: "the endpoint is unreachable",
    Reason.MALFORMED: "responses do not match the API",
    Reason.OTHER: "unexpected error, see the log",
}


def number(value: int) -> str:
    """Format a number: `12,480`."""
    return f"{value:,}"


def rate(per_second: float) -> str:
    """Format a rate, with one decimal below 100."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}".removesuffix(".0")


def duration(seconds: float) -> str:
    """Format a duration with at most two units: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two_units(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two_units(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def _two_units(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first} {first_unit} {second} {second_unit}" if second else f"{first} {first_unit}"


def time_since(past: datetime, now: datetime) -> str:
    """Format a past time relative to now: `12 min ago`."""
    seconds = (now - past).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def time_until(future: datetime, now: datetime) -> str:
    """Format a future time relative to now: `in 12 min`."""
    seconds = (future - now).total_seconds()
    return "now" if seconds < 1 else f"in {duration(seconds)}"


def rfc3339(time: datetime) -> str:
    """Format a UTC time: `2026-11-23T11:24:17Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
