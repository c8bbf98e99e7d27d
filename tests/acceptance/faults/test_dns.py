"""DNS of the endpoint fails for a while."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from exporter.emulator import Emulator
from tests.acceptance.faults.isolation import isolated_program, require_namespaces
from tests.acceptance.faults.proxy import proxied
from tests.acceptance.faults.rows import Row
from tests.acceptance.faults.test_calls import failed_calls
from tests.acceptance.faults.watch import becomes, wait_for_new_sweep, watching
from tests.harness import config
from tests.truth import assert_correct

NAME = "cognito.of.the.tests"

FAILURES = 5
"""Number of failed lookups; each retry waits longer than the one before."""


def test_dns_fails_temporarily(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    require_namespaces()
    row.describe(
        "DNS failure: the endpoint's name does not resolve",
        "The last values are kept; calls are retried with back-off, and sweeps continue once the name resolves.",
    )
    port = urlsplit(emulator.url).port
    assert port is not None
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    known, unknown = f"127.0.0.1 localhost {NAME}\n", "127.0.0.1 localhost\n"
    mounts = f"mount --bind '{hosts}' /etc/hosts; mount --bind '{resolver}' /etc/resolv.conf"
    for number, random in enumerate(row.each_round()):
        hosts.write_text(known)
        pool_id = emulator.seed_pool(f"dns-{number}", users=30)
        with proxied(port, random.randrange(1 << 30)) as proxy:
            text = config(f"http://{NAME}:{proxy.port}", pool_id, refresh_interval="1s")
            with isolated_program(text, tmp_path, emulator.url, mounts) as running:
                running.after_first_sweep(pool_id)
                with watching(running, row, {pool_id: emulator.truth(pool_id)}):
                    hosts.write_text(unknown)
                    proxy.cut_all()
                    assert becomes(lambda: failed_calls(running.scrape()).get("connection", 0) >= FAILURES, within=60)
                    hosts.write_text(known)
                    ended = time.monotonic()
                    wait_for_new_sweep(running, pool_id, within=60)
                    assert becomes(lambda: running.scrape().state(pool_id) == "ok")  # noqa: B023 - called at once
                    row.recovered(time.monotonic() - ended)
                page = running.scrape()
                row.calls_failed.update({name: int(n) for name, n in failed_calls(page).items()})
                assert_correct(page, pool_id, emulator.truth(pool_id))
    row.assert_kept()
