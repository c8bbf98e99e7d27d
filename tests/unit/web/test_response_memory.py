from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from exporter.web.response_memory import ResponseLimits, ResponseMemoryLimit
from tests.fakes import ManualClock, eventually

LIMITS = ResponseLimits(1000, min_bodies=2, uncounted_bytes=10, min_seconds=1.0, evict_seconds=60.0)


def body(size: int) -> bytes:
    """A new object, even if it equals another."""
    return bytes(bytearray(size))


class Clients:
    """Clients by name, each with a response in flight until it is aborted or done."""

    def __init__(self, limits: ResponseLimits = LIMITS) -> None:
        self.clock = ManualClock()
        self.memory = ResponseMemoryLimit(self.clock, limits)
        self.aborted: list[str] = []
        self._stacks: dict[str, ExitStack] = {}

    def request(self, name: str, response: bytes, *, ends_on_abort: bool = True) -> bool:
        """Reserve memory for a response and return whether that was possible."""
        stack = ExitStack()

        def abort() -> None:
            self.aborted.append(name)
            if ends_on_abort:
                threading.Thread(target=stack.close).start()

        reserved = stack.enter_context(self.memory.reserve(response, abort))
        self._stacks[name] = stack
        return reserved

    def finish(self, name: str) -> None:
        self._stacks.pop(name).close()


@contextmanager
def waiting(clients: Clients, name: str, response: bytes) -> Iterator[Callable[[], bool]]:
    """Make a request that waits within the context; yields a function that returns its result."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(clients.request, name, response)
        assert eventually(lambda: bool(clients.aborted))
        yield lambda: result.result(10)


def test_small_body_is_not_counted() -> None:
    clients = Clients(ResponseLimits(total_bytes=0, min_bodies=1, uncounted_bytes=10))
    assert clients.request("a", body(11))
    assert all(clients.request(f"small {number}", body(10)) for number in range(5))
    assert not clients.request("b", body(11))


def test_total_is_enforced_until_a_response_was_sent() -> None:
    clients = Clients()
    assert [clients.request(name, body(250)) for name in "abcde"] == [True, True, True, True, False]
    clients.finish("e")
    assert not clients.request("f", body(11))
    clients.finish("b")
    assert not clients.request("g", body(251))
    assert clients.request("h", body(250))
    assert clients.aborted == []


def test_min_bodies_may_have_any_size() -> None:
    clients = Clients()
    assert [clients.request(name, body(5000)) for name in "abc"] == [True, True, False]
    clients.finish("a")
    assert clients.request("d", body(5000))


def test_shared_body_counts_once_until_the_last_client_is_done() -> None:
    clients, shared = Clients(), body(900)
    assert clients.request("a", shared)
    assert clients.request("b", body(100))
    assert all(clients.request(name, shared) for name in "cd")
    for name in "ac":
        clients.finish(name)
    assert not clients.request("e", body(11))
    clients.finish("d")
    assert clients.request("f", body(900))


def test_equal_bodies_count_separately() -> None:
    clients = Clients()
    assert [clients.request(name, body(400)) for name in "abc"] == [True, True, False]


def test_oldest_bodies_are_evicted_no_more_than_needed() -> None:
    clients = Clients()
    for name in "abcd":
        assert clients.request(name, body(250))
        clients.clock.advance(0.25)
    clients.clock.advance(0.5)  # of a: 1.5 s, of b: 1.25 s, of c: 1 s
    started = time.monotonic()
    assert clients.request("e", body(400))
    assert time.monotonic() - started < LIMITS.evict_seconds / 2, "returns as soon as they have ended"
    assert clients.aborted == ["a", "b"]


def test_nothing_is_evicted_early_or_in_vain() -> None:
    clients = Clients()
    assert clients.request("a", body(250))
    clients.clock.advance(0.75)
    assert all(clients.request(name, body(250)) for name in "bcd")
    assert not clients.request("e", body(250))
    clients.clock.advance(0.25)
    started = time.monotonic()
    assert not clients.request("f", body(500)), "b to d are young"
    assert time.monotonic() - started < LIMITS.evict_seconds / 2, "returns at once"
    assert clients.aborted == []
    assert clients.request("g", body(250))
    assert clients.aborted == ["a"]


def test_shared_body_ages_from_its_last_client() -> None:
    clients, shared = Clients(), body(900)
    assert clients.request("a", shared)
    assert clients.request("b", body(11))
    clients.clock.advance(0.5)
    assert clients.request("c", shared)
    clients.clock.advance(0.5)
    assert clients.request("d", body(80))
    assert not clients.request("e", body(900)), "c joined half a second ago"
    clients.clock.advance(0.5)
    assert clients.request("f", body(200))
    assert sorted(clients.aborted) == ["a", "b", "c"]


def test_response_that_does_not_end_is_not_waited_for_forever() -> None:
    clients = Clients(replace(LIMITS, min_bodies=1, min_seconds=0.0, evict_seconds=0.1))
    assert clients.request("a", body(1000), ends_on_abort=False)
    assert not clients.request("b", body(1000))
    assert clients.aborted == ["a"]


def test_waiting_body_gets_the_freed_memory() -> None:
    clients = Clients(replace(LIMITS, min_bodies=1, min_seconds=0.0))
    assert clients.request("a", body(1000), ends_on_abort=False)
    with waiting(clients, "c", body(1000)) as result:
        clients.finish("a")
        assert result()


def test_only_one_body_waits_and_keeps_the_freed_memory() -> None:
    clients = Clients(replace(LIMITS, min_bodies=1, min_seconds=0.0))
    first, second = body(600), body(400)
    assert clients.request("a", first, ends_on_abort=False)
    assert clients.request("b", second, ends_on_abort=False)
    with waiting(clients, "c", body(500)) as result:
        assert not clients.request("d", body(500)), "c is waiting"
        assert clients.aborted == ["a"]
        assert clients.request("e", second), "already counted"
        clients.finish("a")
        assert result()
    for name in "be":
        clients.finish(name)
    assert clients.request("f", body(500)), "none is waiting"


def test_memory_is_released_if_sending_fails() -> None:
    clients = Clients(replace(LIMITS, min_bodies=1))
    with pytest.raises(BrokenPipeError), clients.memory.reserve(body(1000), lambda: None):
        raise BrokenPipeError
    assert clients.request("a", body(1000))


@pytest.mark.parametrize("reserved", [True, False])
def test_body_is_not_referenced_after_the_context(reserved: bool) -> None:
    clients = Clients(replace(LIMITS, min_bodies=1))
    assert reserved or clients.request("other", body(1000))
    response = body(1000)
    before = sys.getrefcount(response)
    with clients.memory.reserve(response, lambda: None) as result:
        assert result is reserved
    assert sys.getrefcount(response) == before


def test_client_of_a_waiting_body_waits_with_it() -> None:
    clients = Clients(replace(LIMITS, min_bodies=1))
    assert clients.request("slow", body(900), ends_on_abort=False)
    clients.clock.advance(2)
    page = body(900)
    with waiting(clients, "one", page) as one, ThreadPoolExecutor(1) as pool:
        other = pool.submit(clients.request, "other", page)
        assert not eventually(other.done, within=0.2)
        clients.finish("slow")
        assert (one(), other.result(10)) == (True, True)
