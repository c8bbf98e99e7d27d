"""Validators of single values: each returns the parsed value or raises an error of `invalid`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from exporter.config.problems import looks_secret
from exporter.config.settings import Share, Threshold
from exporter.config.values import attribute_label, canonical_duration, parse_duration, parse_share

H = TypeVar("H", bound=Hashable)
C = TypeVar("C", bound=Collection[object])

MAX_SERIES = 1_000_000_000
"""Maximum of `limits.series`, more than any Prometheus server can hold."""

MIN_RATE = 0.001
"""Minimum rate in requests per second, one in a quarter of an hour: a slower sweep would never end."""

MIN_SHARE = 0.0001
"""Minimum share, 0.01%: of the smallest quota, 15 requests per second, it is about `MIN_RATE`."""

# AWS allows [\w-]+_[0-9a-zA-Z]+; the part before the underscore is always the Region.
_REGION = r"[a-z]{2,}(-[a-z]+)+-[0-9]+"


def invalid(problem: str) -> PydanticCustomError:
    """Return the error of an invalid value; the report appends what was expected."""
    return PydanticCustomError("check", "{problem}", {"problem": problem})


def invalid_type() -> PydanticCustomError:
    """Return the error of a value of the wrong type, for validators that replace pydantic's type check."""
    return PydanticCustomError("wrong_type", "wrong type")


def milliseconds(value: object) -> int:
    """Parse a duration, which may be zero."""
    if not isinstance(value, str):
        raise invalid_type()
    try:
        return parse_duration(value)
    except ValueError as error:
        raise invalid(str(error)) from None


def duration(value: object) -> float:
    """Parse a duration above zero; return seconds."""
    parsed = milliseconds(value)
    if not parsed:
        raise invalid("zero")
    return parsed / 1000


def interval(value: object) -> float:
    """Parse a duration of at least a second, about the time of a sweep of the smallest pool; return seconds."""
    seconds = duration(value)
    if seconds < 1:
        raise invalid("too short")
    return seconds


def threshold(value: object) -> Threshold:
    """Parse a duration in whole seconds."""
    seconds = duration(value)
    if seconds % 1:
        raise invalid("not whole seconds")
    return Threshold(int(seconds), canonical_duration(int(seconds) * 1000))


def thresholds(values: list[Threshold]) -> list[Threshold]:
    """Check that the thresholds are distinct in their canonical form."""
    place = _first_repeated(values)
    if place is not None:
        raise invalid(f"items {values.index(values[place]) + 1} and {place + 1} are both {values[place].label}")
    return values


def not_empty(values: C) -> C:
    """Check that a list or a mapping is not empty."""
    if not values:
        raise invalid("empty")
    return values


def not_blank(value: str) -> str:
    """Check that text is not blank."""
    if not value.strip():
        raise invalid("blank")
    return value


def distinct(values: list[H]) -> list[H]:
    """Check that the items of a list are distinct. The error does not repeat the item, which may be a user name."""
    place = _first_repeated(values)
    if place is not None:
        raise invalid(f"duplicate item {place + 1}")
    return values


def attributes(names: list[str]) -> list[str]:
    """Check that device attributes make distinct labels."""
    place = _first_repeated([attribute_label(name) for name in names])
    if place is not None:
        label = "?" if looks_secret(names[place]) else attribute_label(names[place])
        raise invalid(f"duplicate label {label}")
    return names


def matching(pattern: str, problem: str) -> AfterValidator:
    """Return a validator of text that must match a pattern."""
    compiled = re.compile(pattern)

    def validate(value: str) -> str:
        if not compiled.fullmatch(value):
            raise invalid(problem)
        return value

    return AfterValidator(validate)


pool_id = matching(rf"(?=.{{1,55}}\Z){_REGION}_[0-9a-zA-Z]+", "not a pool id")
region = matching(_REGION, "not a Region")
role_arn = matching(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+", "not the ARN of a role")
external_id = matching(r"[A-Za-z0-9_+=,.@:/-]{2,1224}", "not an external id")


def pattern(value: str) -> str:
    """Check a regular expression."""
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):  # huge repetitions, deep nesting
        raise invalid("not a regular expression") from None
    return value


def endpoint_url(value: str) -> str:
    """Check an HTTP URL without a password, because it is logged."""
    try:
        parts = urlsplit(value)
        usable = bool(parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0)
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in value):
        raise invalid("not an HTTP URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise invalid("more than scheme, host, port and path")
    return value


def file_path(value: str) -> str:
    """Check that text can be the name of a file."""
    try:
        usable = b"\0" not in os.fsencode(not_blank(value))
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise invalid("not a path")
    return value


def rate(value: object) -> float | Share:
    """Parse requests per second or a share of the quota.

    One function for both types: pydantic would report a value that is neither as two errors.
    """
    if isinstance(value, str):
        return _share(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_type()
    if not value > 0:
        raise invalid("not above zero")
    if value < MIN_RATE:
        raise invalid("too small")
    try:
        requests_per_second = float(value)
    except OverflowError:  # an integer that is too large for a float
        requests_per_second = math.inf
    if math.isinf(requests_per_second):
        raise invalid("too large")
    return requests_per_second


def _share(value: str) -> Share:
    try:
        fraction = parse_share(value)
    except ValueError as error:
        raise invalid(str(error)) from None
    if fraction < MIN_SHARE:
        raise invalid("too small")
    return Share(fraction)


def number_of_series(value: int) -> int:
    """Check a number of series."""
    if value < 0:
        raise invalid("negative")
    if value > MAX_SERIES:
        raise invalid("too large")
    return value


def _first_repeated(values: Sequence[Hashable]) -> int | None:
    seen: set[Hashable] = set()
    for place, value in enumerate(values):
        if value in seen:
            return place
        seen.add(value)
    return None
