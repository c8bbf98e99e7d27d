"""Launcher of the programs under test, all with the same users and devices."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.cognito.arrivals import Statistics
from bench.errors import NotMeasured
from bench.processes import ROOT, Child, Children, environment
from bench.scraping import Scraper

GO_ENVIRONMENT = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
"""Environment for Debian's Go packages, which are in a GOPATH. Nothing is downloaded."""

GO_PACKAGES = "golang-go golang-github-prometheus-client-golang-dev"


@dataclass(frozen=True, slots=True)
class ProcessUnderTest:
    """Running exporter or peer."""

    child: Child
    port: int

    def scraper(self) -> Scraper:
        """Open a connection for scrapes."""
        return Scraper(self.child.name, self.port)


@dataclass(frozen=True, slots=True)
class LoopbackCognito:
    """Running loopback Cognito."""

    child: Child
    port: int

    @property
    def url(self) -> str:
        """Endpoint URL for Cognito and STS."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Reset the statistics."""
        with Scraper(self.child.name, self.port) as scraper:
            scraper.post("/reset")

    def statistics(self) -> Statistics:
        """Return the statistics since `reset`."""
        with Scraper(self.child.name, self.port) as scraper:
            answer = scraper.get("/statistics")
        if answer is None:
            raise NotMeasured("the loopback Cognito did not respond")
        return Statistics(**json.loads(answer.page))


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Settings of the sweeps of a program under test."""

    rate: float
    pools: int = 1
    detail: str = "device"
    refresh_interval: str = "1s"


class Launcher:
    """Starts programs. Each one ends with its context."""

    def __init__(self, children: Children, directory: Path) -> None:
        """Write configuration files and logs to `directory`."""
        self.children = children
        self._directory = directory
        self._numbers = count()
        self._go: Path | None = None

    @contextmanager
    def start_cognito(
        self, *, users: int, devices_per_user: int = 2, latency: float = 0.08
    ) -> Iterator[LoopbackCognito]:
        """Start a loopback Cognito whose pools all have the same number of users."""
        command = [sys.executable, "-m", "bench.cognito", "--users", str(users)]
        command += ["--devices-per-user", str(devices_per_user), "--latency", str(latency)]
        with self._running("loopback Cognito", command, environment()) as child:
            line = child.first_line()
            child.require_alive()
            yield LoopbackCognito(child, int(line))

    @contextmanager
    def start_exporter(
        self, loopback: LoopbackCognito, plan: SweepSettings, config: Path | None = None
    ) -> Iterator[ProcessUnderTest]:
        """Start the exporter as users do, by default without a state file."""
        port = free_port()
        config = config or self.config(loopback.url, plan)
        command = [sys.executable, "-m", "exporter", "serve", f"--config.file={config}", "--log.level=warn"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        with self._running("the exporter", command, environment(AWS_ENDPOINT_URL_STS=loopback.url)) as child:
            yield ProcessUnderTest(child, port)

    @contextmanager
    def start_naive(self, loopback: LoopbackCognito, plan: SweepSettings, *options: str) -> Iterator[ProcessUnderTest]:
        """Start the naive peer with enough threads for the rate."""
        threads = max(8, round(plan.rate * 0.12))
        command = [f"--endpoint-url={loopback.url}", f"--rate={plan.rate}", f"--threads={threads}", *options]
        command += [f"--pool={pool_id(number)}" for number in range(plan.pools)]
        with self._naive(command) as process:
            yield process

    @contextmanager
    def start_idle_naive(self, users: int) -> Iterator[ProcessUnderTest]:
        """Start the naive peer with users in memory, for scrapes only."""
        with self._naive([f"--fake-users={users}"]) as process:
            yield process

    @contextmanager
    def start_idle_exporter(self, users: int) -> Iterator[ProcessUnderTest]:
        """Start the exporter with users that it reads once without a network, for scrapes only."""
        port = free_port()
        config = self.config("http://127.0.0.1:9", SweepSettings(rate=1e9, refresh_interval="30d"))
        command = [sys.executable, "-m", "bench.fake_cognito", str(config), str(port), str(users)]
        with self._running("the exporter", command, environment()) as child:
            yield ProcessUnderTest(child, port)

    @contextmanager
    def start_go(self, users: int) -> Iterator[ProcessUnderTest]:
        """Start the Go peer."""
        port = free_port()
        command = [str(self._go_program()), f"-users={users}", f"-port={port}"]
        with self._running("the Go peer", command, environment()) as child:
            yield ProcessUnderTest(child, port)

    @contextmanager
    def start_script(self, name: str, arguments: Sequence[str]) -> Iterator[Child]:
        """Start a script of the benchmark that measures itself and writes one line of JSON."""
        with self._running(name, [sys.executable, "-m", *arguments], environment()) as child:
            yield child

    def unique_path(self, name: str) -> Path:
        """Return a unique path."""
        return self._directory / f"{next(self._numbers)}-{name}"

    @contextmanager
    def _naive(self, arguments: Sequence[str]) -> Iterator[ProcessUnderTest]:
        port = free_port()
        command = [sys.executable, "-m", "bench.peers.naive", f"--port={port}", *arguments]
        with self._running("the naive peer", command, environment()) as child:
            yield ProcessUnderTest(child, port)

    @contextmanager
    def _running(self, name: str, command: Sequence[str], variables: dict[str, str]) -> Iterator[Child]:
        with self.children.running(name, command, variables, self.unique_path("log")) as child:
            yield child

    def config(self, endpoint_url: str, plan: SweepSettings, state: Path | None = None) -> Path:
        """Write the configuration of an exporter, with its own key."""
        key = self.unique_path("identity.key")
        key.write_bytes(secrets.token_bytes(32))
        key.chmod(0o600)
        content = {
            "defaults": {
                "refresh_interval": plan.refresh_interval,
                "detail": plan.detail,
                "identity_key_file": str(key),
                "endpoint_url": endpoint_url,
            },
            "pools": [{"id": pool_id(number)} for number in range(plan.pools)],
            "limits": {
                # The listing must not limit the sweep, which needs a page of 60 users for every 60 reads.
                "rate": {"UserResourceRead": plan.rate, "UserList": max(5.0, plan.rate / 30), "UserPoolRead": 15},
                "series": 100_000_000,
            },
            **({"state": {"path": str(state)}} if state else {}),
        }
        path = self.unique_path("config.yaml")
        path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        return path

    def _go_program(self) -> Path:
        if self._go is None:
            program = self.unique_path("client_golang")
            _build_go(program)
            self._go = program
        return self._go


def _build_go(program: Path) -> None:
    source = ROOT / "bench" / "peers" / "client_golang" / "main.go"
    command = ["go", "build", "-o", str(program), str(source)]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, env=environment(**GO_ENVIRONMENT), capture_output=True, text=True, timeout=300, check=False
        )
    except FileNotFoundError:
        raise NotMeasured(f"no Go peer: install the Debian packages {GO_PACKAGES}") from None
    if done.returncode:
        raise NotMeasured(f"no Go peer: install the Debian packages {GO_PACKAGES}", done.stderr.strip()[-600:])


def pool_id(number: int) -> str:
    """Return the id of a pool by number."""
    return f"eu-west-1_Bench{number:04d}"


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
