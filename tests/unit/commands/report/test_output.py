"""Rows that go out at once, and rows that wait for each other."""

from __future__ import annotations

import io
import random
import threading
from dataclasses import replace
from typing import Any

import pytest

from exporter.commands.report.formats import JsonLines, Table
from exporter.commands.report.output import Ordered, Streamed
from exporter.commands.report.rows import Row, age_seconds
from tests.unit.collect.listed_pools import POOL_ID, device, settings

NOW_MS = 1_700_000_000_000


def rows(*ages: int) -> list[Row]:
    found = []
    for age in ages:
        of = device(str(age), NOW_MS - age * 1000)
        found.append(Row(settings(), "alice", "alice", of, age_seconds(of, NOW_MS)))
    return found


class Flushed(io.RawIOBase):
    """A pipe: only what was flushed has arrived."""

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


def test_streamed_rows_arrive_before_the_next_are_read() -> None:
    pipe = Flushed()
    output = Streamed(Table([POOL_ID]), buffered(pipe))
    assert b"LAST ACTIVE" in pipe.arrived
    output.put(rows(5, 3))
    assert keys(pipe.arrived) == ["5", "3"]


def test_after_the_close_nothing_is_written() -> None:
    pipe = Flushed()
    output = Streamed(JsonLines(), buffered(pipe))
    output.close()
    output.put(rows(5))
    assert not pipe.arrived


def test_a_close_does_not_wait_for_a_write_that_never_ends() -> None:
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


def test_lines_of_many_threads_stay_whole() -> None:
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
def test_ordered_rows_come_longest_idle_first_when_all_are_read(top: int | None) -> None:
    out = io.BytesIO()
    output = Ordered(Table([POOL_ID]), out, top)
    ages = random.Random(7).sample(range(1_000_000), 5000)
    for age in ages:
        output.put(rows(age))
    assert not out.getvalue()
    output.close()
    assert keys(out.getvalue()) == [str(age) for age in sorted(ages, reverse=True)[:top]]


def test_the_top_is_all_that_is_kept() -> None:
    output = Ordered(Table([POOL_ID]), io.BytesIO(), 5)
    for age in range(3000):
        output.put(rows(age))
    assert len(output._rows) < 1100


def test_ordered_rows_after_the_close_are_not_kept() -> None:
    out = io.BytesIO()
    output = Ordered(JsonLines(), out)
    output.close()
    output.put(rows(5))
    assert not out.getvalue()
    assert not output._rows


class InParts(JsonLines):
    """Parts by account."""

    def part(self, row: Row) -> str:
        return f"part {row.account_id}\n"

    def line(self, row: Row) -> str:
        return f"{row.device.key}\n"


def of_account(account_id: str, *ages: int) -> list[Row]:
    return [replace(row, account_id=account_id) for row in rows(*ages)]


def test_a_part_is_headed_wherever_it_begins_again() -> None:
    out = io.BytesIO()
    output = Streamed(InParts(), out)
    for account_id, ages in (("b", (5, 4)), ("b", (3,)), ("a", (9,)), ("b", (1,))):
        output.put(of_account(account_id, *ages))
    assert out.getvalue().decode().splitlines() == ["part b", "5", "4", "3", "part a", "9", "part b", "1"]


def test_in_order_each_part_is_in_one_piece() -> None:
    out = io.BytesIO()
    output = Ordered(InParts(), out)
    for account_id, ages in (("b", (5, 40)), ("a", (9, 30)), ("b", (1,))):
        output.put(of_account(account_id, *ages))
    output.close()
    assert out.getvalue().decode().splitlines() == ["part a", "30", "9", "part b", "40", "5", "1"]


def test_the_top_is_that_of_all_parts_together() -> None:
    out = io.BytesIO()
    output = Ordered(InParts(), out, top=2)
    output.put(of_account("b", 5, 40))
    output.put(of_account("a", 9, 3))
    output.close()
    assert out.getvalue().decode().splitlines() == ["part a", "9", "part b", "40"]


@pytest.mark.parametrize("sort", [False, True])
def test_names_that_utf_8_cannot_carry_are_written_all_the_same(sort: bool) -> None:
    out = io.BytesIO()
    output = Ordered(Broken(), out) if sort else Streamed(Broken(), out)
    output.put(rows(5))
    output.close()
    assert out.getvalue() == b"lone \\udce4\n"


class Broken(JsonLines):
    def line(self, row: Row) -> str:  # noqa: ARG002 - always the same
        return "lone \udce4\n"


def test_nobody_who_reads_is_told_to_whoever_writes() -> None:
    class Gone(Flushed):
        def write(self, _data: Any) -> int:
            raise BrokenPipeError

    out = buffered(Gone())
    with pytest.raises(BrokenPipeError):
        Streamed(JsonLines(), out).put(rows(5))
    with pytest.raises(BrokenPipeError):  # else Python 3.13 complains when it collects it
        out.close()
