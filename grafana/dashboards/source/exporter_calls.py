"""The panels about calls to AWS."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import look, promql
from grafana.dashboards.source.look import colored, fixed, override
from grafana.dashboards.source.panels import Drawing, Frame, Query, Values, lines


def failed_calls() -> model.Panel:
    """Failed calls by reason."""
    failures = promql.own("cognito_exporter_aws_request_failures_total")
    return lines(
        Frame(
            22,
            "Failed calls by reason per $interval",
            "Failed attempts, retried ones included. Only reasons that occurred are shown.",
            12,
            7,
        ),
        [Query(f"sum by (reason) (increase({failures}[$interval])) > 0", "{{reason}}")],
        Values(decimals=0, overrides=colored(look.REASON_COLORS), none="No failed calls"),
        Drawing(stacked=True),
    )


def device_calls() -> model.Panel:
    """Calls that read devices, against their budget."""
    return _against_budget(
        Frame(
            31,
            "Reading devices: calls against the budget",
            "AdminListDevices, one call or more for each user, against what the exporter allows itself now (lowered "
            "while AWS throttles), and as a share of the quota UserResourceRead, which all callers of the account "
            "and Region have in common.",
            12,
            8,
        ),
        "AdminListDevices",
        "UserResourceRead",
    )


def list_calls() -> model.Panel:
    """Calls that list users, against their budget."""
    return _against_budget(
        Frame(
            32,
            "Listing users: calls against the budget",
            "ListUsers and ListUsersInGroup against what the exporter allows itself now, and as a share of the quota "
            "UserList, which all callers of the account and Region have in common.",
            12,
            8,
        ),
        "ListUsers|ListUsersInGroup",
        "UserList",
    )


def latency() -> model.Panel:
    """How long calls take."""
    buckets = (
        f"sum by (le) (rate({promql.own('cognito_exporter_aws_request_duration_seconds_bucket')}[$__rate_interval]))"
    )
    return lines(
        Frame(
            33,
            "Duration of calls",
            "How long calls take, failed ones included, without the wait for their turn. Gaps: no calls.",
            8,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {buckets})", "median"),
            Query(f"histogram_quantile(0.99, {buckets})", "99th percentile"),
        ],
        Values(look.SECONDS, overrides=colored({"median": "green", "99th percentile": "orange"})),
    )


def waiting() -> model.Panel:
    """Calls that wait for their turn."""
    waited = promql.own("cognito_exporter_rate_limit_wait_seconds_total")
    return lines(
        Frame(
            34,
            "Calls waiting for their turn",
            "Calls that wait at any moment, on average, by quota category. Waiting is how the budget is kept; all the "
            "time at the budget means that sweeps take as long as they may.",
            8,
            8,
        ),
        [Query(f"sum by (category) (rate({waited}[$__rate_interval]))", "{{category}}")],
        Values(look.NONE, decimals=1),
        Drawing(stacked=True),
    )


def operations() -> model.Panel:
    """Calls by operation."""
    requests = promql.own("cognito_exporter_aws_requests_total")
    return lines(
        Frame(35, "Calls by operation", "Calls that left the process, retries included.", 8, 8),
        [Query(f"sum by (operation) (rate({requests}[$__rate_interval])) > 0", "{{operation}}")],
        Values(look.PER_SECOND),
        Drawing(stacked=True),
    )


def _against_budget(frame: Frame, operations: str, category: str) -> model.Panel:
    requests = promql.own("cognito_exporter_aws_requests_total", f'operation=~"{operations}"')
    calls = f"sum(rate({requests}[$__rate_interval]))"
    of_category = f'category="{category}"'
    current = promql.own("cognito_exporter_rate_limit_current_requests_per_second", of_category)
    quota = promql.own("cognito_exporter_quota_requests_per_second", of_category)
    return lines(
        frame,
        [
            Query(calls, "calls"),
            Query(f"sum({current})", "budget now"),
            Query(f"{calls} / sum(max by (aws_account_id, aws_region) ({quota}))", "calls of the quota"),
        ],
        Values(
            look.PER_SECOND,
            overrides=[
                override("calls", color=fixed("blue"), custom__fillOpacity=20),
                override("budget now", color=fixed("orange")),
                override(
                    "calls of the quota",
                    unit=look.SHARE,
                    min=0,
                    max=1,
                    color=fixed("purple"),
                    custom__axisPlacement="right",
                    custom__lineStyle={"fill": "dash", "dash": [10, 10]},
                ),
            ],
        ),
    )
