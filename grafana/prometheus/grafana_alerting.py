"""Grafana-managed form of some alerts, for installations without an Alertmanager.

The alerts query the exporter's own series, so they do not need the recording rules. Names, texts, thresholds and
durations are those of the Prometheus alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grafana.prometheus.alerts import Alert, Alerts
from grafana.prometheus.recording_rules import DEPLOYMENT, POOL
from grafana.prometheus.render import alert_annotations
from grafana.prometheus.thresholds import Thresholds

DATASOURCE_UID = "prometheus"
"""UID of the data source in grafana/provisioning/datasources."""

FOLDER = "Cognito devices"
GROUP = "cognito-device-exporter"
ORGANIZATION = 1

_EXPRESSIONS = "__expr__"
_LOOKBACK_SECONDS = 600


@dataclass(frozen=True, slots=True)
class GrafanaQuery:
    """Query to Prometheus, and the limit above which its value raises an alert."""

    expr: str
    limit: float
    no_data_state: str = "KeepLast"
    """Alert state if the query returns no data. By default, the query returns a value for every pool, so no data means
    that a scrape was missed or the exporter is absent, which has its own alert."""


def provisioning_file(alerts: Alerts) -> dict[str, Any]:
    """Return the content of the Grafana provisioning file."""
    queries = grafana_queries(alerts.thresholds)
    wanted = (*alerts.device_alerts(), *alerts.exporter_alerts())
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": ORGANIZATION,
                "name": GROUP,
                "folder": FOLDER,
                "interval": "1m",
                "rules": [_rule(alert, queries[alert.name]) for alert in wanted if alert.name in queries],
            },
        ],
    }


def grafana_queries(thresholds: Thresholds) -> dict[str, GrafanaQuery]:
    """Return the query of each Grafana-managed alert by alert name."""
    threshold = f'threshold="{thresholds.stale_after}"'
    devices = f"sum by ({POOL}) (cognito_user_pool_devices)"
    stale = f"sum by ({POOL}, threshold) (cognito_user_pool_stale_devices{{{threshold}}})"
    remembered = (
        f'sum by ({POOL}, threshold) (cognito_user_pool_stale_devices{{{threshold}, remembered_status="remembered"}})'
    )
    bypass = f'max by ({POOL}) (cognito_user_pool_info{{mfa_bypass="true"}})'
    many = f'cognito_user_pool_devices_per_user_bucket{{le=~"{thresholds.devices_per_user}(\\\\.0)?"}}'
    before = f"{devices.removesuffix(')')} offset 1d)"
    grown = f"{devices} - {before}"
    return {
        "CognitoDeviceStaleShareHigh": GrafanaQuery(
            _with_pool_name(
                f"{stale} / on ({POOL}) group_left () ({devices} > 0)\n"
                f"and on ({POOL})\n{devices} >= {thresholds.stale_share_least_devices}"
            ),
            thresholds.stale_share,
        ),
        "CognitoDeviceStaleCountHigh": GrafanaQuery(_with_pool_name(stale), thresholds.stale_count),
        "CognitoDeviceMfaBypassStale": GrafanaQuery(
            _with_pool_name(f"{remembered}\nand on ({POOL})\n{bypass}"), thresholds.mfa_bypass_count
        ),
        "CognitoDeviceTooManyPerUser": GrafanaQuery(
            _with_pool_name(f"sum by ({POOL}) (cognito_user_pool_devices_per_user_gcount)\n- sum by ({POOL}) ({many})"),
            thresholds.users_with_many_devices,
        ),
        "CognitoDeviceSuddenGrowth": GrafanaQuery(
            _with_pool_name(f"{grown}\nand on ({POOL})\n{grown} > {thresholds.growth_share} * {before}"),
            thresholds.growth_least_devices,
            no_data_state="OK",  # the query returns only pools that grow
        ),
        "CognitoDeviceExporterAbsent": GrafanaQuery(
            f"(\n  group by ({DEPLOYMENT}) (last_over_time(cognito_exporter_build_info[1d]))\n"
            f"  unless on ({DEPLOYMENT})\n  group by ({DEPLOYMENT}) (cognito_exporter_build_info)\n)\n"
            "or\nabsent_over_time(cognito_exporter_build_info[1d])",
            0,
            no_data_state="OK",  # the query returns only absent exporters
        ),
    }


def _with_pool_name(expr: str) -> str:
    """Join the pool name to an expression, or the pool id if the name is not known."""
    inner = "\n".join(f"  {line}" for line in expr.splitlines())
    return (
        f"(\n{inner}\n)\n* on ({POOL}) group_left (user_pool_name)\n"
        f"topk by ({POOL}) (1,\n"
        f"  count by ({POOL}, user_pool_name) (cognito_user_pool_info)\n"
        f"  or on ({POOL})\n"
        f'  label_replace(0 * max by ({POOL}) (cognito_user_pool_up), "user_pool_name", "$1", "user_pool_id", "(.+)")\n'
        f") ^ 0"
    )


def _rule(alert: Alert, query: GrafanaQuery) -> dict[str, Any]:
    durations = {"for": alert.for_duration, "keepFiringFor": alert.keep_firing_for}
    return {
        "uid": alert.name.lower(),
        "title": alert.name,
        "condition": "B",
        "data": [_query(query.expr), _threshold(query.limit)],
        "noDataState": query.no_data_state,
        "execErrState": "Error",
        **{key: duration for key, duration in durations.items() if duration is not None},
        "annotations": {key: _template(text) for key, text in alert_annotations(alert).items()},
        "labels": {"severity": alert.severity.value},
        "isPaused": False,
    }


def _query(expr: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "datasourceUid": DATASOURCE_UID,
        "relativeTimeRange": {"from": _LOOKBACK_SECONDS, "to": 0},
        "model": {"refId": "A", "expr": expr, "instant": True, "range": False, "editorMode": "code"},
    }


def _threshold(limit: float) -> dict[str, Any]:
    return {
        "refId": "B",
        "datasourceUid": _EXPRESSIONS,
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": {
            "refId": "B",
            "type": "threshold",
            "datasource": {"type": _EXPRESSIONS, "uid": _EXPRESSIONS},
            "expression": "A",
            "conditions": [{"evaluator": {"type": "gt", "params": [limit]}}],
        },
    }


def _template(text: str) -> str:
    """Convert a Prometheus template: Grafana accesses the value by the refId of its query."""
    return text.replace("$value ", "$values.A.Value ")
