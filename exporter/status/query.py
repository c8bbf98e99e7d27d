"""Query parameters of the status page: filter and refresh interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from exporter.model import PoolState
from exporter.status.document import Pool

DEFAULT_REFRESH, NO_REFRESH = "10", "off"

REFRESH_CHOICES = ("5", DEFAULT_REFRESH, "60", NO_REFRESH)
"""Values of `?refresh=`, in seconds."""

ATTENTION, OVERDUE = "attention", "overdue"

FILTERS = (ATTENTION, *(state.value for state in PoolState), OVERDUE)
"""Values of `?state=`; with several, a pool has to match one of them."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Validated query of the status page."""

    filters: tuple[str, ...] = ()
    """Values of `FILTERS`; none for all pools."""
    refresh: str = DEFAULT_REFRESH
    """Value of `REFRESH_CHOICES`."""

    def shows(self, pool: Pool) -> bool:
        """Return whether the pool matches the filters."""
        return not self.filters or any(matches(pool, name) for name in self.filters)

    def href(self) -> str:
        """Return the URL with this query, relative to the page."""
        parameters = [("state", name) for name in self.filters]
        if self.refresh != DEFAULT_REFRESH:
            parameters.append(("refresh", self.refresh))
        return f"?{urlencode(parameters)}" if parameters else "."


def needs_attention(pool: Pool) -> bool:
    """Return whether an operator should look at the pool."""
    return pool.state.is_down or pool.overdue or bool(pool.users_not_read)


def matches(pool: Pool, name: str) -> bool:
    """Return whether the pool matches one of `FILTERS`."""
    if name == ATTENTION:
        return needs_attention(pool)
    return pool.overdue if name == OVERDUE else pool.state == name


def parse_query(parameters: Mapping[str, Sequence[str]]) -> PageQuery:
    """Parse the query; unknown parameters are ignored.

    Raises `ValueError`, whose text says which values are valid.
    """
    filters = tuple(dict.fromkeys(parameters.get("state", ())))
    if not set(filters) <= set(FILTERS):
        raise ValueError(f"state: expected one of {', '.join(FILTERS)}")
    refresh = (parameters.get("refresh") or (DEFAULT_REFRESH,))[-1]
    if refresh not in REFRESH_CHOICES:
        raise ValueError(f"refresh: expected one of {', '.join(REFRESH_CHOICES)}")
    return PageQuery(filters, refresh)
