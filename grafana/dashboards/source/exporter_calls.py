"""Panels on calls to AWS."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import promql, theme
from grafana.dashboards.source.panels import Frame, LineOptions, Query, ValueOptions, lines
from grafana.dashboards.source.theme import colored, fixed, override


def failed_calls() -> model.Panel:
    """Return the panel of failed calls by reason."""
    failures = promql.exporter_series("cognito_exporter_aws_request_failures_total")
    return lines(
        Frame(
            22,
            "Failed calls by reason per $interval",
            "Failed calls, including those that were retried. Only reasons that occurred are shown.",
            12,
            7,
        ),
        [Query(f"sum by (reason) (increase({failures}[$interval])) > 0", "{{reason}}")],
        ValueOptions(decimals=0, overrides=colored(theme.REASON_COLORS), none="No failed calls"),
        LineOptions(stacked=True),
    )


def device_calls() -> model.Panel:
    """Return the panel of calls that read devices, compared with the rate limit."""
    return _against_rate(
        Frame(
            31,
            "Reading devices: calls and rate limit",
            "AdminListDevices calls (at least one per user), the current rate limit (reduced while AWS throttles), and "
            "the calls as a share of the quota UserResourceRead, which all callers of the account and Region share.",
            12,
            8,
        ),
        "AdminListDevices",
        "UserResourceRead",
    )


def list_calls() -> model.Panel:
    """Return the panel of calls that list users, compared with the rate limit."""
    return _against_rate(
        Frame(
            32,
            "Listing users: calls and rate limit",
            "ListUsers and ListUsersInGroup calls, the current rate limit, and the calls as a share of the quota "
            "UserList, which all callers of the account and Region share.",
            12,
            8,
        ),
        "ListUsers|ListUsersInGroup",
        "UserList",
    )


def latency() -> model.Panel:
    """Return the panel of the duration of calls."""
    duration = promql.exporter_series("cognito_exporter_aws_request_duration_seconds_bucket")
    buckets = f"sum by (le) (rate({duration}[$__rate_interval]))"
    return lines(
        Frame(
            33,
            "Duration of calls",
            "Duration of calls, including failed ones, without the wait for the rate limiter. Gaps mean no calls.",
            8,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {buckets})", "median"),
            Query(f"histogram_quantile(0.99, {buckets})", "99th percentile"),
        ],
        ValueOptions(theme.SECONDS, overrides=colored({"median": "green", "99th percentile": "orange"})),
    )


def waiting() -> model.Panel:
    """Return the panel of calls that wait for the rate limiter."""
    waited = promql.exporter_series("cognito_exporter_rate_limit_wait_seconds_total")
    return lines(
        Frame(
            34,
            "Calls waiting for the rate limiter",
            "Mean number of calls that wait for the rate limiter, by quota category. Waiting is normal: it means that "
            "the rate limit determines the duration of sweeps.",
            8,
            8,
        ),
        [Query(f"sum by (category) (rate({waited}[$__rate_interval]))", "{{category}}")],
        ValueOptions(theme.NONE, decimals=1),
        LineOptions(stacked=True),
    )


def operations() -> model.Panel:
    """Return the panel of calls by operation."""
    requests = promql.exporter_series("cognito_exporter_aws_requests_total")
    return lines(
        Frame(35, "Calls by operation", "Calls that were sent, including retries.", 8, 8),
        [Query(f"sum by (operation) (rate({requests}[$__rate_interval])) > 0", "{{operation}}")],
        ValueOptions(theme.PER_SECOND),
        LineOptions(stacked=True),
    )


def _against_rate(frame: Frame, operations: str, category: str) -> model.Panel:
    requests = promql.exporter_series("cognito_exporter_aws_requests_total", f'operation=~"{operations}"')
    calls = f"sum(rate({requests}[$__rate_interval]))"
    of_category = f'category="{category}"'
    current = promql.exporter_series("cognito_exporter_rate_limit_current_requests_per_second", of_category)
    quota = promql.exporter_series("cognito_exporter_quota_requests_per_second", of_category)
    return lines(
        frame,
        [
            Query(calls, "calls"),
            Query(f"sum({current})", "rate limit"),
            Query(f"{calls} / sum(max by (aws_account_id, aws_region) ({quota}))", "share of the quota"),
        ],
        ValueOptions(
            theme.PER_SECOND,
            overrides=[
                override("calls", color=fixed("blue"), custom__fillOpacity=20),
                override("rate limit", color=fixed("orange")),
                override(
                    "share of the quota",
                    unit=theme.SHARE,
                    min=0,
                    max=1,
                    color=fixed("purple"),
                    custom__axisPlacement="right",
                    custom__lineStyle={"fill": "dash", "dash": [10, 10]},
                ),
            ],
        ),
    )
