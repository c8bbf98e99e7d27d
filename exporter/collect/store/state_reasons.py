"""Explanation of a pool's state for the debug log."""

from __future__ import annotations

import structlog

from exporter.collect.snapshot import PoolView
from exporter.config.values import canonical_duration
from exporter.model import PoolState

log = structlog.get_logger()


def explain(view: PoolView, *, read_once: bool, silent: float | None) -> None:
    """Log the state of a pool and its explanation. The arguments are those of `explanation`.

    The reason of a failure is missing if the failure happened before a restart, because it is not stored.
    """
    failure = view.last_failure if not view.up else None
    fields = {
        "user_pool_id": view.settings.id,
        "state": view.state.value,
        "reason": failure and failure.reason.value,
        "explanation": explanation(view, read_once=read_once, silent=silent),
    }
    log.debug("pool state", **{name: value for name, value in fields.items() if value is not None})


def explanation(view: PoolView, *, read_once: bool, silent: float | None) -> str:
    """Return an explanation of the pool's state and of the effect on its data.

    `read_once` is True if a sweep has ever completed. `silent` is the number of seconds without a response from the
    pool, None if it responds.
    """
    match view.state:
        case PoolState.MISSING:
            return "the pool does not exist (DescribeUserPool); its data is deleted"
        case PoolState.DENIED:
            return f"IAM denied a request of the last sweep; {_data(view, read_once=read_once, silent=silent)}"
        case PoolState.FAILING:
            return f"the last sweep failed; {_data(view, read_once=read_once, silent=silent)}"
        case PoolState.TRACKING_OFF:
            return "the pool does not remember devices; its users are not read and no data is shown"
        case PoolState.UNREAD:
            return _unread(view)
        case PoolState.OK:
            return _ok(view)


def _data(view: PoolView, *, read_once: bool, silent: float | None) -> str:
    if not read_once:
        return "no sweep has completed yet, no data to show"
    limit = _duration(view.settings.max_staleness)
    silence = f"no response for {_duration(silent or 0)}, max_staleness {limit}"
    return f"{silence}: data withdrawn" if view.data is None else f"{silence}: data still shown"


def _unread(view: PoolView) -> str:
    contact = "the pool has not responded yet" if view.description is None else "the pool responds"
    return f"{contact}; no sweep has completed and nothing was restored, no data is shown"


def _ok(view: PoolView) -> str:
    if view.users_not_read:
        return f"every user was processed; {view.users_not_read} could not be read and keep their last values"
    if view.last_success is None:
        return "every user was processed, but no sweep has read all of them"
    return "the last completed sweep read every user"


def _duration(seconds: float) -> str:
    """Format a duration in milliseconds below one minute, and in whole seconds above."""
    return canonical_duration(int(seconds * 1000) if seconds < 60 else int(seconds) * 1000)
