"""Which users stay when there are more series than the limit: a fair share for each pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile


def fair_shares(demands: Mapping[str, int], limit: int) -> dict[str, int]:
    """Max-min fair shares: who wants less than an equal part gets it all, the others split the rest.

    The same demands give the same shares in whatever order they come.
    """
    shares: dict[str, int] = {}
    left = limit
    for position, name in enumerate(sorted(demands, key=lambda name: (demands[name], name))):
        shares[name] = min(demands[name], left // (len(demands) - position))
        left -= shares[name]
    return shares


def users_within(costs: Sequence[int], share: int) -> int:
    """How many users, taken in order, fit whole into the share; `costs` are their series."""
    return sum(1 for _ in takewhile(lambda total: total <= share, accumulate(costs)))
