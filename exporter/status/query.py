"""What a visitor of the status page has chosen, as it stands in the query: which pools, and how often it loads anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from exporter.model import PoolState
from exporter.status.document import Pool

REFRESH_SECONDS = (5, 10, 60)
DEFAULT_REFRESH_SECONDS = 10

ATTENTION, OVERDUE = "attention", "overdue"

CHOICES = (ATTENTION, *(state.value for state in PoolState), OVERDUE)
"""What `?state=` takes; several are one or the other."""

_OFF = "off"


@dataclass(frozen=True, slots=True)
class View:
    """What was chosen; nothing, unless told."""

    states: tuple[str, ...] = ()
    """Of CHOICES; none is every pool."""
    refresh_seconds: int | None = DEFAULT_REFRESH_SECONDS
    """None: the page stays as it is."""

    def shows(self, pool: Pool) -> bool:
        """Whether the pool is among those chosen."""
        return not self.states or any(belongs(pool, choice) for choice in self.states)

    def address(self) -> str:
        """The query that chooses this, relative to the page."""
        chosen = [("state", state) for state in self.states]
        if self.refresh_seconds != DEFAULT_REFRESH_SECONDS:
            chosen.append(("refresh", _written(self.refresh_seconds)))
        return f"?{urlencode(chosen)}" if chosen else "."


def needs_attention(pool: Pool) -> bool:
    """Whether somebody should look at the pool."""
    return pool.state.is_down or pool.overdue or bool(pool.users_not_read)


def belongs(pool: Pool, choice: str) -> bool:
    """Whether the pool is what one of CHOICES means."""
    if choice == ATTENTION:
        return needs_attention(pool)
    return pool.overdue if choice == OVERDUE else pool.state == choice


def parse_view(query: Mapping[str, Sequence[str]]) -> View:
    """What the query chooses; parameters of others are passed over.

    Raises `ValueError`, whose text says what was expected.
    """
    states = tuple(query.get("state", ()))
    for state in states:
        if state not in CHOICES:
            raise ValueError(f"state: expected one of {', '.join(CHOICES)}")
    return View(tuple(dict.fromkeys(states)), _refresh(query.get("refresh", ())))


def _refresh(values: Sequence[str]) -> int | None:
    if not values:
        return DEFAULT_REFRESH_SECONDS
    choices = {_written(seconds): seconds for seconds in (*REFRESH_SECONDS, None)}
    if values[-1] not in choices:
        raise ValueError(f"refresh: expected one of {', '.join(choices)}")
    return choices[values[-1]]


def _written(seconds: int | None) -> str:
    return _OFF if seconds is None else str(seconds)
