"""Many pools side by side, as the commands that look once go about them."""

from __future__ import annotations

import io
import threading

import pytest

from exporter.commands.pool_access import AT_ONCE, of_each
from tests.fakes import eventually


def test_what_is_found_stands_in_the_order_of_what_was_asked() -> None:
    later = threading.Event()

    def look(number: int) -> int:
        if number == 0:
            assert later.wait(10)
        if number == AT_ONCE + 4:
            later.set()
        return -number

    things = range(AT_ONCE + 5)
    assert of_each(things, look, threading.Event(), io.StringIO()) == [-number for number in things]


def test_nothing_to_look_at_is_no_fault() -> None:
    assert of_each([], str, threading.Event(), io.StringIO()) == []


def test_what_was_not_foreseen_is_raised_and_waits_for_nobody() -> None:
    together, never, cancelled = threading.Barrier(AT_ONCE), threading.Event(), threading.Event()
    asked: list[int] = []

    def look(number: int) -> None:
        asked.append(number)
        if number < AT_ONCE:
            together.wait(10)
        if number == 1:
            raise ZeroDivisionError
        never.wait(20)

    with pytest.raises(ZeroDivisionError):
        of_each(range(100), look, cancelled, io.StringIO())
    assert cancelled.is_set()
    never.set()
    assert eventually(lambda: not any(thread.name == "look" for thread in threading.enumerate()))
    assert len(asked) <= AT_ONCE + 1, "who has raised may have begun with the next before that was heard"
