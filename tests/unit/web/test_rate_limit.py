from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest

from exporter.config.web.settings import RateLimit
from exporter.web.access import Authenticator
from exporter.web.config_watcher import LOOK_SECONDS, WebConfig
from exporter.web.messages import Request
from exporter.web.rate_limit import TokenBucket
from tests.fakes import ManualClock


def test_a_burst_is_let_through_and_then_one_each_interval() -> None:
    clock = ManualClock()
    pace = TokenBucket(RateLimit(interval=2.0, burst=3), clock)
    assert [pace.admits() for _ in range(5)] == [True, True, True, False, False]
    clock.advance(1.9)
    assert not pace.admits()
    clock.advance(0.1)
    assert [pace.admits(), pace.admits()] == [True, False]
    clock.advance(1000)
    assert [pace.admits() for _ in range(5)] == [True, True, True, False, False]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ask(gate: Authenticator) -> HTTPStatus | None:
    refused = gate.refusal(Request("GET", "/metrics"), gate.current())
    return None if refused is None else refused.status


def test_requests_beyond_the_limit_of_the_file_are_told_to_come_back_until_it_changes(
    tmp_path: Path, clock: ManualClock
) -> None:
    file = tmp_path / "web.yml"
    file.write_text("rate_limit: {interval: 1h, burst: 2}\n")
    gate = Authenticator(WebConfig(file, clock), clock)
    assert [ask(gate) for _ in range(3)] == [None, None, HTTPStatus.TOO_MANY_REQUESTS]
    file.write_text("rate_limit: {interval: 1h, burst: 2}\n# the same\n")
    clock.advance(LOOK_SECONDS)
    assert ask(gate) is HTTPStatus.TOO_MANY_REQUESTS
    file.write_text("rate_limit: {interval: 1h, burst: 1}\n")
    clock.advance(LOOK_SECONDS)
    assert [ask(gate) for _ in range(2)] == [None, HTTPStatus.TOO_MANY_REQUESTS]
    file.write_text("rate_limit: {interval: 0}\n")
    clock.advance(LOOK_SECONDS)
    assert [ask(gate) for _ in range(5)] == [None] * 5
