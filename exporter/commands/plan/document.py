"""JSON form of a forecast; its schema, `docs/plan.schema.json`, is part of the public interface."""

from __future__ import annotations

from typing import Any

from exporter.commands.plan.assumptions import assumptions
from exporter.commands.plan.forecast import CategoryForecast, Failed, Forecast, PoolForecast, PoolSurvey

_DIGITS = 3


def document(forecast: Forecast) -> dict[str, Any]:
    """Return the whole forecast; durations in seconds, rates in requests per second."""
    return {
        "shard": str(forecast.shard),
        "holds": forecast.holds,
        "pools": [_pool(pool) for pool in forecast.pools],
        "failed": [_failed(failed) for failed in forecast.failed],
        "categories": [_category(category) for category in forecast.categories],
        "total": {
            "users": sum(pool.known.users for pool in forecast.pools),
            "calls": sum(pool.total_calls for pool in forecast.pools),
            "sweep_seconds": round(max((pool.seconds for pool in forecast.pools), default=0.0), _DIGITS),
            "series": forecast.series,
            "series_limit": forecast.series_limit,
        },
        "assumptions": list(assumptions(forecast)),
    }


def users_basis(known: PoolSurvey) -> str:
    """Return how the number of users was determined: `counted`, `estimated` or `at_most`."""
    if known.exact:
        return "counted"
    return "at_most" if known.at_most else "estimated"


def _pool(pool: PoolForecast) -> dict[str, Any]:
    known = pool.known
    return {
        "user_pool_id": known.settings.id,
        "aws_account_id": known.target.account_id,
        "aws_region": known.target.region,
        "device_tracking": known.tracking.value,
        "users": known.users,
        "users_basis": users_basis(known),
        "users_sampled": known.sample.users,
        "devices_per_user": round(known.sample.devices / known.sample.users, _DIGITS) if known.sample.users else None,
        "calls": {operation.value: count for operation, count in pool.calls.items()},
        "calls_total": pool.total_calls,
        "sweep_seconds": round(pool.seconds, _DIGITS),
        "refresh_interval_seconds": known.settings.refresh_interval,
        "keeps_interval": pool.keeps_interval,
        "detail": known.settings.detail.value,
        "series": {detail.value: count for detail, count in pool.series.items()},
    }


def _failed(failed: Failed) -> dict[str, Any]:
    return {"user_pool_id": failed.pool_id, "reason": failed.reason.value, "error": failed.error}


def _category(category: CategoryForecast) -> dict[str, Any]:
    return {
        "aws_account_id": category.target.account_id,
        "aws_region": category.target.region,
        "category": category.category.value,
        "rate": round(category.rate, _DIGITS),
        "quota": category.quota,
        "quota_provisioned": category.provisioned,
        "share_of_quota": round(category.rate / category.quota, _DIGITS),
        "average_rate": round(category.average, _DIGITS),
        "needed_rate": round(category.needed, _DIGITS),
        "suffices": category.suffices,
    }
