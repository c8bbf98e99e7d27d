"""Blocks of users of one pool, whose rendered series are cached until one of the users changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from operator import attrgetter

from exporter.collect.snapshot import UserRow
from exporter.metrics.detail_text import Text

USERS_PER_BLOCK = 11
"""Approximate number of users per block. A change of one user rerenders its block; each block adds overhead."""


@dataclass(slots=True)
class Block:
    """Consecutive users of one pool in hash order."""

    rows: tuple[UserRow, ...]
    costs: tuple[int, ...] | None = None
    """Number of series of each user; None until counted."""
    texts: dict[str, Text] | None = None
    """Lines by metric name, without metrics that have no lines; None until rendered."""


def split_into_blocks(rows: tuple[UserRow, ...], known: Sequence[Block] = ()) -> tuple[Block, ...]:
    """Split rows, sorted in hash order, into blocks. Known blocks whose users did not change are reused.

    The first users of the known blocks remain the block boundaries, so that adding or removing a user changes only
    one block. If the rows are fewer than a quarter of the known blocks' nominal capacity, all blocks are created
    from scratch.
    """
    if len(rows) < len(known) * USERS_PER_BLOCK // 4:
        known = ()
    blocks: list[Block] = []
    start = 0
    for number, block in enumerate(known, start=1):
        end = start + len(block.rows)
        # Tuples compare their elements by identity first, so that comparing unchanged rows is cheap.
        if rows[start:end] == block.rows:
            blocks.append(block)
        else:
            end = len(rows)
            if number < len(known):
                end = bisect_left(rows, known[number].rows[0].order, lo=start, key=attrgetter("order"))
            blocks += _new_blocks(rows[start:end])
        start = end
    return (*blocks, *_new_blocks(rows[start:]))


def _new_blocks(rows: tuple[UserRow, ...]) -> Iterator[Block]:
    """Yield new blocks: one with all rows, or blocks of USERS_PER_BLOCK if there are more than twice as many rows."""
    size = USERS_PER_BLOCK if len(rows) > USERS_PER_BLOCK * 2 else max(1, len(rows))
    for start in range(0, len(rows), size):
        yield Block(rows[start : start + size])


def fair_shares(demands: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return max-min fair shares: demands below an equal share are met in full, the others split the rest.

    The result does not depend on the order of the demands.
    """
    shares: dict[str, int] = {}
    remaining = limit
    for position, name in enumerate(sorted(demands, key=lambda name: (demands[name], name))):
        shares[name] = min(demands[name], remaining // (len(demands) - position))
        remaining -= shares[name]
    return shares


def take_within(blocks: Sequence[Block], share: int) -> tuple[list[Block], int]:
    """Return the counted blocks that fit within the share, and their number of series.

    The last block is cut after the last user whose series all fit.
    """
    taken: list[Block] = []
    total = 0
    for block in blocks:
        costs = block.costs or ()
        cost = sum(costs)
        if total + cost > share:
            fitting = list(takewhile(lambda subtotal: subtotal <= share, accumulate(costs, initial=total)))
            if len(fitting) > 1:
                taken.append(Block(block.rows[: len(fitting) - 1]))
            return taken, fitting[-1]
        total += cost
        taken.append(block)
    return taken, total
