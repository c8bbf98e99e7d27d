"""Concurrent calls of the one-off commands."""

from __future__ import annotations

import threading

import pytest

from exporter.commands.aws_access import CONCURRENCY, map_concurrently
from tests.fakes import eventually


def test_results_are_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def call(number: int) -> int:
        if number == 0:
            assert later.wait(10)
        if number == CONCURRENCY + 4:
            later.set()
        return -number

    items = range(CONCURRENCY + 5)
    assert map_concurrently(call, items, threading.Event()) == [-number for number in items]


def test_no_items_have_no_results() -> None:
    assert map_concurrently(str, list[int](), threading.Event()) == []


def test_exception_is_raised_without_waiting_for_other_calls() -> None:
    together, never, cancelled = threading.Barrier(CONCURRENCY), threading.Event(), threading.Event()
    called: list[int] = []

    def call(number: int) -> None:
        called.append(number)
        if number < CONCURRENCY:
            together.wait(10)
        if number == 1:
            raise ZeroDivisionError
        never.wait(20)

    with pytest.raises(ZeroDivisionError):
        map_concurrently(call, range(100), cancelled)
    assert cancelled.is_set()
    never.set()
    assert eventually(lambda: not any(thread.name == "command-worker" for thread in threading.enumerate()))
    assert len(called) <= CONCURRENCY + 1, "the worker that failed may have started one more call"
