"""Forecast as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.commands.plan.forecast import AT_MOST, COUNTED, ESTIMATED, Document
from exporter.config.settings import Detail
from exporter.config.values import canonical_duration

_BASIS_MARKS = {COUNTED: "", ESTIMATED: "~", AT_MOST: "<="}

_POOL_COLUMNS: dict[str, Callable[[Document], str]] = {
    "USER POOL": lambda pool: str(pool["user_pool_id"]),
    "USERS": lambda pool: f"{_BASIS_MARKS[pool['users_basis']]}{pool['users']:,}",
    "CALLS": lambda pool: f"{pool['calls_total']:,}",
    "SWEEP": lambda pool: _duration(pool["sweep_seconds"]),
    "INTERVAL": lambda pool: _duration(pool["refresh_interval_seconds"]),
    "ON TIME": lambda pool: "yes" if pool["keeps_interval"] else "NO",
    "DETAIL": lambda pool: str(pool["detail"]),
    "SERIES": lambda pool: f"{pool['series'][pool['detail']]:,}",
    "AT POOL": lambda pool: f"{pool['series'][Detail.POOL]:,}",
    "AT USER": lambda pool: f"{pool['series'][Detail.USER]:,}",
    "AT DEVICE": lambda pool: f"{pool['series'][Detail.DEVICE]:,}",
}
_CATEGORY_COLUMNS: dict[str, Callable[[Document], str]] = {
    "ACCOUNT": lambda category: str(category["aws_account_id"]),
    "REGION": lambda category: str(category["aws_region"]),
    "CATEGORY": lambda category: str(category["category"]),
    "RATE": lambda category: f"{category['rate']:g}/s",
    "QUOTA": lambda category: f"{category['quota']:g}/s",
    "SHARE": lambda category: f"{category['share_of_quota']:.0%}",
    "AVERAGE": lambda category: f"{category['average_rate']:.3g}/s",
    "NEEDED": lambda category: f"{_round_up(category['needed_rate']):g}/s",
    "SUFFICIENT": lambda category: "yes" if category["suffices"] else "NO",
}
_LEFT_ALIGNED = frozenset({"USER POOL", "DETAIL", "ACCOUNT", "REGION", "CATEGORY"})


def text(document: Document) -> str:
    """Return the tables, the failed pools, the verdict and the assumptions."""
    hint = "run check-config --aws for details"
    sections = [
        _table(_POOL_COLUMNS, document["pools"], _total(document)),
        _table(_CATEGORY_COLUMNS, document["categories"]),
        [f"{failed['user_pool_id']}: could not be read: {failed['error']}; {hint}" for failed in document["failed"]],
        list(_verdict(document)),
        ["Assumptions:", *(f"* {line}" for line in document["assumptions"])],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _total(document: Document) -> list[str]:
    total = document["total"]
    series = [sum(pool["series"][detail] for pool in document["pools"]) for detail in Detail]
    return [
        *("total", f"{total['users']:,}", f"{total['calls']:,}", _duration(total["sweep_seconds"]), "", "", ""),
        *(f"{count:,}" for count in (total["series"], *series)),
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


def _table(columns: Mapping[str, Callable[[Document], str]], rows: Sequence[Document], *more: list[str]) -> list[str]:
    """Return the lines of a table: words aligned to the left, numbers to the right; no lines without rows."""
    if not rows:
        return []
    lines = [list(columns), *([cell(row) for cell in columns.values()] for row in rows), *more]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligns = [str.ljust if heading in _LEFT_ALIGNED else str.rjust for heading in columns]
    return [
        "  ".join(align(cell, width) for align, cell, width in zip(aligns, line, widths, strict=True)).rstrip()
        for line in lines
    ]
