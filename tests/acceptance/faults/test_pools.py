"""Failure of one pool of several: effect on the others, and recovery."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from exporter.emulator import Emulator, Fault, Rule
from tests.acceptance.faults.proxy import proxied
from tests.acceptance.faults.rows import Row
from tests.acceptance.faults.test_calls import failed_calls
from tests.acceptance.faults.watch import becomes, wait_for_new_sweep, watching
from tests.harness import FAST_RETRIES, Exporter, config, free_port, pool, serving, serving_program
from tests.truth import assert_correct

DATA = "cognito_user_pool_users"


def asked(emulator: Emulator, pool_id: str) -> int:
    return sum(call.operation == "AdminListDevices" and call.pool_id == pool_id for call in emulator.requests())


def state(exporter: Exporter, pool_id: str) -> str:
    return exporter.scrape().state(pool_id)


def test_permission_removed_from_one_pool_of_three(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "permission denied on one pool of three",
        "That pool is denied and keeps its last values; the others are unaffected. Once allowed, it is read again.",
    )
    for number, random in enumerate(row.each_round()):
        ids = [emulator.seed_pool(f"denied-{number}-{name}", users=30) for name in "abc"]
        denied = random.choice(ids)
        operation = random.choice(["DescribeUserPool", "ListUsers", "AdminListDevices"])
        text = config(emulator.url, *ids, refresh_interval="1s")
        with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
            exporter.after_first_sweep(*ids)
            with watching(exporter, row, {pool_id: emulator.truth(pool_id) for pool_id in ids}):
                emulator.faults.rules = (Rule(Fault.DENIED, operation, denied),)
                assert becomes(lambda: state(exporter, denied) == "denied")  # noqa: B023 - called at once
                for other in set(ids) - {denied}:
                    wait_for_new_sweep(exporter, other)
                    assert state(exporter, other) == "ok"
                emulator.faults.rules = ()
                ended = time.monotonic()
                assert becomes(lambda: state(exporter, denied) == "ok")  # noqa: B023 - called at once
                row.recovered(time.monotonic() - ended)
                row.calls_failed.update({name: int(n) for name, n in failed_calls(exporter.scrape()).items()})
    row.assert_kept()


def test_pool_deleted_during_a_sweep(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "pool deleted during a sweep",
        "The next sweep removes its data and its state is missing; the other pools are unaffected.",
    )
    for number, random in enumerate(row.each_round()):
        doomed = emulator.seed_pool(f"doomed-{number}", users=100)
        other = emulator.seed_pool(f"other-{number}", users=20)
        # The two share the rate, so a sweep of the first takes seconds.
        text = config(
            emulator.url,
            pool(doomed, refresh_interval="2s"),
            other,
            rate={"UserResourceRead": 100},
            refresh_interval="1s",
        )
        with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
            exporter.after_first_sweep(doomed, other)
            truths = {other: emulator.truth(other)}
            with watching(exporter, row, {**truths, doomed: emulator.truth(doomed)}) as watch:
                begun = asked(emulator, doomed)
                wanted = begun + random.randrange(20, 120)
                assert becomes(lambda: asked(emulator, doomed) >= wanted)  # noqa: B023 - called at once
                watch.forget(doomed)
                emulator.call("DeleteUserPool", {"UserPoolId": doomed})
                ended = time.monotonic()
                assert becomes(lambda: state(exporter, doomed) == "missing")  # noqa: B023 - called at once
                row.recovered(time.monotonic() - ended)
                assert DATA not in exporter.scrape().about(doomed)
                wait_for_new_sweep(exporter, other)
    row.assert_kept()


def test_region_unreachable(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "one Region unreachable: connections are refused, then reset",
        "Its pools are failing; those of the other Region are unaffected. Once reachable, it is read again.",
    )
    port = urlsplit(emulator.url).port
    assert port is not None
    for number, random in enumerate(row.each_round()):
        alive = emulator.seed_pool(f"alive-{number}", users=30)
        dead = emulator.seed_pool(f"dead-{number}", "us-east-1", users=30)
        closed = free_port()
        text = config(
            emulator.url,
            alive,
            pool(dead, endpoint_url=f"http://127.0.0.1:{closed}", refresh_interval="2s"),
            refresh_interval="1s",
        )
        with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
            exporter.after_first_sweep(alive)
            assert becomes(lambda: state(exporter, dead) == "failing")  # noqa: B023 - called at once
            with watching(exporter, row, {alive: emulator.truth(alive)}):
                began, sweeps = time.monotonic(), exporter.sweeps(alive)
                assert becomes(lambda: exporter.sweeps(alive) >= sweeps + 3)  # noqa: B023 - called at once
                assert time.monotonic() - began < 6
                with proxied(port, random.randrange(1 << 30), closed):
                    ended = time.monotonic()
                    assert becomes(lambda: state(exporter, dead) == "ok")  # noqa: B023 - called at once
                    row.recovered(time.monotonic() - ended)
                    assert_correct(exporter.scrape(), dead, emulator.truth(dead))
                row.calls_failed.update({name: int(n) for name, n in failed_calls(exporter.scrape()).items()})
    row.assert_kept()


LIFETIME = 2.0
MARGIN = 600.0
"""Seconds before they expire at which botocore stops using credentials that cannot be renewed."""


@dataclass
class CredentialsEndpoint:
    """Container credentials endpoint that returns other keys each time."""

    refusing: bool = False
    given: list[str] = field(default_factory=list)
    refused: int = 0

    def answer(self) -> tuple[int, bytes]:
        if self.refusing:
            self.refused += 1
            return 500, b"{}"
        self.given.append(f"ASIA{len(self.given):016d}")
        expires = datetime.now(UTC) + timedelta(seconds=MARGIN + LIFETIME)
        keys = {"AccessKeyId": self.given[-1], "SecretAccessKey": "of-the-tests", "Token": "of-the-tests"}
        return 200, json.dumps({**keys, "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()


@contextmanager
def credentials_endpoint(vendor: CredentialsEndpoint) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = vendor.answer()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_credentials_expire_and_are_renewed_during_a_sweep(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "credentials expire during a sweep, and their renewal fails for a while",
        "The sweep waits, continues with the new ones, and is correct: no user is skipped.",
    )
    for number, _ in enumerate(row.each_round()):
        pool_id = emulator.seed_pool(f"expiring-{number}", users=200)
        vendor = CredentialsEndpoint()
        emulator.faults.expired = frozenset()  # a new endpoint returns the same keys again
        text = config(emulator.url, pool_id, rate={"UserResourceRead": 40}, refresh_interval="1h")
        with (
            credentials_endpoint(vendor) as url,
            serving_program(
                text,
                tmp_path,
                emulator.url,
                AWS_ACCESS_KEY_ID="",
                AWS_SECRET_ACCESS_KEY="",
                AWS_CONTAINER_CREDENTIALS_FULL_URI=url,
            ) as running,
            watching(running, row, {pool_id: emulator.truth(pool_id)}, known=False),
        ):
            assert becomes(lambda: asked(emulator, pool_id) > 40)  # noqa: B023 - called at once
            vendor.refusing = True
            emulator.faults.expired = frozenset(vendor.given)
            assert becomes(lambda: failed_calls(running.scrape()).get("credentials", 0) > 5)
            assert vendor.refused
            vendor.refusing = False
            ended = time.monotonic()
            page = running.after_first_sweep(pool_id, within=40)
            row.recovered(time.monotonic() - ended)
            row.calls_failed.update({name: int(n) for name, n in failed_calls(page).items()})
            assert_correct(page, pool_id, emulator.truth(pool_id))
            assert page.state(pool_id) == "ok"
            assert page.failures("cognito_exporter_user_read_failures_total", user_pool_id=pool_id) == {}
        assert len(vendor.given) > 1
        assert row.calls_failed["credentials"] > 0
    row.assert_kept()
