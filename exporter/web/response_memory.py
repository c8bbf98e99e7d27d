"""How much memory the answers may take, of all connections together, that clients have asked for and not read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

from exporter.clock import Clock

Abort = Callable[[], None]


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """What answers on their way may take; sizes in bytes, times in seconds."""

    total: int = 32 * 1024 * 1024
    """For all of them together; one that several clients read at the same time counts once."""
    always: int = 2
    """So many, at least one, may be on their way however large they are: a pair of Prometheus servers has to scrape."""
    small: int = 64 * 1024
    """Up to this size an answer is not counted: there are no more of them than connections."""
    patience: float = 1.0
    """Who has taken longer is given up when another needs the room."""
    letting_go: float = 0.5
    """Who is given up may take so long to end."""


@dataclass(slots=True)
class _InFlight:
    """A body on its way; `since` is when the last client joined."""

    body: bytes
    since: float = 0.0
    readers: list[Abort] = field(default_factory=list)


class ResponseMemoryLimit:
    """Grants room to answers; safe to call from many threads."""

    def __init__(self, clock: Clock, room: ResponseLimits | None = None) -> None:
        self._clock = clock
        self._room = room or ResponseLimits()
        self._held: dict[int, _InFlight] = {}  # by identity: what one rendering gave to several clients is there once
        self._changed = Condition()
        self._awaited: bytes | None = None

    @contextmanager
    def room_for(self, body: bytes, give_up: Abort) -> Iterator[bool]:
        """Hold room for a body as long as the context lasts; whether there is any.

        `give_up`, which another thread calls, must not wait, and has to make the context end soon.
        """
        if len(body) <= self._room.small:
            yield True
            return
        granted = self._granted(body, give_up)
        try:
            yield granted
        finally:
            if granted:
                self._release(body, give_up)

    def _granted(self, body: bytes, give_up: Abort) -> bool:
        with self._changed:
            if self._awaited is body:  # made once for all who share it: there is room for each of them, or for none
                self._changed.wait_for(lambda: self._awaited is not body, self._room.letting_go)
            if id(body) not in self._held and not self._fitted(body):
                return False
            held = self._held.setdefault(id(body), _InFlight(body))
            held.since = self._clock.monotonic()
            held.readers.append(give_up)
            return True

    def _release(self, body: bytes, give_up: Abort) -> None:
        with self._changed:
            held = self._held[id(body)]
            held.readers.remove(give_up)
            if not held.readers:
                del self._held[id(body)]
                self._changed.notify_all()

    def _fits(self, body: bytes) -> bool:
        return self._fits_beside([*self._held.values()], body)

    def _fits_beside(self, others: Sequence[_InFlight], body: bytes) -> bool:
        taken = sum(len(held.body) for held in others)
        return len(others) < self._room.always or taken + len(body) <= self._room.total

    def _fitted(self, body: bytes) -> bool:
        """Whether there is room, if need be because others are given up.

        One body at a time is waited for: it is not counted yet, and no other may take its room.
        """
        return self._awaited is None and (self._fits(body) or self._made_fit(body))

    def _made_fit(self, body: bytes) -> bool:
        leaving = self._to_leave_for(body)
        for give_up in [one for held in leaving for one in held.readers]:
            give_up()
        if not leaving:
            return False
        self._awaited = body
        try:
            return self._changed.wait_for(lambda: self._fits(body), self._room.letting_go)
        finally:
            self._awaited = None
            self._changed.notify_all()

    def _to_leave_for(self, body: bytes) -> list[_InFlight]:
        """Those who have taken the longest, as many as the body needs; nobody where that is not enough."""
        now = self._clock.monotonic()
        staying = sorted(self._held.values(), key=lambda held: held.since)
        leaving: list[_InFlight] = []
        while not self._fits_beside(staying, body):
            if now - staying[0].since < self._room.patience:
                return []
            leaving.append(staying.pop(0))
        return leaving
