"""`--log.level debug` says why a pool is in its state: the real program, led through its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.emulator import Emulator, Fault, Rule
from tests.fakes import eventually
from tests.harness import Program, config, pool, serving_program

TELLING = "state of the pool"


def told(program: Program, state: str, words: str = "") -> dict[str, Any]:
    """The first line that gives this state with these words, once it is there."""

    def found() -> list[dict[str, Any]]:
        return [line for line in program.events(TELLING, state=state) if words in line["because"]]

    assert eventually(lambda: bool(found()), within=20), program.log_text
    return found()[0]


def test_the_log_says_why_a_pool_is_in_each_of_its_states(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=["somebody"])
    emulator.call("CreateGroup", {"UserPoolId": pool_id, "GroupName": "staff"})
    emulator.call("AdminAddUserToGroup", {"UserPoolId": pool_id, "GroupName": "staff", "Username": "somebody"})
    text = config(
        emulator.url, pool(pool_id, users={"groups": ["staff"]}), refresh_interval="1s", max_staleness="2s500ms"
    )
    with serving_program(text, tmp_path, emulator.url, "--log.level=debug") as program:
        assert "reason" not in told(program, "unread", "the pool does not answer yet")
        told(program, "ok", "has read every user")

        emulator.call("DeleteGroup", {"UserPoolId": pool_id, "GroupName": "staff"})
        assert told(program, "failing", "data still shown")["reason"] == "not_found"
        assert "max_staleness 2s500ms: data withdrawn" in told(program, "failing", "withdrawn")["because"]
        assert not program.scrape().series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)

        emulator.faults.rules = (Rule(Fault.DENIED, pool_id=pool_id),)
        assert told(program, "denied", "IAM does not allow")["reason"] == "denied"
        emulator.faults.rules = ()
        emulator.call("UpdateUserPool", {"UserPoolId": pool_id})
        assert "reason" not in told(program, "tracking_off", "does not remember devices")
        emulator.call("DeleteUserPool", {"UserPoolId": pool_id})
        assert told(program, "missing", "no such pool")["reason"] == "not_found"

        assert {line["user_pool_id"] for line in program.events(TELLING)} == {pool_id}
        for secret in ("somebody", "staff", "arn:"):
            assert secret not in program.log_text


def test_other_levels_do_not_say_it(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=3)
    with serving_program(config(emulator.url, pool_id), tmp_path, emulator.url) as program:
        assert eventually(lambda: bool(program.events("sweep finished")), within=20)
        assert program.events(TELLING) == []
