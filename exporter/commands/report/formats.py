"""How a report writes a device: for eyes, for spreadsheets, for programs, or as the command that would undo it.

User names come from whoever signed up. Each format keeps them from being taken for something else: escape
sequences of a terminal, formulas, options or lines of a shell.
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
    """Writes rows one by one, so that none has to wait for another."""

    def head(self) -> str:
        """What stands before the first row, line end included; may be empty."""
        ...

    def wants(self, device: Device) -> bool:
        """Whether there is anything to write about the device."""
        ...

    def part(self, row: Row) -> str:
        """What stands before the first row of each part, line end included; rows with the same text are one part."""
        ...

    def line(self, row: Row) -> str:
        """One row, line end included."""
        ...


class _Devices:
    """What shows devices shows every one, and all as one part."""

    def wants(self, device: Device) -> bool:  # noqa: ARG002 - all are alike
        """Always."""
        return True

    def part(self, row: Row) -> str:  # noqa: ARG002 - all are alike
        """Nothing."""
        return ""


class Table(_Devices):
    """Aligned columns for a terminal; the user stands last, as nobody knows how long a name gets."""

    def __init__(self, pool_ids: Sequence[str]) -> None:
        self._pool_width = max(map(len, pool_ids), default=0)

    def head(self) -> str:
        """The names of the columns."""
        return self._row("IDLE", "LAST ACTIVE", "REMEMBERED", "USER POOL", "DEVICE", "USER")

    def line(self, row: Row) -> str:
        """One device, its text made printable."""
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
"""The columns of CSV and the keys of JSON lines; part of the interface."""


class Csv(_Devices):
    """Comma separated values; text that a spreadsheet would take for a formula gets an apostrophe before it."""

    def head(self) -> str:
        """The names of the columns."""
        return _joined(COLUMNS)

    def line(self, row: Row) -> str:
        """One device; a date that Cognito does not give is an empty field."""
        return _joined([_field(value) for value in values(row)])


class JsonLines(_Devices):
    """One JSON object per line, in ASCII; `attributes` where the configuration asks for some."""

    def head(self) -> str:
        """Nothing: a line needs no other."""
        return ""

    def line(self, row: Row) -> str:
        """One device; a date that Cognito does not give is null."""
        content: dict[str, object] = dict(zip(COLUMNS, values(row), strict=True))
        if row.pool.device_attributes:
            content["attributes"] = dict(row.device.attributes)
        return json.dumps(content) + "\n"


class Change(StrEnum):
    """What a printed command would do to a device."""

    FORGET = "forget"
    UNREMEMBER = "unremember"


class Commands:
    """Lines for a shell, each of which would change one device by the AWS CLI; nothing here runs them.

    Everything that AWS has told goes into a JSON document in single quotes, in ASCII and without a quote of its own:
    so it is neither an option, nor several lines, nor a `file://` that the AWS CLI would open.
    """

    def __init__(self, change: Change) -> None:
        self._change = change

    def head(self) -> str:
        """Nothing: every part has a head of its own."""
        return ""

    def wants(self, device: Device) -> bool:
        """Whether the command would change anything."""
        return self._change is Change.FORGET or device.remembered is not RememberedStatus.NOT_REMEMBERED

    def part(self, row: Row) -> str:
        """A comment that says whose credentials the lines after it need, and how the exporter comes by its own."""
        target = row.pool.target
        role = [] if target.role_arn is None else [f"role {_word(target.role_arn)}"]
        words = [f"account {_word(row.account_id or 'unknown')}", f"Region {_word(target.region)}", *role]
        return f"# {', '.join(words)}\n"

    def line(self, row: Row) -> str:
        """One command."""
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
    """The values of `COLUMNS`."""
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
    """A word for a shell, in ASCII and on one line, so that it is nothing else in a comment either."""
    return shlex.quote(printable(text).encode("ascii", "backslashreplace").decode())


def printable(text: str) -> str:
    r"""The text with everything escaped that does not print: no line ends, no escape sequences, no reversed writing."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Source: "CSV Injection" by OWASP."""


def _field(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else str(value)


def _joined(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # quotes a field that holds a part of its line end
    return line.getvalue().removesuffix("\r\n") + "\n"


_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def _short(seconds: float | None) -> str:
    """An age in its largest unit."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
