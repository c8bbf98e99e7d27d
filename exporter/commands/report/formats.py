"""Output formats of a report: table, CSV, JSON lines, or AWS CLI commands that change the devices.

User names are untrusted input. Each format escapes them, so that they cannot inject terminal escape sequences,
spreadsheet formulas, command-line options or shell commands.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from exporter.commands.report.rows import Row, moment
from exporter.model import Device, RememberedStatus


class Format(Protocol):
    """Formatter of single rows, so that output can be streamed."""

    def head(self) -> str:
        """Return the text before the first row, line end included; may be empty."""
        ...

    def wants(self, device: Device) -> bool:
        """Return True if the format has a line for the device."""
        ...

    def part(self, row: Row) -> str:
        """Return the heading of the row's section, line end included; consecutive rows with one heading share it."""
        ...

    def line(self, row: Row) -> str:
        """Return one row, line end included."""
        ...


class _Devices:
    """Base of the formats that show every device, in one section."""

    def wants(self, device: Device) -> bool:  # noqa: ARG002 - the same for all
        """Return True."""
        return True

    def part(self, row: Row) -> str:  # noqa: ARG002 - the same for all
        """Return an empty string."""
        return ""


class Table(_Devices):
    """Aligned columns for a terminal; the user is last, because names have any length."""

    def __init__(self, pool_ids: Sequence[str]) -> None:
        self._pool_width = max(map(len, pool_ids), default=0)

    def head(self) -> str:
        """Return the column names."""
        return self._row("IDLE", "LAST ACTIVE", "REMEMBERED", "USER POOL", "DEVICE", "USER")

    def line(self, row: Row) -> str:
        """Return one device, with unprintable characters escaped."""
        device = row.device
        seen = (moment(device.active_ms) or "-").partition(".")[0]
        return self._row(
            _short(row.age_seconds),
            f"{seen}Z" if device.active_ms is not None else seen,
            device.remembered.value,
            row.pool.id,
            printable(device.key),
            printable(row.user),
        )

    def _row(self, idle: str, seen: str, remembered: str, pool: str, device: str, user: str) -> str:
        return f"{idle:>6}  {seen:<20}  {remembered:<14}  {pool:<{self._pool_width}}  {device:<46}  {user}\n"


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


class Csv(_Devices):
    """Comma-separated values; text that a spreadsheet would read as a formula is prefixed with an apostrophe."""

    def head(self) -> str:
        """Return the column names."""
        return _joined(COLUMNS)

    def line(self, row: Row) -> str:
        """Return one device; a date that Cognito does not return is an empty field."""
        return _joined([_field(value) for value in values(row)])


class JsonLines(_Devices):
    """JSON objects, one per line, in ASCII; with `attributes` if the configuration has `device_attributes`."""

    def head(self) -> str:
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

    def wants(self, device: Device) -> bool:
        """Return True if the command would change the device."""
        return self._change is Change.FORGET or device.remembered is not RememberedStatus.NOT_REMEMBERED

    def part(self, row: Row) -> str:
        """Return a comment with the account and Region of the commands, and the role that the exporter assumes."""
        target = row.pool.target
        role = [] if target.role_arn is None else [f"role {_word(target.role_arn)}"]
        words = [f"account {_word(row.account_id or 'unknown')}", f"Region {_word(target.region)}", *role]
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
        moment(device.authenticated_ms),
        moment(device.created_ms),
        moment(device.modified_ms),
    )


def _word(text: str) -> str:
    """Return the text as one shell word in ASCII, without line ends, so that it is safe in a comment too."""
    return shlex.quote(printable(text).encode("ascii", "backslashreplace").decode())


def printable(text: str) -> str:
    """Return the text with unprintable characters escaped: line ends, escape sequences, text direction overrides."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a formula. Source: "CSV Injection" by OWASP."""


def _field(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else str(value)


def _joined(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # this terminator makes it quote fields with CR or LF
    return line.getvalue().removesuffix("\r\n") + "\n"


_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def _short(seconds: float | None) -> str:
    """Return an age in its largest unit, such as `90d`."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
