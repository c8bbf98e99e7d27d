"""Rows of a report and their formats: table, CSV, JSON lines, or AWS CLI commands that change the devices.

User names are untrusted input. Each format escapes them, so that they cannot inject terminal escape sequences,
spreadsheet formulas, command-line options or shell commands.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from exporter.config.settings import PoolSettings
from exporter.model import Device, RememberedStatus


@dataclass(frozen=True, slots=True)
class Row:
    """Device of a user, as the report shows it."""

    pool: PoolSettings
    username: str = field(repr=False)
    """User name in Cognito."""
    user: str = field(repr=False)
    """Label of the user in the output: a fingerprint or the name."""
    device: Device
    age_seconds: float | None
    """Seconds since the last authentication, else since the creation; None without either date."""
    account_id: str | None = None
    """Account of the pool; None if AWS did not return it."""

    @property
    def oldest_first(self) -> tuple[float, str, str, str]:
        """Sort key: longest idle first, devices without a date last, in a deterministic order."""
        age = -math.inf if self.age_seconds is None else self.age_seconds
        return (-age, self.pool.id, self.user, self.device.key)


def age_seconds(device: Device, now_ms: int) -> float | None:
    """Return the seconds since a device was last active, at least 0; None if it has no date."""
    return None if device.active_ms is None else max(0, now_ms - device.active_ms) / 1000


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Filter for the devices of a report."""

    now_ms: int
    """Time from which ages are computed, in milliseconds since the epoch."""
    older_than_ms: int | None = None
    """Select only devices idle for strictly longer; a device without a date does not match."""
    skip_not_remembered: bool = False
    """Select only devices that are remembered, or whose status is unknown."""

    def selects(self, device: Device) -> bool:
        """Return True if the report shows the device."""
        if self.skip_not_remembered and device.remembered is RememberedStatus.NOT_REMEMBERED:
            return False
        if self.older_than_ms is None:
            return True
        return device.active_ms is not None and self.now_ms - device.active_ms > self.older_than_ms


class Format(Protocol):
    """Formatter of single rows, so that output can be streamed."""

    def head(self) -> str:
        """Return the text before the first row, line end included; may be empty."""
        ...

    def section(self, row: Row) -> str:
        """Return the heading of the row's section, line end included; consecutive rows with one heading share it."""
        ...

    def line(self, row: Row) -> str:
        """Return one row, line end included."""
        ...


class Table:
    """Aligned columns for a terminal; the user is last, because names have any length."""

    def __init__(self, pool_ids: Sequence[str]) -> None:
        self._pool_width = max(map(len, pool_ids), default=0)

    def head(self) -> str:
        """Return the column names."""
        return self._row("IDLE", "LAST ACTIVE", "REMEMBERED", "USER POOL", "DEVICE", "USER")

    def section(self, row: Row) -> str:  # noqa: ARG002 - one section
        """Return an empty string."""
        return ""

    def line(self, row: Row) -> str:
        """Return one device, with unprintable characters escaped."""
        device = row.device
        active = rfc3339(device.active_ms)
        return self._row(
            _age(row.age_seconds),
            "-" if active is None else f"{active.partition('.')[0]}Z",
            device.remembered.value,
            row.pool.id,
            printable(device.key),
            printable(row.user),
        )

    def _row(self, idle: str, active: str, remembered: str, pool: str, device: str, user: str) -> str:
        return f"{idle:>6}  {active:<20}  {remembered:<14}  {pool:<{self._pool_width}}  {device:<46}  {user}\n"


COLUMNS = (
    "user_pool_id",
    "user",
    "device_key",
    "remembered_status",
    "status",
    "date_source",
    "age_seconds",
    "last_authentication",
    "created",
    "last_modified",
)
"""Columns of CSV and keys of JSON lines; part of the public interface."""


