"""The table of pools on the status page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from exporter.status import wording as words
from exporter.status.document import Pool, Sweep
from exporter.status.html import Html, joined, tag
from exporter.status.tables import Column, moment, table

_COLUMNS = (
    Column("Pool"),
    Column("State"),
    Column("Users", "number"),
    Column("Devices", "number"),
    Column("Sweep", "sweep"),
    Column("Last success"),
    Column("Trouble", "trouble"),
)


def pools_table(pools: Sequence[Pool], now: datetime) -> Html:
    """The pools in the order given; those of several accounts say whose they are."""
    several = len({pool.aws_account_id for pool in pools if pool.aws_account_id}) > 1
    rows = [
        (
            _pool(pool, with_account=several),
            tag("span", words.STATE_NAMES[pool.state], class_=f"state {pool.state.value}"),
            _users(pool),
            _devices(pool),
            _sweep(pool, now),
            _last_success(pool, now),
            _trouble(pool, now),
        )
        for pool in pools
    ]
    return table("The worst first", _COLUMNS, rows, class_="pools")


def _pool(pool: Pool, *, with_account: bool) -> Html:
    named = pool.name is not None
    return joined(
        tag("span", pool.name if named else pool.id, class_="name", id_=pool.id),
        tag("small", pool.id) if named else None,
        tag("small", f"account {pool.aws_account_id}") if with_account and pool.aws_account_id else None,
    )


def _users(pool: Pool) -> Html | None:
    if pool.users is not None:
        return tag("span", words.count(pool.users))
    if pool.estimated_users is None:
        return None
    return tag("small", f"about {words.count(pool.estimated_users)}")


def _devices(pool: Pool) -> Html | None:
    if pool.devices is None:
        return None
    remembered = tag("small", f"{words.count(pool.devices.remembered)} remembered")
    return joined(tag("span", words.count(pool.devices.total)), remembered)


def _sweep(pool: Pool, now: datetime) -> Html | None:
    if pool.sweep is not None:
        return _under_way(pool, pool.sweep)
    if pool.next_sweep is None:
        return None
    what = "retry" if pool.state.is_down else "next"
    due = moment(pool.next_sweep, f"{what} {words.ahead(pool.next_sweep, now)}")
    if pool.last_sweep_duration_seconds is None:
        return due
    return joined(due, tag("small", f"last took {words.duration(pool.last_sweep_duration_seconds)}"))


def _under_way(pool: Pool, sweep: Sweep) -> Html:
    ratio, left = sweep.progress_ratio, sweep.remaining_seconds
    facts = [f"{words.count(sweep.users_done)} read" if ratio is None else f"{ratio:.0%}"]
    if left is not None:
        facts.append(f"{words.duration(left)} left")
    bar = tag(
        "progress",
        max="1",
        value=None if ratio is None else str(ratio),
        aria_label=f"Sweep of {pool.name or pool.id}",
    )
    return joined(bar, tag("small", " · ".join(facts)))


def _last_success(pool: Pool, now: datetime) -> Html:
    late = tag("span", "overdue", class_="late") if pool.overdue else None
    if pool.last_sweep_success is None:
        return joined(tag("span", "never"), " ", late)
    return joined(moment(pool.last_sweep_success, words.ago(pool.last_sweep_success, now)), " ", late)


def _trouble(pool: Pool, now: datetime) -> Html | None:
    found = [_failure(pool, now), _users_not_read(pool)]
    return joined(*found) if any(found) else None


def _failure(pool: Pool, now: datetime) -> Html | None:
    failure, success = pool.last_failure, pool.last_sweep_success
    if failure is not None and (pool.state.is_down or success is None or success < failure.time):
        meaning = words.REASON_MEANINGS[failure.reason]
        when = moment(failure.time, words.ago(failure.time, now))
        return joined(tag("span", tag("code", failure.reason.value), " ", when), tag("small", meaning))
    return tag("small", "failed before this start") if pool.state.is_down else None


def _users_not_read(pool: Pool) -> Html | None:
    if not pool.users_not_read:
        return None
    reasons = sorted(pool.failures_since_start.users, key=pool.failures_since_start.users.__getitem__, reverse=True)
    told = f"{words.counted(pool.users_not_read, 'user')} not read"
    return joined(tag("span", told), tag("small", "reasons since the start: ", tag("code", ", ".join(reasons))))
