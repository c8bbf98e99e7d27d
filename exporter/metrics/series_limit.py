"""Fair division of the series limit among pools, and selection of the users within a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile


def fair_shares(demands: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return max-min fair shares: demands below an equal share are met in full, the others split the rest.

    The result does not depend on the order of the demands.
    """
    shares: dict[str, int] = {}
    left = limit
    for position, name in enumerate(sorted(demands, key=lambda name: (demands[name], name))):
        shares[name] = min(demands[name], left // (len(demands) - position))
        left -= shares[name]
    return shares


def users_within(costs: Sequence[int], share: int) -> int:
    """Return the number of users, taken in order, whose series all fit within the share.

    `costs` are the numbers of series of the users.
    """
    return sum(1 for _ in takewhile(lambda total: total <= share, accumulate(costs)))
