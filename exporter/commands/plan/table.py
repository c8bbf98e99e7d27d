"""Text form of a forecast, as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from exporter.commands.plan.assumptions import assumptions
from exporter.commands.plan.document import users_basis
from exporter.commands.plan.forecast import CategoryForecast, Forecast, PoolForecast
from exporter.config.settings import Detail
from exporter.config.values import canonical_duration

_BASIS = {"counted": "", "estimated": "~", "at_most": "<="}


def text(forecast: Forecast) -> str:
    """Return the pools, the quotas, the verdict and the assumptions."""
    sections = [
        _table(_POOLS, [_pool(pool) for pool in forecast.pools] + [_total(forecast)]) if forecast.pools else [],
        _table(_CATEGORIES, [_category(one) for one in forecast.categories]) if forecast.categories else [],
        [f"{failed.pool_id}: nothing is known of it: {failed.why}" for failed in forecast.failed],
        list(_verdict(forecast)),
        ["Assumed:", *(f"* {line}" for line in assumptions(forecast))],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


_POOLS = ("USER POOL", "USERS", "CALLS", "SWEEP", "INTERVAL", "KEPT", "DETAIL", "SERIES", "pool", "user", "device")
_CATEGORIES = ("ACCOUNT", "REGION", "CATEGORY", "RATE", "OF QUOTA", "SHARE", "ON AVERAGE", "NEEDED", "ENOUGH")
_WORDS = frozenset({"USER POOL", "DETAIL", "ACCOUNT", "REGION", "CATEGORY"})


def _pool(pool: PoolForecast) -> tuple[str, ...]:
    settings = pool.known.settings
    return (
        settings.id,
        f"{_BASIS[users_basis(pool.known)]}{pool.known.users:,}",
        f"{pool.total_calls:,}",
        _duration(pool.seconds),
        _duration(settings.refresh_interval),
        "yes" if pool.keeps_interval else "NO",
        settings.detail.value,
        f"{pool.series[settings.detail]:,}",
        *(f"{pool.series[detail]:,}" for detail in Detail),
    )


def _total(forecast: Forecast) -> tuple[str, ...]:
    pools = forecast.pools
    return (
        "in total",
        f"{sum(pool.known.users for pool in pools):,}",
        f"{sum(pool.total_calls for pool in pools):,}",
        _duration(max(pool.seconds for pool in pools)),
        "",
        "",
        "",
        f"{forecast.series:,}",
        *(f"{sum(pool.series[detail] for pool in pools):,}" for detail in Detail),
    )


def _category(one: CategoryForecast) -> tuple[str, ...]:
    return (
        one.target.account_id,
        one.target.region,
        one.category.value,
        f"{one.rate:g}/s",
        f"{one.quota:g}/s",
        f"{one.rate / one.quota:.0%}",
        f"{one.average:.3g}/s",
        f"{_up(one.needed):g}/s",
        "yes" if one.suffices else "NO",
    )


def _verdict(forecast: Forecast) -> Iterator[str]:
    late = [pool for pool in forecast.pools if not pool.keeps_interval]
    if late:
        yield f"{len(late)} of {len(forecast.pools)} pools cannot keep refresh_interval."
    for one in forecast.categories:
        if not one.suffices:
            yield _remedy(one)
        elif one.rate > one.quota:
            yield _beyond_quota(one)
    if forecast.series > forecast.series_limit:
        yield f"{forecast.series:,} series are more than limits.series, {forecast.series_limit:,}: some are left out."
    if not forecast.pools:
        yield "There is nothing to forecast: nothing is known of any pool."
    elif forecast.holds:
        whose = "Every interval of the pools above" if forecast.failed else "Every interval"
        yield f"{whose} is kept; {forecast.series:,} series of limits.series, {forecast.series_limit:,}."


def _remedy(one: CategoryForecast) -> str:
    where = f"{one.target.account_id} {one.target.region}: limits.rate.{one.category.value}"
    needed = f"{where} of {_up(one.needed):g} would keep every interval"
    if one.needed > one.quota:
        return f"{needed}, and that is more than the quota of {one.quota:g}: lengthen refresh_interval."
    return f"{needed}, {one.needed / one.quota:.0%} of the quota."


def _beyond_quota(one: CategoryForecast) -> str:
    where = f"{one.target.account_id} {one.target.region}: limits.rate.{one.category.value}"
    return (
        f"{where} of {one.rate:g} is more than AWS's default of {one.quota:g}: unless more was bought, AWS throttles."
    )


def _up(rate: float) -> float:
    """Round up to a tenth, so that the recommended rate is high enough."""
    return math.ceil(rate * 10) / 10


def _duration(seconds: float) -> str:
    return canonical_duration(math.ceil(seconds) * 1000)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: words aligned to the left, numbers to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if name in _WORDS else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
