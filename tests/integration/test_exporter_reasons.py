"""Reasons of pool states in the debug log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.emulator import Emulator, Fault, Rule
from exporter.logging_setup import LogLevel
from tests.fakes import eventually
from tests.harness import FAST_RETRIES, Log, captured_log, config, pool, serving

EVENT = "pool state"


def told(log: Log, state: str, words: str = "") -> dict[str, Any]:
    """Wait for the first line with this state and text."""

    def found() -> list[dict[str, Any]]:
        return [line for line in log.events(EVENT, state=state) if words in line["explanation"]]

    assert eventually(lambda: bool(found()), within=20), log.text
    return found()[0]


def test_log_has_the_reason_for_each_pool_state(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=["somebody"])
    emulator.call("CreateGroup", {"UserPoolId": pool_id, "GroupName": "staff"})
    emulator.call("AdminAddUserToGroup", {"UserPoolId": pool_id, "GroupName": "staff", "Username": "somebody"})
    text = config(
        emulator.url, pool(pool_id, users={"groups": ["staff"]}), refresh_interval="1s", max_staleness="1s500ms"
    )
    with (
        captured_log(LogLevel.DEBUG) as log,
        serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running,
    ):
        assert "reason" not in told(log, "unread", "the pool has not responded yet")
        told(log, "ok", "read every user")

        emulator.call("DeleteGroup", {"UserPoolId": pool_id, "GroupName": "staff"})
        assert told(log, "failing", "data still shown")["reason"] == "not_found"
        assert "max_staleness 1s500ms: data withdrawn" in told(log, "failing", "withdrawn")["explanation"]
        assert not running.scrape().series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)

        emulator.faults.rules = (Rule(Fault.DENIED, pool_id=pool_id),)
        assert told(log, "denied", "IAM denied")["reason"] == "denied"
        emulator.faults.rules = ()
        emulator.call("UpdateUserPool", {"UserPoolId": pool_id})
        assert "reason" not in told(log, "tracking_off", "does not remember devices")
        emulator.call("DeleteUserPool", {"UserPoolId": pool_id})
        assert told(log, "missing", "does not exist")["reason"] == "not_found"

        assert {line["user_pool_id"] for line in log.events(EVENT)} == {pool_id}
        for secret in ("somebody", "staff", "arn:"):
            assert secret not in log.text


def test_reason_is_not_logged_at_other_levels(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    pool_id = emulator.seed_pool("pool", users=3)
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url):
        assert eventually(lambda: bool(log.events("sweep finished")), within=20)
        assert log.events(EVENT) == []
