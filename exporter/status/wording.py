"""Numbers, times and codes in the words of the status page."""

from __future__ import annotations

from datetime import datetime

from exporter.errors import Reason
from exporter.model import PoolState

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

STATE_NAMES = {state: state.value.replace("_", " ") for state in PoolState}

STATE_MEANINGS = {
    PoolState.MISSING: "AWS knows no such pool; nothing is shown of it any more.",
    PoolState.DENIED: "IAM does not allow reading it; the last values stay until max_staleness.",
    PoolState.FAILING: "Sweeps fail and are tried again; the last values stay until max_staleness.",
    PoolState.TRACKING_OFF: "The pool does not remember devices, so nobody is asked.",
    PoolState.UNREAD: "No sweep has come to its end yet, so there are no numbers.",
    PoolState.OK: "The last sweep has asked every user.",
}

REASON_MEANINGS = {
    Reason.THROTTLED: "AWS refuses requests: the quota is used up",
    Reason.DENIED: "IAM does not allow an operation",
    Reason.CREDENTIALS: "no AWS credentials that are accepted",
    Reason.NOT_FOUND: "AWS does not know the pool, or a group of it",
    Reason.INVALID_REQUEST: "AWS refuses the parameters, such as a filter",
    Reason.TRACKING_OFF: "the pool does not remember devices",
    Reason.SERVER_ERROR: "AWS answers with internal errors",
    Reason.TIMEOUT: "AWS does not answer in time",
    Reason.CONNECTION: "the endpoint cannot be reached",
    Reason.MALFORMED: "answers are not what the API promises",
    Reason.OTHER: "nobody foresaw this: see the log",
}


def count(number: int) -> str:
    """12480 is `12,480`."""
    return f"{number:,}"


def counted(number: int, one: str) -> str:
    """`1 pool`, `2 pools`."""
    return f"{count(number)} {one}{'' if number == 1 else 's'}"


def rate(per_second: float) -> str:
    """Requests per second, to a tenth below 100."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}".removesuffix(".0")


def duration(seconds: float) -> str:
    """The two largest units, of which the second says something: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def ago(then: datetime, now: datetime) -> str:
    """`12 min ago`; a moment that is still to come is now."""
    seconds = (now - then).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def ahead(then: datetime, now: datetime) -> str:
    """`in 12 min`; a moment that has passed is now."""
    seconds = (then - now).total_seconds()
    return "now" if seconds < 1 else f"in {duration(seconds)}"


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T11:24:17Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _two(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first} {first_unit} {second} {second_unit}" if second else f"{first} {first_unit}"
