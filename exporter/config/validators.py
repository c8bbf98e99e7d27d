"""What the value of a single key must satisfy beyond its type; each check returns the value or raises."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from exporter.config.attributes import attribute_label
from exporter.config.duration import canonical_duration, parse_duration
from exporter.config.problems import looks_secret
from exporter.config.share import parse_share

H = TypeVar("H", bound=Hashable)
T = TypeVar("T")
M = TypeVar("M", bound=Mapping[str, str])

MOST_SERIES = 1_000_000_000
"""More than any Prometheus takes."""

LEAST_RATE = 0.001
"""Requests per second: one in a quarter of an hour. With less a sweep would never end."""

LEAST_SHARE = 0.0001
"""0.01 %: of the smallest quota, 15 requests per second, about the least rate."""

# AWS allows [\w-]+_[0-9a-zA-Z]+; what stands before the underscore is always the Region.
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_POOL_ID = re.compile(_REGION.pattern + r"_[0-9a-zA-Z]+")
_POOL_ID_MAX = 55
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+")
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")


def invalid(problem: str) -> PydanticCustomError:
    """The error of a failed check; `problem` is what a fault says before what was expected."""
    return PydanticCustomError("check", "{problem}", {"problem": problem})


def invalid_type() -> PydanticCustomError:
    """The error of a check that stands for pydantic's own check of the type."""
    return PydanticCustomError("wrong_type", "wrong type")


def duration(value: str) -> str:
    """A duration above zero."""
    try:
        milliseconds = parse_duration(value)
    except ValueError as error:
        raise invalid(str(error)) from None
    if not milliseconds:
        raise invalid("zero")
    return value


def interval(value: str) -> str:
    """A duration of at least a second: a sweep of the smallest pool takes about as long."""
    if parse_duration(duration(value)) < 1000:
        raise invalid("too short")
    return value


def threshold(value: str) -> str:
    """A duration in whole seconds."""
    if parse_duration(duration(value)) % 1000:
        raise invalid("not whole seconds")
    return value


def thresholds(values: list[str]) -> list[str]:
    """No two of them the same, however they are written."""
    seen: dict[str, str] = {}
    for value in values:
        label = canonical_duration(parse_duration(value))
        if label in seen:
            raise invalid(f"the same twice: {seen[label]} and {value} are both {label}")
        seen[label] = value
    return values


def not_empty(values: list[T]) -> list[T]:
    """A list with something in it."""
    if not values:
        raise invalid("empty")
    return values


def not_blank(value: str) -> str:
    """Text with something in it."""
    if not value.strip():
        raise invalid("blank")
    return value


def distinct(values: list[H]) -> list[H]:
    """A list in which nothing stands twice. The text does not say what, because it may be a user's name."""
    place = _first_repeated(values)
    if place is not None:
        raise invalid(f"item {place + 1} stands twice")
    return values


def attributes(names: list[str]) -> list[str]:
    """Names of device attributes that make distinct labels."""
    place = _first_repeated([attribute_label(name) for name in names])
    if place is not None:
        label = "?" if looks_secret(names[place]) else attribute_label(names[place])
        raise invalid(f"the label {label} would stand twice")
    return names


def pool_id(value: str) -> str:
    """The id of a user pool."""
    if len(value) > _POOL_ID_MAX or not _POOL_ID.fullmatch(value):
        raise invalid("not a pool id")
    return value


def region(value: str) -> str:
    """The name of a Region, whether AWS has it or not."""
    if not _REGION.fullmatch(value):
        raise invalid("not a Region")
    return value


def pattern(value: str) -> str:
    """A regular expression."""
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):  # the latter two for absurd ones
        raise invalid("not a regular expression") from None
    return value


def not_empty_mapping(values: M) -> M:
    """A mapping with something in it."""
    if not values:
        raise invalid("empty")
    return values


def role_arn(value: str) -> str:
    """The ARN of an IAM role."""
    if not _ROLE_ARN.fullmatch(value):
        raise invalid("not the ARN of a role")
    return value


def external_id(value: str) -> str:
    """An external id as sts:AssumeRole takes it."""
    if not _EXTERNAL_ID.fullmatch(value):
        raise invalid("not an external id")
    return value


def endpoint_url(value: str) -> str:
    """An address to which requests can be sent; it holds no password, because it is shown."""
    try:
        parts = urlsplit(value)
        usable = bool(parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0)
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in value):
        raise invalid("not a URL of http or https")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise invalid("more than scheme, host, port and path")
    return value


def file_path(value: str) -> str:
    """Text that the system can take for the name of a file."""
    try:
        usable = b"\0" not in os.fsencode(not_blank(value))
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise invalid("not a path")
    return value


def rate(value: object) -> float | str:
    """A number from the least rate, or a share as it is written.

    It stands for pydantic's check of the type, which would report number and text as two faults.
    """
    if isinstance(value, str):
        return _share(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_type()
    if not value > 0:
        raise invalid("not above zero")
    if value < LEAST_RATE:
        raise invalid("too small")
    if not _is_finite(value):
        raise invalid("too large")
    return value


def _share(value: str) -> str:
    try:
        fraction = parse_share(value)
    except ValueError as error:
        raise invalid(str(error)) from None
    if fraction < LEAST_SHARE:
        raise invalid("too small")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def number_of_series(value: int) -> int:
    """A number from zero that every reader of it can hold."""
    if value < 0:
        raise invalid("negative")
    if value > MOST_SERIES:
        raise invalid("too large")
    return value


def _first_repeated(values: Sequence[Hashable]) -> int | None:
    seen: set[Hashable] = set()
    for place, value in enumerate(values):
        if value in seen:
            return place
        seen.add(value)
    return None