class Csv:
    """Comma-separated values; text that a spreadsheet would read as a formula is prefixed with an apostrophe."""

    def head(self) -> str:
        """Return the column names."""
        return _csv_line(COLUMNS)

    def section(self, row: Row) -> str:  # noqa: ARG002 - one section
        """Return an empty string."""
        return ""

    def line(self, row: Row) -> str:
        """Return one device; a date that Cognito does not return is an empty field."""
        return _csv_line([_csv_field(value) for value in values(row)])


class JsonLines:
    """JSON objects, one per line, in ASCII; with `attributes` if the configuration has `device_attributes`."""

    def head(self) -> str:
        """Return an empty string."""
        return ""

    def section(self, row: Row) -> str:  # noqa: ARG002 - one section
        """Return an empty string."""
        return ""

    def line(self, row: Row) -> str:
        """Return one device; a date that Cognito does not return is null."""
        content: dict[str, object] = dict(zip(COLUMNS, values(row), strict=True))
        if row.pool.device_attributes:
            content["attributes"] = dict(row.device.attributes)
        return json.dumps(content) + "\n"


class Change(StrEnum):
    """Change to a device that a printed command makes."""

    FORGET = "forget"
    UNREMEMBER = "unremember"


class Commands:
    """AWS CLI commands for a shell, each of which changes one device; the exporter does not run them.

    The ids and names that AWS returned are in a JSON document in single quotes, in ASCII and without single quotes:
    they cannot become an option, a further line, or a `file://` argument that the AWS CLI would open.
    """

    def __init__(self, change: Change) -> None:
        self._change = change

    def head(self) -> str:
        """Return an empty string: each section has a heading."""
        return ""

    def section(self, row: Row) -> str:
        """Return a comment with the account and Region of the commands, and the role that the exporter assumes."""
        target = row.pool.target
        role = [] if target.role_arn is None else [f"role {_shell_word(target.role_arn)}"]
        words = [f"account {_shell_word(row.account_id or 'unknown')}", f"Region {_shell_word(target.region)}", *role]
        return f"# {', '.join(words)}\n"

    def line(self, row: Row) -> str:
        """Return one command."""
        names = {"UserPoolId": row.pool.id, "Username": row.username, "DeviceKey": row.device.key}
        if self._change is Change.FORGET:
            operation = "admin-forget-device"
        else:
            operation = "admin-update-device-status"
            names["DeviceRememberedStatus"] = RememberedStatus.NOT_REMEMBERED.value
        target = row.pool.target
        endpoint = [] if target.endpoint_url is None else ["--endpoint-url", target.endpoint_url]
        words = ["aws", "cognito-idp", operation, "--region", target.region, *endpoint, "--cli-input-json"]
        document = json.dumps(names).replace("'", "\\u0027")
        return f"{shlex.join(words)} '{document}'\n"


def values(row: Row) -> tuple[str | float | None, ...]:
    """Return the values of a row, in the order of `COLUMNS`."""
    device = row.device
    return (
        row.pool.id,
        row.user,
        device.key,
        device.remembered.value,
        device.status,
        device.date_source.value,
        row.age_seconds,
        rfc3339(device.authenticated_ms),
        rfc3339(device.created_ms),
        rfc3339(device.modified_ms),
    )


def _shell_word(text: str) -> str:
    """Return the text as one shell word in ASCII, without line ends, so that it is safe in a comment too."""
    return shlex.quote(printable(text).encode("ascii", "backslashreplace").decode())


def printable(text: str) -> str:
    """Return the text with unprintable characters escaped: line ends, escape sequences, text direction overrides."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a formula. Source: "CSV Injection" by OWASP."""


def _csv_field(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else str(value)


def _csv_line(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # this terminator makes it quote fields with CR or LF
    return line.getvalue().removesuffix("\r\n") + "\n"


_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def _age(seconds: float | None) -> str:
    """Return an age in its largest unit, such as `90d`."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def rfc3339(milliseconds: int | None) -> str | None:
    """Return a time in milliseconds since the epoch as text in UTC: `2026-01-31T12:00:00.000Z`."""
    if milliseconds is None:
        return None
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
