from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from exporter.web.response_memory import ResponseLimits, ResponseMemoryLimit
from tests.fakes import ManualClock, eventually

ROOM = ResponseLimits(total=1000, always=2, small=10, patience=1.0, letting_go=60.0)


def body(size: int) -> bytes:
    """One of its own, which equal ones are not."""
    return bytes(bytearray(size))


def nothing() -> None:
    """What is called in vain."""


class Site:
    """Who holds room, each until it is given up or let go."""

    def __init__(self, room: ResponseLimits = ROOM) -> None:
        self.clock = ManualClock()
        self.outbox = ResponseMemoryLimit(self.clock, room)
        self.given_up: list[str] = []
        self._stacks: dict[str, ExitStack] = {}

    def asks(self, name: str, answer: bytes, *, lets_go: bool = True) -> bool:
        """Whether there is room for an answer; who `lets_go` does so as soon as told."""
        stack = ExitStack()

        def give_up() -> None:
            self.given_up.append(name)
            if lets_go:
                threading.Thread(target=stack.close).start()

        granted = stack.enter_context(self.outbox.room_for(answer, give_up))
        self._stacks[name] = stack
        return granted

    def is_done(self, name: str) -> None:
        self._stacks.pop(name).close()


@contextmanager
def waiting(site: Site, name: str, answer: bytes) -> Iterator[Callable[[], bool]]:
    """Ask in a thread, which waits within the context; gives what comes of it."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(site.asks, name, answer)
        assert eventually(lambda: bool(site.given_up))
        yield lambda: asked.result(10)


def test_what_is_small_is_always_sent() -> None:
    site = Site(ResponseLimits(total=0, always=1, small=10))
    assert site.asks("a", body(11))
    assert all(site.asks(f"small {number}", body(10)) for number in range(5))
    assert not site.asks("b", body(11))


def test_there_is_room_up_to_the_total_and_again_when_an_answer_was_sent() -> None:
    site = Site()
    assert [site.asks(name, body(250)) for name in "abcde"] == [True, True, True, True, False]
    site.is_done("e")
    assert not site.asks("f", body(11))
    site.is_done("b")
    assert not site.asks("g", body(251))
    assert site.asks("h", body(250))
    assert site.given_up == []


def test_a_few_are_sent_however_large() -> None:
    site = Site()
    assert [site.asks(name, body(5000)) for name in "abc"] == [True, True, False]
    site.is_done("a")
    assert site.asks("d", body(5000))


def test_an_answer_that_several_read_counts_once_and_until_the_last_has_it() -> None:
    site, shared = Site(), body(900)
    assert site.asks("a", shared)
    assert site.asks("b", body(100))
    assert all(site.asks(name, shared) for name in "cd")
    for name in "ac":
        site.is_done(name)
    assert not site.asks("e", body(11))
    site.is_done("d")
    assert site.asks("f", body(900))


def test_answers_that_are_equal_and_not_the_same_count_each() -> None:
    site = Site()
    assert [site.asks(name, body(400)) for name in "abc"] == [True, True, False]


def test_who_reads_too_slowly_makes_room_the_oldest_first_and_no_more_than_needed() -> None:
    site = Site()
    for name in "abcd":
        assert site.asks(name, body(250))
        site.clock.advance(0.25)
    site.clock.advance(0.5)  # of a: 1.5 s, of b: 1.25 s, of c: 1 s
    started = time.monotonic()
    assert site.asks("e", body(400))
    assert time.monotonic() - started < ROOM.letting_go / 2, "no longer than they take to end"
    assert site.given_up == ["a", "b"]


def test_nobody_is_given_up_before_the_time_nor_where_it_would_not_do() -> None:
    site = Site()
    assert site.asks("a", body(250))
    site.clock.advance(0.75)
    assert all(site.asks(name, body(250)) for name in "bcd")
    assert not site.asks("e", body(250))
    site.clock.advance(0.25)
    started = time.monotonic()
    assert not site.asks("f", body(500)), "b to d are young"
    assert time.monotonic() - started < ROOM.letting_go / 2, "at once"
    assert site.given_up == []
    assert site.asks("g", body(250))
    assert site.given_up == ["a"]


def test_everybody_who_reads_the_answer_that_has_to_go_is_given_up_by_the_last_who_joined() -> None:
    site, shared = Site(), body(900)
    assert site.asks("a", shared)
    assert site.asks("b", body(11))
    site.clock.advance(0.5)
    assert site.asks("c", shared)
    site.clock.advance(0.5)
    assert site.asks("d", body(80))
    assert not site.asks("e", body(900)), "c joined half a second ago"
    site.clock.advance(0.5)
    assert site.asks("f", body(200))
    assert sorted(site.given_up) == ["a", "b", "c"]


def test_who_does_not_let_go_is_waited_for_and_not_for_ever() -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10, patience=0.0, letting_go=0.1))
    assert site.asks("a", body(1000), lets_go=False)
    assert not site.asks("b", body(1000))
    assert site.given_up == ["a"]


def test_who_waits_gets_the_room_when_it_is_let_go() -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10, patience=0.0, letting_go=60.0))
    assert site.asks("a", body(1000), lets_go=False)
    with waiting(site, "c", body(1000)) as outcome:
        site.is_done("a")
        assert outcome()


def test_one_at_a_time_waits_and_gets_the_room_that_it_waited_for() -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10, patience=0.0, letting_go=60.0))
    first, second = body(600), body(400)
    assert site.asks("a", first, lets_go=False)
    assert site.asks("b", second, lets_go=False)
    with waiting(site, "c", body(500)) as outcome:
        assert not site.asks("d", body(500)), "c waits"
        assert site.given_up == ["a"]
        assert site.asks("e", second), "what is there already needs no room"
        site.is_done("a")
        assert outcome()
    for name in "be":
        site.is_done(name)
    assert site.asks("f", body(500)), "nobody waits any more"


def test_room_is_given_back_when_sending_fails() -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10))
    with pytest.raises(BrokenPipeError), site.outbox.room_for(body(1000), nothing):
        raise BrokenPipeError
    assert site.asks("a", body(1000))


@pytest.mark.parametrize("granted", [True, False])
def test_nothing_is_kept_of_an_answer_once_it_was_sent_or_refused(granted: bool) -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10))
    assert granted or site.asks("other", body(1000))
    answer = body(1000)
    before = sys.getrefcount(answer)
    with site.outbox.room_for(answer, nothing) as outcome:
        assert outcome is granted
    assert sys.getrefcount(answer) == before


def test_who_shares_the_answer_that_is_waited_for_waits_with_it() -> None:
    site = Site(ResponseLimits(total=1000, always=1, small=10, patience=1.0, letting_go=60.0))
    assert site.asks("slow", body(900), lets_go=False)
    site.clock.advance(2)
    page = body(900)
    with waiting(site, "one", page) as one, ThreadPoolExecutor(1) as pool:
        other = pool.submit(site.asks, "other", page)
        assert not eventually(other.done, within=0.2)
        site.is_done("slow")
        assert (one(), other.result(10)) == (True, True)
