"""The rule files are current and complete, and use metrics that exist."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from exporter.config.load import load_settings
from exporter.metrics.pool_specs import DEVICES_PER_USER_BOUNDS
from grafana.prometheus.__main__ import RULES, documents
from grafana.prometheus.thresholds import RUNBOOKS, THRESHOLDS, TIMING
from tests.grafana.promql import (
    Vocabulary,
    catalog_vocabulary,
    metrics_of,
    ranges,
    unknown_names,
    with_recording_rules,
)

ROOT = Path(__file__).parents[2]
RUNBOOKS_FILE = ROOT / "docs" / "runbooks.md"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

Rule = dict[str, Any]

ALL_RULES: list[Rule] = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in ALL_RULES if "alert" in rule]
RECORDING_RULES = [rule for rule in ALL_RULES if "record" in rule]

REQUIRED_ALERTS = {
    "CognitoDeviceBudgetTooSmall",
    "CognitoDeviceConfigReloadFailed",
    "CognitoDeviceDataOld",
    "CognitoDeviceDiscoveryFailing",
    "CognitoDeviceExporterAbsent",
    "CognitoDeviceMfaBypassStale",
    "CognitoDevicePoolDenied",
    "CognitoDevicePoolMissing",
    "CognitoDevicePoolUnread",
    "CognitoDeviceRawIdentityExposed",
    "CognitoDeviceSeriesDropped",
    "CognitoDeviceShardMissing",
    "CognitoDeviceStaleCountHigh",
    "CognitoDeviceStaleShareHigh",
    "CognitoDeviceSuddenGrowth",
    "CognitoDeviceSweepFailing",
    "CognitoDeviceThrottled",
    "CognitoDeviceTooManyPerUser",
    "CognitoDeviceTrackingOff",
}


def alert_name(alert: Rule) -> str:
    return str(alert["alert"])


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return with_recording_rules(catalog_vocabulary(), ALL_RULES)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_rule_files_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents()[path], "run `python -m grafana.prometheus`"


def test_required_alerts_exist_once() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert set(names) >= REQUIRED_ALERTS
    assert len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS, ids=alert_name)
def test_alert_has_severity_texts_and_runbook(alert: Rule) -> None:
    assert alert["alert"].startswith("CognitoDevice")
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    texts = alert["annotations"]
    assert texts["summary"]
    assert texts["description"].endswith(".")
    assert texts["runbook_url"] == f"{RUNBOOKS}#{alert['alert'].lower()}"


@pytest.mark.parametrize("alert", ALERTS, ids=alert_name)
def test_pool_alert_joins_the_pool_name(alert: Rule) -> None:
    about_a_pool = "user_pool_id" in alert["expr"]
    joined = alert["expr"].endswith(
        "\n* on (namespace, job, user_pool_id) group_left (user_pool_name)\ncognito_user_pool:name:info"
    )
    assert joined == about_a_pool
    assert ("$labels.user_pool_name" in alert["annotations"]["summary"]) == about_a_pool


NUMBERS_IN_RUNBOOKS = [
    ("CognitoDeviceStaleShareHigh", f"{THRESHOLDS.stale_share:.0%}"),
    ("CognitoDeviceStaleShareHigh", THRESHOLDS.stale_after),
    ("CognitoDeviceStaleShareHigh", f"fewer than {THRESHOLDS.stale_share_least_devices} devices"),
    ("CognitoDeviceStaleCountHigh", f"{THRESHOLDS.stale_count} devices"),
    ("CognitoDeviceMfaBypassStale", THRESHOLDS.stale_after),
    ("CognitoDeviceTooManyPerUser", f"more than {THRESHOLDS.devices_per_user} devices"),
    ("CognitoDeviceSuddenGrowth", f"{THRESHOLDS.growth_share:.0%}"),
    ("CognitoDeviceSuddenGrowth", f"{THRESHOLDS.growth_least_devices} devices"),
    ("CognitoDeviceSweepFailing", f"{THRESHOLDS.intervals_without_success} refresh intervals"),
    ("CognitoDeviceDataOld", f"{THRESHOLDS.intervals_until_old} refresh intervals"),
    ("CognitoDeviceTrackingOff", THRESHOLDS.tracked_within),
    ("CognitoDevicePoolUnread", THRESHOLDS.unread_for),
    ("CognitoDeviceThrottled", f"{THRESHOLDS.throttled_share:.0%}"),
    ("CognitoDeviceThrottled", TIMING.for_long),
    ("CognitoDeviceExporterAbsent", TIMING.for_short),
]


def runbooks() -> dict[str, str]:
    """Return the section of each alert, with line breaks as spaces."""
    text = RUNBOOKS_FILE.read_text(encoding="utf-8")
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(section.split()) for name, section in sections}


@pytest.mark.parametrize(("alert", "number"), NUMBERS_IN_RUNBOOKS)
def test_runbook_states_the_threshold_of_its_alert(alert: str, number: str) -> None:
    assert (
        number in runbooks()[alert].partition("**How to check.**")[0] + runbooks()[alert].partition("it is not.**")[2]
    )


def test_alerts_and_runbooks_match() -> None:
    sections = runbooks()
    assert sections.keys() == {alert["alert"] for alert in ALERTS}
    for name, section in sections.items():
        for part in ("What it means.", "How to check.", "What to do.", "What it is not."):
            assert f"**{part}**" in section, (name, part)


def test_runbook_links_have_a_target() -> None:
    text = RUNBOOKS_FILE.read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


@pytest.mark.parametrize("record", RECORDING_RULES, ids=lambda rule: rule["record"])
def test_recording_rule_name_follows_convention(record: Rule) -> None:
    assert re.fullmatch(r"cognito_[a-z_]+:[a-z_]+:[a-z0-9_]+", record["record"])


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_rule_uses_known_names_only(rule: Rule, vocabulary: Vocabulary) -> None:
    assert unknown_names(rule["expr"], vocabulary) == []


def test_rule_uses_earlier_recording_rules_only() -> None:
    seen: set[str] = set()
    for rule in ALL_RULES:
        recorded = {name for name in metrics_of(rule["expr"]) if ":" in name}
        assert recorded <= seen, rule
        seen.add(rule.get("record", ""))


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_range_over_records_starts_between_evaluations(rule: Rule) -> None:
    """Prometheus 2 includes a sample at the start of a range, and Prometheus 3 does not."""
    usual = timedelta(seconds=5)
    assert [name for name, length in ranges(rule["expr"]) if ":" in name and not length % usual] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_promql_in_documents_uses_known_names_only(document: Path, vocabulary: Vocabulary) -> None:
    for expr in promql_in(document):
        assert unknown_names(expr, vocabulary) == [], expr


@pytest.mark.parametrize(
    ("expr", "unknown"),
    [
        ("cognito_user_pool_gone", ["cognito_user_pool_gone"]),
        ('cognito_user_pool_up{state="ok"}', ["cognito_user_pool_up{state}"]),
        ("sum by (user) (cognito_user_pool_devices)", ["user"]),
        ("cognito_user_pool_up * on (threshold) cognito_user_pool_users", ["threshold"]),
        ("cognito_user_pool_up * on (job) group_left (user_pool_name) up", ["user_pool_name"]),
        ("histogram_quantile(0.5, sum by (le, job) (cognito_user_pool_devices_per_user_bucket))", []),
    ],
)
def test_unknown_names_finds_unknown_names(expr: str, unknown: list[str]) -> None:
    assert unknown_names(expr, catalog_vocabulary()) == unknown


def test_thresholds_match_exporter_defaults(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("pools:\n  - id: eu-west-1_AbCdEfGhI\n", encoding="utf-8")
    (pool,) = load_settings(config).pools
    assert THRESHOLDS.stale_after in {threshold.label for threshold in pool.stale_after}
    assert THRESHOLDS.devices_per_user in DEVICES_PER_USER_BOUNDS


def test_alert_durations_increase_around_the_lookback() -> None:
    waits = [
        promql_parser.parse_duration(wait)
        for wait in (TIMING.for_short, TIMING.lookback, TIMING.for_medium, TIMING.for_long)
    ]
    assert all(shorter < longer for shorter, longer in pairwise(waits))


def promql_in(document: Path) -> list[str]:
    """Return the expressions of the fenced blocks, which are separated by empty lines."""
    blocks = re.findall(r"^```promql\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [expr for block in blocks for expr in block.strip().split("\n\n")]
