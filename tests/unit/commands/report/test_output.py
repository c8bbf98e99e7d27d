"""Outputs of a report: streamed and ordered."""

from __future__ import annotations

import io
import random
import threading
from dataclasses import replace
from typing import Any

import pytest

from exporter.commands.report.formats import JsonLines, Row, Table, age_seconds
from exporter.commands.report.output import Ordered, Streamed
from tests.unit.collect.listed_pools import POOL_ID, device, settings

NOW_MS = 1_700_000_000_000


def rows(*ages: int) -> list[Row]:
    found = []
    for age in ages:
        of = device(str(age), NOW_MS - age * 1000)
        found.append(Row(settings(), "alice", "alice", of, age_seconds(of, NOW_MS)))
    return found


class Flushed(io.RawIOBase):
    """Pipe that has received only what was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.arrived += bytes(data)
        return len(data)


def buffered(pipe: io.RawIOBase) -> io.BufferedWriter:
    return io.BufferedWriter(pipe)


def keys(text: bytes) -> list[str]:
    return [line.split()[4].decode() for line in text.splitlines()[1:]]


def test_streamed_rows_are_flushed_at_once() -> None:
    pipe = Flushed()
    output = Streamed(Table([POOL_ID]), buffered(pipe))
    assert b"LAST ACTIVE" in pipe.arrived
    output.put(rows(5, 3))
    assert keys(pipe.arrived) == ["5", "3"]


def test_streamed_rows_after_close_are_not_written() -> None:
    pipe = Flushed()
    output = Streamed(JsonLines(), buffered(pipe))
    output.close()
    output.put(rows(5))
    assert not pipe.arrived


def test_close_does_not_wait_for_a_blocked_write() -> None:
    gate = threading.Event()

    class Full(Flushed):
        def write(self, data: Any) -> int:
            gate.wait(20)
            return len(data)

    output = Streamed(JsonLines(), buffered(Full()))
    writer = threading.Thread(target=output.put, args=(rows(5),), daemon=True)
    writer.start()
    output.close()
    assert writer.is_alive()
    gate.set()
    writer.join(20)


def test_lines_of_many_threads_are_not_mixed() -> None:
    out = io.BytesIO()
    output = Streamed(JsonLines(), out)

    def write() -> None:
        for _ in range(50):
            output.put(rows(7, 8))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = out.getvalue().splitlines(keepends=True)
    assert len(lines) == 800
    assert len(set(lines)) == 2


@pytest.mark.parametrize("top", [None, 1, 3, 100, 10_000])
def test_ordered_rows_are_sorted_on_close(top: int | None) -> None:
    out = io.BytesIO()
    output = Ordered(Table([POOL_ID]), out, top)
    ages = random.Random(7).sample(range(1_000_000), 5000)
    for age in ages:
        output.put(rows(age))
    assert not out.getvalue()
    output.close()
    assert keys(out.getvalue()) == [str(age) for age in sorted(ages, reverse=True)[:top]]


def test_ordered_output_keeps_little_more_than_the_top() -> None:
    output = Ordered(Table([POOL_ID]), io.BytesIO(), 5)
    for age in range(3000):
        output.put(rows(age))
    assert len(output._rows) < 1100


def test_ordered_rows_after_close_are_not_kept() -> None:
    out = io.BytesIO()
    output = Ordered(JsonLines(), out)
    output.close()
    output.put(rows(5))
    assert not out.getvalue()
    assert not output._rows


class BySection(JsonLines):
    """Format with one section per account."""

    def section(self, row: Row) -> str:
        return f"section {row.account_id}\n"

    def line(self, row: Row) -> str:
        return f"{row.device.key}\n"


def of_account(account_id: str, *ages: int) -> list[Row]:
    return [replace(row, account_id=account_id) for row in rows(*ages)]


def test_streamed_section_has_a_heading_whenever_it_starts() -> None:
    out = io.BytesIO()
    output = Streamed(BySection(), out)
    for account_id, ages in (("b", (5, 4)), ("b", (3,)), ("a", (9,)), ("b", (1,))):
        output.put(of_account(account_id, *ages))
    assert out.getvalue().decode().splitlines() == ["section b", "5", "4", "3", "section a", "9", "section b", "1"]


def test_ordered_sections_are_contiguous() -> None:
    out = io.BytesIO()
    output = Ordered(BySection(), out)
    for account_id, ages in (("b", (5, 40)), ("a", (9, 30)), ("b", (1,))):
        output.put(of_account(account_id, *ages))
    output.close()
    assert out.getvalue().decode().splitlines() == ["section a", "30", "9", "section b", "40", "5", "1"]


def test_top_is_over_all_sections() -> None:
    out = io.BytesIO()
    output = Ordered(BySection(), out, top=2)
    output.put(of_account("b", 5, 40))
    output.put(of_account("a", 9, 3))
    output.close()
    assert out.getvalue().decode().splitlines() == ["section a", "9", "section b", "40"]


@pytest.mark.parametrize("sort", [False, True])
def test_lone_surrogate_is_written_escaped(sort: bool) -> None:
    out = io.BytesIO()
    output = Ordered(LoneSurrogate(), out) if sort else Streamed(LoneSurrogate(), out)
    output.put(rows(5))
    output.close()
    assert out.getvalue() == b"lone \\udce4\n"


class LoneSurrogate(JsonLines):
    def line(self, row: Row) -> str:  # noqa: ARG002 - always the same
        return "lone \udce4\n"


def test_broken_pipe_is_raised() -> None:
    class Gone(Flushed):
        def write(self, _data: Any) -> int:
            raise BrokenPipeError

    out = buffered(Gone())
    with pytest.raises(BrokenPipeError):
        Streamed(JsonLines(), out).put(rows(5))
    with pytest.raises(BrokenPipeError):  # else Python 3.13 complains when it collects it
        out.close()
