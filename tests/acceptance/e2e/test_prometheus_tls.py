"""Prometheus scrapes the exporter behind a web configuration."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from exporter.emulator import Emulator
from tests.acceptance.e2e.prometheus import prometheus
from tests.harness import config, free_port, pool, program, serving_program, wait_until
from tests.integration.web_serving import MUTUAL, PASSWORD, USERS, basic, write_certificate, write_web
from tests.tools import required_tool


def test_prometheus_scrapes_over_mutual_tls_with_password(tmp_path: Path) -> None:
    tool = required_tool("prometheus")
    write_certificate(tmp_path, "scraper.example", stem="client")
    write_certificate(tmp_path)
    web = write_web(tmp_path, tls_server_config={**MUTUAL, "client_allowed_sans": ["scraper.example"]}, **USERS)
    scrape = {
        "scheme": "https",
        "tls_config": {
            "ca_file": str(tmp_path / "ca.crt"),
            "cert_file": str(tmp_path / "client.crt"),
            "key_file": str(tmp_path / "client.key"),
        },
        "basic_auth": {"username": "alice", "password": PASSWORD},
    }
    with Emulator() as emulator:
        text = config(emulator.url, pool(emulator.seed_pool("pool", users=20, seed=2), detail="pool"))
        probe = free_port()
        flags = (f"--web.config.file={web}", f"--web.probe-listen-address=127.0.0.1:{probe}")
        with serving_program(text, tmp_path, emulator.url, *flags) as running_program:
            target = {"guarded": running_program.url}
            with prometheus(tool, tmp_path, free_port(), target, **scrape) as asked:
                assert wait_until(lambda: asked.values('sum(up{job="guarded"})') == {(): 1.0})
                assert wait_until(lambda: bool(asked.query('cognito_user_pool_users{job="guarded"} == 20')))
                write_certificate(tmp_path)
                assert wait_until(lambda: len(running_program.events("web configuration reloaded")) >= 1)
                assert asked.values('min_over_time(up{job="guarded"}[1m])', "job") == {"guarded": 1.0}
            healthy = healthcheck(tmp_path, emulator.url, f"--web.probe-listen-address=127.0.0.1:{probe}")
            assert healthy == (0, "")
            port = running_program.url.rpartition(":")[2]
            code, told = healthcheck(tmp_path, emulator.url, f"--web.listen-address=127.0.0.1:{port}")
            assert (code, "--web.probe-listen-address" in told) == (1, True)
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10):
                assert running_program.end(signal.SIGTERM) == 0
            assert "Traceback" not in running_program.log_text
            assert basic() not in running_program.log_text


def healthcheck(directory: Path, sts_url: str, flag: str) -> tuple[int, str]:
    place = directory / "healthcheck"
    place.mkdir(exist_ok=True)
    with program(["healthcheck", flag], place, sts_url) as asked:
        code = asked.process.wait(20)
        return code, asked.log_text
