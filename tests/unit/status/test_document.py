"""JSON document of the status."""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from exporter.errors import Reason
from exporter.model import PoolState
from exporter.shard import Shard
from exporter.status.document import schema
from exporter.status.report import StatusReporter
from exporter.status.routes import status_routes
from exporter.web.messages import Request, dispatch
from tests.status_scenes import NOW, RULES, every_state, many_pools, pool_view, reporter
from tests.unit.status.strict_schema import strict

DOCUMENTED = Path(__file__).parents[3] / "docs" / "status.schema.json"


def status(of: StatusReporter) -> dict[str, Any]:
    response = dispatch(status_routes(of, telemetry_path="/metrics"), Request("GET", "/api/v1/status"))
    assert (response.status, response.content_type) == (HTTPStatus.OK, "application/json")
    document: dict[str, Any] = json.loads(response.body)
    return document


def pool(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in document["pools"] if name in {one["id"], one["name"]})
    assert isinstance(found, dict)
    return found


def test_documented_schema_matches_the_code() -> None:
    assert json.loads(DOCUMENTED.read_text(encoding="utf-8")) == schema(), "run `make docs`"


def test_schema_is_valid_and_complete() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for views in ([], every_state(), many_pools(200)):
        jsonschema.Draft202012Validator(strict(schema())).validate(status(reporter(views)))
        jsonschema.Draft202012Validator(strict(schema())).validate(status(reporter(views, rules=RULES)))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("build"),
        lambda document: document["pools"][0].update(state="dead"),
        lambda document: document["pools"][0].update(users=-1),
        lambda document: document.update(schema_version=2),
        lambda document: document["pools"][0].update(usernames=["alice"]),
    ],
)
def test_schema_rejects_an_invalid_document(change: Any) -> None:
    document = status(reporter(every_state()))
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(strict(schema())).validate(document)


def test_timestamps_are_rfc_3339_in_utc() -> None:
    document = status(reporter(every_state()))
    assert document["generated"] == "2026-11-18T11:06:40Z"
    assert document["configuration"]["loaded"] == "2026-11-18T08:06:40Z"
    mobile = pool(document, "mobile")
    for written, seconds in (
        (mobile["last_failure"]["time"], NOW - 34),
        (mobile["last_sweep_success"], NOW - 8_100),
        (mobile["next_sweep"], NOW + 26),
    ):
        assert written.endswith("Z")
        assert datetime.fromisoformat(written).timestamp() == seconds


def test_pool_with_sweep_in_progress() -> None:
    shop = pool(status(reporter(every_state())), "shop-prod")
    assert shop["sweep"] == {
        "users_done": 4243,
        "users_expected": 12480,
        "progress_ratio": 0.34,
        "remaining_seconds": 822.0,
    }
    assert shop["devices"] == {"total": 20332, "remembered": 18222, "not_remembered": 2110, "unknown": 0}
    assert not shop["overdue"]


def test_failures_have_reasons_only() -> None:
    document = status(reporter(every_state()))
    assert pool(document, "partners")["last_failure"]["reason"] == "denied"
    assert pool(document, "partners")["failures_since_start"] == {"sweeps": {"denied": 1}, "users": {}}
    customers = pool(document, "customers")
    assert customers["users_not_read"] == 17
    assert customers["failures_since_start"] == {"sweeps": {}, "users": {"throttled": 17}}


def test_settings_omit_names_roles_and_addresses() -> None:
    settings = pool(status(reporter(every_state())), "partners")["settings"]
    assert settings["users"] == {"kind": "usernames", "count": 2}
    assert (settings["assumes_role"], settings["custom_endpoint"]) == (True, True)
    assert settings["refresh_interval_seconds"] == 3600


def test_summary_counts_every_state() -> None:
    summary = status(reporter(every_state()))["summary"]
    assert summary["pools_by_state"] == {
        "missing": 1,
        "denied": 1,
        "failing": 1,
        "tracking_off": 1,
        "unread": 1,
        "ok": 3,
    }
    assert list(summary["pools_by_state"]) == [state.value for state in PoolState]
    assert (summary["pools"], summary["pools_sweeping"], summary["pools_overdue"]) == (8, 3, 2)
    assert summary["users"] == 256_925


