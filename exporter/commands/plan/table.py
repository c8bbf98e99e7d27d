"""Forecast as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from exporter.commands.plan.forecast import AT_MOST, COUNTED, ESTIMATED, Document
from exporter.config.settings import Detail
from exporter.config.values import canonical_duration

_POOL_COLUMNS = (
    *("USER POOL", "USERS", "CALLS", "SWEEP", "INTERVAL", "ON TIME", "DETAIL", "SERIES"),
    *("AT POOL", "AT USER", "AT DEVICE"),
)
_CATEGORY_COLUMNS = ("ACCOUNT", "REGION", "CATEGORY", "RATE", "QUOTA", "SHARE", "AVERAGE", "NEEDED", "SUFFICIENT")
_LEFT_ALIGNED = frozenset({"USER POOL", "DETAIL", "ACCOUNT", "REGION", "CATEGORY"})
_BASIS_MARKS = {COUNTED: "", ESTIMATED: "~", AT_MOST: "<="}


def text(document: Document) -> str:
    """Return the tables, the failed pools, the verdict and the assumptions."""
    pools = document["pools"]
    sections = [
        _table(_POOL_COLUMNS, [*map(_pool, pools), _total(document)] if pools else []),
        _table(_CATEGORY_COLUMNS, [*map(_category, document["categories"])]),
        [
            f"{failed['user_pool_id']}: could not be read: {failed['error']}; run check-config --aws for details"
            for failed in document["failed"]
        ],
        list(_verdict(document)),
        ["Assumptions:", *(f"* {line}" for line in document["assumptions"])],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _pool(pool: Document) -> list[str]:
    return [
        pool["user_pool_id"],
        f"{_BASIS_MARKS[pool['users_basis']]}{pool['users']:,}",
        f"{pool['calls_total']:,}",
        _duration(pool["sweep_seconds"]),
        _duration(pool["refresh_interval_seconds"]),
        "yes" if pool["keeps_interval"] else "NO",
        pool["detail"],
        f"{pool['series'][pool['detail']]:,}",
        *(f"{pool['series'][detail]:,}" for detail in Detail),
    ]


def _total(document: Document) -> list[str]:
    total = document["total"]
    return [
        "total",
        f"{total['users']:,}",
        f"{total['calls']:,}",
        _duration(total["sweep_seconds"]),
        *("", "", ""),
        f"{total['series']:,}",
        *(f"{sum(pool['series'][detail] for pool in document['pools']):,}" for detail in Detail),
    ]


def _category(category: Document) -> list[str]:
    return [
        category["aws_account_id"],
        category["aws_region"],
        category["category"],
        f"{category['rate']:g}/s",
        f"{category['quota']:g}/s",
        f"{category['share_of_quota']:.0%}",
        f"{category['average_rate']:.3g}/s",
        f"{_round_up(category['needed_rate']):g}/s",
        "yes" if category["suffices"] else "NO",
    ]


def _verdict(document: Document) -> Iterator[str]:
    pools, total = document["pools"], document["total"]
    if late := sum(not pool["keeps_interval"] for pool in pools):
        yield f"{late} of {len(pools)} pools cannot keep refresh_interval."
    for category in document["categories"]:
        where = f"{category['aws_account_id']} {category['aws_region']}"
        key = f"limits.rate.{category['category']}"
        needed, quota = category["needed_rate"], category["quota"]
        if category["suffices"] and category["rate"] > quota:
            yield f"{where}: {key} of {category['rate']:g} exceeds the default quota of {quota:g}: expect throttling."
        elif not category["suffices"]:
            share = f"{needed / quota:.0%} of the quota"
            remedy = "increase refresh_interval" if needed > quota else "increase the rate"
            yield f"{where}: {key} of {_round_up(needed):g} is needed to keep every interval, {share}: {remedy}."
    if total["series"] > total["series_limit"]:
        yield f"{total['series']:,} series exceed limits.series ({total['series_limit']:,}); some are dropped."
    if not pools:
        yield "Nothing to forecast: no pool could be read."
    elif document["holds"]:
        subject = "All pools in the table" if document["failed"] else "All pools"
        yield f"{subject} keep refresh_interval, with {total['series']:,} of {total['series_limit']:,} series."


def _round_up(rate: float) -> float:
    """Round up to a tenth, so that the recommended rate is high enough."""
    return math.ceil(rate * 10) / 10


def _duration(seconds: float) -> str:
    return canonical_duration(math.ceil(seconds) * 1000)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table: words aligned to the left, numbers to the right; no lines without rows."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [
            cell.ljust(width) if column in _LEFT_ALIGNED else cell.rjust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        ]
        for line in lines
    ]
    return ["  ".join(cells).rstrip() for cells in aligned] if len(lines) > 1 else []
