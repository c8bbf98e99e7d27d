"""The alerts on idle devices for Grafana's own alerting, for those who run no Alertmanager.

They ask for the series that the exporter serves, so that they need neither the rule file nor an Alertmanager.
Names, texts, limits and waits are those of the rules of Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grafana.prometheus.alerts import Alert, Alerts
from grafana.prometheus.records import DEPLOYMENT, POOL
from grafana.prometheus.render import annotations_of
from grafana.prometheus.values import Thresholds

DATASOURCE_UID = "prometheus"
"""As in grafana/provisioning/datasources."""

FOLDER = "Cognito devices"
GROUP = "cognito-device-exporter"
ORGANISATION = 1

_EXPRESSIONS = "__expr__"
_LOOKBACK_SECONDS = 600


@dataclass(frozen=True, slots=True)
class ManagedQuery:
    """What Grafana asks Prometheus for, and the limit above which the answer is an alert."""

    expr: str
    limit: float
    on_no_data: str = "KeepLast"
    """There is an answer for every pool, alert or not: none at all means that a scrape was missed, or that the
    exporter is absent, for which there is an alert."""


def managed_rules(alerts: Alerts) -> dict[str, Any]:
    """The provisioning file of Grafana as plain values."""
    queries = managed_queries(alerts.thresholds)
    wanted = (*alerts.on_devices(), *alerts.on_exporter())
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": ORGANISATION,
                "name": GROUP,
                "folder": FOLDER,
                "interval": "1m",
                "rules": [_rule(alert, queries[alert.name]) for alert in wanted if alert.name in queries],
            },
        ],
    }


def managed_queries(thresholds: Thresholds) -> dict[str, ManagedQuery]:
    """The query of each alert that Grafana manages."""
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
        "CognitoDeviceStaleShareHigh": ManagedQuery(
            _named(
                f"{stale} / on ({POOL}) group_left () ({devices} > 0)\n"
                f"and on ({POOL})\n{devices} >= {thresholds.stale_share_least_devices}"
            ),
            thresholds.stale_share,
        ),
        "CognitoDeviceStaleCountHigh": ManagedQuery(_named(stale), thresholds.stale_count),
        "CognitoDeviceMfaBypassStale": ManagedQuery(
            _named(f"{remembered}\nand on ({POOL})\n{bypass}"), thresholds.mfa_bypass_count
        ),
        "CognitoDeviceTooManyPerUser": ManagedQuery(
            _named(f"sum by ({POOL}) (cognito_user_pool_devices_per_user_gcount)\n- sum by ({POOL}) ({many})"),
            thresholds.users_with_many_devices,
        ),
        "CognitoDeviceSuddenGrowth": ManagedQuery(
            _named(f"{grown}\nand on ({POOL})\n{grown} > {thresholds.growth_share} * {before}"),
            thresholds.growth_least_devices,
            on_no_data="OK",  # few pools grow
        ),
        "CognitoDeviceExporterAbsent": ManagedQuery(
            f"(\n  group by ({DEPLOYMENT}) (last_over_time(cognito_exporter_build_info[1d]))\n"
            f"  unless on ({DEPLOYMENT})\n  group by ({DEPLOYMENT}) (cognito_exporter_build_info)\n)\n"
            "or\nabsent_over_time(cognito_exporter_build_info[1d])",
            0,
            on_no_data="OK",  # no exporter is absent
        ),
    }


def _named(expr: str) -> str:
    """The pool's name joined to an expression, or its id where the pool was never described."""
    inner = "\n".join(f"  {line}" for line in expr.splitlines())
    return (
        f"(\n{inner}\n)\n* on ({POOL}) group_left (user_pool_name)\n"
        f"topk by ({POOL}) (1,\n"
        f"  count by ({POOL}, user_pool_name) (cognito_user_pool_info)\n"
        f"  or on ({POOL})\n"
        f'  label_replace(0 * max by ({POOL}) (cognito_user_pool_up), "user_pool_name", "$1", "user_pool_id", "(.+)")\n'
        f") ^ 0"
    )


def _rule(alert: Alert, query: ManagedQuery) -> dict[str, Any]:
    waits = {"for": alert.wait, "keepFiringFor": alert.keep_firing}
    return {
        "uid": alert.name.lower(),
        "title": alert.name,
        "condition": "B",
        "data": [_question(query.expr), _comparison(query.limit)],
        "noDataState": query.on_no_data,
        "execErrState": "Error",
        **{key: wait for key, wait in waits.items() if wait is not None},
        "annotations": {key: _template(text) for key, text in annotations_of(alert).items()},
        "labels": {"severity": alert.severity.value},
        "isPaused": False,
    }


def _question(expr: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "datasourceUid": DATASOURCE_UID,
        "relativeTimeRange": {"from": _LOOKBACK_SECONDS, "to": 0},
        "model": {"refId": "A", "expr": expr, "instant": True, "range": False, "editorMode": "code"},
    }


def _comparison(limit: float) -> dict[str, Any]:
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
    """What Prometheus calls `$value`, Grafana knows by the query that it came from."""
    return text.replace("$value ", "$values.A.Value ")
