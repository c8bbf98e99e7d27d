"""Where rows go: out at once as they are read, or oldest first when all are read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from exporter.commands.report.formats import Format
from exporter.commands.report.rows import Row
from exporter.stdout import writing_to_stdout

CLOSE_SECONDS = 1.0
"""So long a close waits for a write under way: one into a full pipe may never end."""

_SLACK = 1000
"""Rows kept beyond the wanted number before they are sorted and cut."""


class Output(Protocol):
    """Takes rows from many threads."""

    def put(self, rows: Sequence[Row]) -> None:
        """The devices of one user.

        Raises `OSError` when nothing can be written any more, `BrokenPipeError` when nobody reads.
        """
        ...

    def close(self) -> None:
        """Write what is left; later rows are not written. Raises as `put`."""
        ...


class Streamed:
    """Writes each user's rows as they come, and keeps none."""

    def __init__(self, form: Format, out: BinaryIO) -> None:
        self._lines = _Lines(form)
        self._out = out
        self._lock = threading.Lock()
        self._closed = False
        _write(out, form.head())

    def put(self, rows: Sequence[Row]) -> None:
        """Write them."""
        with self._lock:
            if not self._closed:
                _write(self._out, "".join([self._lines.of(row) for row in rows]))

    def close(self) -> None:
        """Write no more; everything is out already."""
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            self._closed = True
            self._lock.release()


class Ordered:
    """Keeps the rows, or the `top` oldest of them, and writes them when it is closed."""

    def __init__(self, form: Format, out: BinaryIO, top: int | None = None) -> None:
        self._format = form
        self._out = out
        self._top = top
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._closed = False

    def put(self, rows: Sequence[Row]) -> None:
        """Keep them for now."""
        with self._lock:
            if not self._closed:
                self._rows.extend(rows)
                if self._top is not None and len(self._rows) >= 2 * self._top + _SLACK:
                    self._cut()

    def close(self) -> None:
        """Write the rows, oldest first within each part."""
        with self._lock:
            self._closed = True
            self._cut()
        _write(self._out, self._format.head())
        lines = _Lines(self._format)
        for row in sorted(self._rows, key=self._format.part):
            _write(self._out, lines.of(row), flush=False)
        with writing_to_stdout():
            self._out.flush()

    def _cut(self) -> None:
        self._rows.sort(key=lambda row: row.oldest_first)
        del self._rows[self._top or len(self._rows) :]


class _Lines:
    """Rows as they are written, one after the other: where another part begins, what stands before it."""

    def __init__(self, form: Format) -> None:
        self._format = form
        self._part = ""

    def of(self, row: Row) -> str:
        """The line of the next row."""
        part = self._format.part(row)
        begun = "" if part == self._part else part
        self._part = part
        return begun + self._format.line(row)


def _write(out: BinaryIO, text: str, *, flush: bool = True) -> None:
    if not text:
        return
    with writing_to_stdout():
        out.write(text.encode("utf-8", "backslashreplace"))
        if flush:
            out.flush()
