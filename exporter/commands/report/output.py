"""Outputs for rows: streamed as they are read, or sorted after all are read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from exporter.commands.report.formats import Format, Row
from exporter.stdout import writing_to_stdout

CLOSE_SECONDS = 1.0
"""Timeout of a close for a write in progress: a write to a full pipe may block forever."""

_SLACK = 1000
"""Rows kept beyond twice the limit before the buffer is sorted and cut to the limit."""


class Output(Protocol):
    """Thread-safe output for rows."""

    def put(self, rows: Sequence[Row]) -> None:
        """Write or keep the devices of one user.

        Raises `OSError` if the output cannot be written, `BrokenPipeError` if its reader closed it.
        """
        ...

    def close(self) -> None:
        """Write the kept rows and ignore later ones. Raises as `put`."""
        ...


class Streamed:
    """Output that writes each user's rows immediately."""

    def __init__(self, formatter: Format, out: BinaryIO) -> None:
        self._writer = _Writer(formatter, out)
        self._lock = threading.Lock()
        self._closed = False
        self._writer.write(formatter.head())

    def put(self, rows: Sequence[Row]) -> None:
        """Write the rows."""
        with self._lock:
            if not self._closed:
                self._writer.write_rows(rows)

    def close(self) -> None:
        """Stop writing; all earlier rows are already written."""
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            self._closed = True
            self._lock.release()


class Ordered:
    """Output that keeps the rows, or the `top` longest idle ones, and writes them on close."""

    def __init__(self, formatter: Format, out: BinaryIO, top: int | None = None) -> None:
        self._formatter = formatter
        self._writer = _Writer(formatter, out)
        self._top = top
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._closed = False

    def put(self, rows: Sequence[Row]) -> None:
        """Keep the rows."""
        with self._lock:
            if not self._closed:
                self._rows.extend(rows)
                if self._top is not None and len(self._rows) >= 2 * self._top + _SLACK:
                    self._sort_and_cut()

    def close(self) -> None:
        """Write the rows, longest idle first within each section."""
        with self._lock:
            self._closed = True
            self._sort_and_cut()
        self._writer.write(self._formatter.head())
        self._writer.write_rows(sorted(self._rows, key=self._formatter.section))

    def _sort_and_cut(self) -> None:
        self._rows.sort(key=lambda row: row.oldest_first)
        del self._rows[self._top or len(self._rows) :]


class _Writer:
    """Writer of consecutive rows that adds the heading where a section begins."""

    def __init__(self, formatter: Format, out: BinaryIO) -> None:
        self._formatter = formatter
        self._out = out
        self._section = ""

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Write the rows, then flush."""
        with writing_to_stdout():
            for row in rows:
                section = self._formatter.section(row)
                text = self._formatter.line(row) if section == self._section else section + self._formatter.line(row)
                self._section = section
                self._out.write(text.encode("utf-8", "backslashreplace"))
            self._out.flush()

    def write(self, text: str) -> None:
        """Write and flush a text, unless it is empty."""
        if text:
            with writing_to_stdout():
                self._out.write(text.encode("utf-8", "backslashreplace"))
                self._out.flush()
