"""A pool of 10,000 users with a scrape every second, which never waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from exporter.emulator import Emulator
from tests.harness import FAST, OPENMETRICS, HttpResponse, Page, config, serving_program
from tests.truth import DAY, active_ms, assert_correct

USERS = 10_000


def test_pool_of_10000_users_is_swept_during_scrapes(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("large", users=USERS)
    text = config(emulator.url, pool_id, refresh_interval="300s", rate={**FAST, "UserResourceRead": 2000})
    # A refresh interval this long starts the first sweep within five seconds.
    answers: list[tuple[float, HttpResponse]] = []
    with serving_program(text, tmp_path, emulator.url) as running:
        every_second = threading.Event()
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline:
            began = time.monotonic()
            answer = running.get("/metrics", {"Accept": OPENMETRICS})
            answers.append((time.monotonic() - began, answer))
            if running.events("sweep finished"):
                break
            every_second.wait(max(0.0, 1 - (time.monotonic() - began)))
        now = time.time()
        page = running.scrape(OPENMETRICS)
        (line,) = running.events("sweep finished")
    assert {answer.status for _, answer in answers} == {200}
    assert max(seconds for seconds, _ in answers) < 2
    assert len(answers) > 3
    before = Page.parse(answers[1][1])
    assert before.value("cognito_user_pool_users", user_pool_id=pool_id) is None, (
        "an incomplete first pass is not counted"
    )
    assert (line["users"], line["users_read"], line["throttled"]) == (USERS, USERS, 0)
    truth = emulator.truth(pool_id)
    assert_correct(page, pool_id, truth)
    total = page.value("cognito_user_pool_device_last_authentication_age_seconds_gsum", user_pool_id=pool_id)
    moments = active_ms(truth)
    assert total is not None
    assert abs(total - sum(now - moment / 1000 for moment in moments)) < len(moments)
    stale = page.series("cognito_user_pool_stale_devices", "threshold", "remembered_status", user_pool_id=pool_id)
    for days in (30, 60, 90):
        found = sum(count for (threshold, _), count in stale.items() if threshold == f"{days}d")
        assert found == sum(now - moment / 1000 > days * DAY for moment in moments)