@pytest.mark.parametrize(
    ("state", "age", "overdue"),
    [
        (PoolState.OK, 5_399, False),
        (PoolState.OK, 5_401, True),
        (PoolState.FAILING, 5_401, True),
        (PoolState.TRACKING_OFF, 5_401, True),
        (PoolState.DENIED, 5_401, False),
        (PoolState.MISSING, 5_401, False),
        (PoolState.UNREAD, None, False),
    ],
)
def test_overdue_matches_the_alert(state: PoolState, age: int | None, *, overdue: bool) -> None:
    success = None if age is None else NOW - age
    (found,) = status(reporter([pool_view("eu-west-1_a", "a", state, last_success=success)]))["pools"]
    assert found["overdue"] is overdue


def test_pools_are_sorted_by_severity_then_name() -> None:
    views = [
        pool_view("eu-west-1_1", "b", last_success=NOW),
        pool_view("eu-west-1_2", "a", last_success=NOW),
        pool_view("eu-west-1_3", "late", last_success=NOW - 9_000),
        pool_view("eu-west-1_4", "some not read", last_success=NOW, users_not_read=2),
        pool_view("eu-west-1_5", "failing", PoolState.FAILING),
    ]
    names = [one["name"] for one in status(reporter(views))["pools"]]
    assert names == ["failing", "late", "some not read", "a", "b"]


def test_budgets_have_use_and_limits() -> None:
    budgets = status(reporter(every_state()))["budgets"]
    assert len(budgets) == 8
    assert budgets[4] == {
        "aws_account_id": "210987654321",
        "aws_region": "us-east-1",
        "category": "UserResourceRead",
        "used_requests_per_second": 4.8,
        "current_requests_per_second": 4.9,
        "configured_requests_per_second": 10.0,
        "quota_requests_per_second": 50.0,
        "quota_provisioned": False,
    }


def test_process_reports_errors_and_build() -> None:
    of = reporter(every_state())
    of.self_metrics.unexpected_error("sweep")
    of.self_metrics.unexpected_error("web")
    of.self_metrics.state_failed()
    of.self_metrics.configuration_loaded(successful=False, now=NOW)
    document = status(of)
    process = document["process"]
    assert process["uptime_seconds"] == 3 * 86_400
    assert (process["shard_ordinal"], process["shards"]) == (Shard(0, 1).ordinal, 1)
    assert (process["unexpected_failures"], process["state_errors"]) == (2, 1)
    assert not document["configuration"]["last_reload_successful"]
    assert document["configuration"]["loaded"] == "2026-11-18T08:06:40Z"
    assert document["build"]["revision"] == "4f2c1d7"
    assert document["configuration"]["rates"][0] == {
        "category": "UserResourceRead",
        "requests_per_second": None,
        "quota_share_ratio": 0.2,
    }


def test_every_reason_is_reported() -> None:
    of = reporter(every_state())
    for reason in Reason:
        of.self_metrics.user_read_failed("eu-west-1_wOrkf0rce", reason)
    failures = pool(status(of), "workforce")["failures_since_start"]["users"]
    assert failures == dict.fromkeys((reason.value for reason in Reason), 1)


def test_rules_are_sorted_and_count_once_over_regions() -> None:
    assert status(reporter(every_state()))["discovery"] == []
    document = status(reporter(every_state(), rules=RULES))
    assert document["discovery"] == [
        {
            "index": 0,
            "aws_region": "us-east-1",
            "pools": 2,
            "up": False,
            "last_success": "2026-11-18T09:05:00Z",
            "reason": "denied",
        },
        {"index": 1, "aws_region": "eu-central-1", "pools": 0, "up": False, "last_success": None, "reason": None},
        {
            "index": 0,
            "aws_region": "eu-west-1",
            "pools": 3,
            "up": True,
            "last_success": "2026-11-18T11:03:30Z",
            "reason": None,
        },
    ]
    summary = document["summary"]
    assert (summary["discovery_rules"], summary["discovery_rules_failing"]) == (2, 1)
