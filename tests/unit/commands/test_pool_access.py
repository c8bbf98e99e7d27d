"""Many pools side by side, as the commands that look once go about them."""

from __future__ import annotations

import io
import threading

import pytest

from exporter.commands.pool_access import CONCURRENCY, map_concurrently
from tests.fakes import eventually


def test_what_is_found_stands_in_the_order_of_what_was_asked() -> None:
    later = threading.Event()

    def look(number: int) -> int:
        if number == 0:
            assert later.wait(10)
        if number == CONCURRENCY + 4:
            later.set()
        return -number

    things = range(CONCURRENCY + 5)
    assert map_concurrently(things, look, threading.Event(), io.StringIO()) == [-number for number in things]


def test_nothing_to_look_at_is_no_fault() -> None:
    assert map_concurrently([], str, threading.Event(), io.StringIO()) == []


def test_what_was_not_foreseen_is_raised_and_waits_for_nobody() -> None:
    together, never, cancelled = threading.Barrier(CONCURRENCY), threading.Event(), threading.Event()
    asked: list[int] = []

    def look(number: int) -> None:
        asked.append(number)
        if number < CONCURRENCY:
            together.wait(10)
        if number == 1:
            raise ZeroDivisionError
        never.wait(20)

    with pytest.raises(ZeroDivisionError):
        map_concurrently(range(100), look, cancelled, io.StringIO())
    assert cancelled.is_set()
    never.set()
    assert eventually(lambda: not any(thread.name == "look" for thread in threading.enumerate()))
    assert len(asked) <= CONCURRENCY + 1, "who has raised may have begun with the next before that was heard"
