"""The whole exporter in tests: in this process, or as the real program, always over real HTTP and boto3."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import boto3
import structlog
import yaml
from botocore.config import Config
from botocore.credentials import CredentialResolver
from botocore.session import Session as BotocoreSession
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from exporter.aws.sessions import AwsApis
from exporter.clock import Clock
from exporter.config.load import parse_settings
from exporter.daemon.app import App
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.observers import NULL_TRACER, Tracer
from exporter.options import ListenAddress, ServeOptions
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.shard import UNSHARDED, Shard
from tests.fakes import eventually

ACCOUNT = "123456789012"
"""The emulator reads an access key of twelve digits as the account id."""

FAST = {"UserResourceRead": 5000, "UserList": 5000, "UserPoolRead": 5000, "UserPoolResourceRead": 5000}
"""Rates that delay nothing."""

FAST_RETRIES = RetryPolicy(attempts=3, first_attempts=2, max_consecutive_failures=50, first_delay=0.02, max_delay=0.1)
"""Fails within a fraction of a second."""

STUBBORN = RetryPolicy(first_attempts=12, first_delay=0.01, max_delay=0.1)
"""Retries as often as the program does, without its long pauses."""

CLASSIC = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def wait_until(condition: Callable[[], bool], *, within: float = 20.0) -> bool:
    """Return whether a condition that costs a scrape becomes true in time; polls slowly enough for the exporter."""
    return eventually(condition, within=within, interval=0.04)


# HTTP and pages


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    content_type: str
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode()


def get(url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 10.0) -> HttpResponse:
    """Make a request over a new connection, ignoring any proxy of the environment."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=timeout)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return HttpResponse(response.status, response.getheader("Content-Type", ""), response.read())
    finally:
        connection.close()


Labels = frozenset[tuple[str, str]]


class Page:
    """Exposition, parsed by prometheus_client."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self.families = {family.name: family for family in families}
        self._samples: dict[str, dict[Labels, float]] = {}
        for family in families:
            for sample in family.samples:
                series = self._samples.setdefault(sample.name, {})
                key = frozenset(sample.labels.items())
                assert key not in series, f"{sample.name} is a duplicate series"
                series[key] = sample.value

    @classmethod
    def parse(cls, answer: HttpResponse) -> Self:
        parse = parse_openmetrics if answer.content_type.startswith("application/openmetrics") else parse_classic
        return cls(list(parse(answer.text)))

    @property
    def names(self) -> set[str]:
        """Names of all samples."""
        return set(self._samples)

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the sample with exactly these labels, or None."""
        return self._samples.get(name, {}).get(frozenset(labels.items()))

    def series(self, name: str, /, *by: str, **labels: str) -> dict[Any, float]:
        """Return the samples with at least these labels, by the value of another label, or by a tuple of values."""
        wanted = frozenset(labels.items())
        found = {}
        for key, value in self._samples.get(name, {}).items():
            if wanted <= key:
                rest = dict(key)
                found[rest[by[0]] if len(by) == 1 else tuple(rest[label] for label in by)] = value
        return found

    def state(self, pool_id: str) -> str:
        """Return the state of a pool; assert that there is exactly one."""
        states = self.series("cognito_user_pool_state", "state", user_pool_id=pool_id)
        (state,) = (name for name, value in states.items() if value == 1)
        return str(state)

    def about(self, pool_id: str) -> set[str]:
        """Return the names of a pool's samples."""
        label = ("user_pool_id", pool_id)
        return {name for name, series in self._samples.items() if any(label in key for key in series)}

    def failures(self, name: str, /, **labels: str) -> dict[str, float]:
        """Return the samples of a failure counter above 0, by reason."""
        return {reason: value for reason, value in self.series(name, "reason", **labels).items() if value}


# Logs


class Log:
    """Log lines so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def clear(self) -> None:
        """Drop the lines logged so far."""
        self.stream.seek(0)
        self.stream.truncate()

    def events(self, message: str | None = None, /, **fields: Any) -> list[dict[str, Any]]:
        """Return the lines with this message and these fields, in order."""
        lines = (json.loads(line) for line in self.text.splitlines())
        return [
            line
            for line in lines
            if (message is None or line["msg"] == message)
            and all(line.get(name) == value for name, value in fields.items())
        ]


@contextmanager
def captured_log(level: LogLevel = LogLevel.INFO) -> Iterator[Log]:
    """Log as the program does, and restore logging afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("exporter")
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook
    log = Log()
    configure_logging(level, LogFormat.JSON, log.stream)
    try:
        yield log
    finally:
        root.handlers[:], logging.raiseExceptions = before[0], before[3]
        root.setLevel(before[1])
        ours.setLevel(before[2])
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        sys.excepthook, threading.excepthook = hooks


# Configuration


def pool(pool_id: str, **settings: Any) -> dict[str, Any]:
    """Return an entry of `pools`."""
    return {"id": pool_id, **settings}


def config(
    endpoint: str,
    *pools: dict[str, Any] | str,
    rate: Mapping[str, float | str] | None = None,
    series: int = 100_000,
    state: str | None = None,
    discovery: Sequence[Mapping[str, Any]] = (),
    **defaults: Any,
) -> str:
    """Return a configuration for pools of an emulator, whose first sweep starts within half a second."""
    document: dict[str, Any] = {
        "defaults": {"refresh_interval": "5s", "endpoint_url": endpoint, **defaults},
        "pools": [pool(entry) if isinstance(entry, str) else entry for entry in pools],
        "limits": {"rate": dict(rate or FAST), "series": series},
    }
    if discovery:
        document["discovery"] = [dict(rule) for rule in discovery]
        document = {key: value for key, value in document.items() if value != []}
    if state is not None:
        document["state"] = {"path": state}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


# The exporter in this process


def session(directory: Path, sts_url: str, *, access_key: str | None = ACCOUNT) -> boto3.Session:
    """Return a session that ignores the AWS setup of the machine; without an access key, it has no credentials."""
    settings = directory / f"aws-{threading.get_ident()}.ini"
    settings.write_text(f"[default]\nservices = local\n[services local]\nsts =\n  endpoint_url = {sts_url}\n")
    core = BotocoreSession(profile="default")
    core.set_config_variable("config_file", str(settings))
    core.set_config_variable("credentials_file", os.devnull)
    core.set_default_client_config(Config(proxies={}))
    if access_key is None:
        core.register_component("credential_provider", CredentialResolver(providers=[]))
    else:
        core.set_credentials(access_key, "a secret of the tests")
    return boto3.Session(botocore_session=core)


class Exporter:
    """A running exporter."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
        return get(self.url + path, headers)

    def scrape(self, style: str = CLASSIC) -> Page:
        answer = self.get("/metrics", {"Accept": style})
        assert answer.status == 200
        assert answer.content_type.startswith(style.partition(";")[0])
        return Page.parse(answer)

    def only(self, *names: str) -> Page:
        """Scrape these metrics only, which is cheap enough to poll."""
        answer = self.get("/metrics?" + urlencode([("name[]", name) for name in names]))
        assert answer.status == 200
        return Page.parse(answer)

    def value(self, name: str, /, **labels: str) -> float | None:
        """Scrape the sample with exactly these labels; None if there is none."""
        return self.only(name).value(name, **labels)

    def state(self, pool_id: str) -> str:
        """Scrape the state of a pool."""
        return self.only("cognito_user_pool_state").state(pool_id)

    def is_ready(self) -> bool:
        return self.get("/-/ready").status == 200

    def sweeps(self, pool_id: str) -> float:
        """Scrape the number of finished sweeps of a pool."""
        return self.value("cognito_exporter_sweeps_total", user_pool_id=pool_id) or 0

    def after_first_sweep(self, *pool_ids: str, within: float = 20.0) -> Page:
        """Return the page after the first sweep of each pool, successful or not."""
        assert wait_until(lambda: all(map(self.sweeps, pool_ids)), within=within), "no sweep ended in time"
        return self.scrape()

    def after_sweep(self, *pool_ids: str, within: float = 20.0) -> Page:
        """Return the page after a sweep of each pool that starts now or later, for use after a change.

        A sweep in progress may have read the old data.
        """
        began = {pool_id: self.sweeps(pool_id) for pool_id in pool_ids}
        done = 2 if any(began.values()) else 1
        assert wait_until(
            lambda: all(self.sweeps(pool_id) >= before + done for pool_id, before in began.items()), within=within
        ), "no sweep ended in time"
        return self.scrape()


@contextmanager
def serving(
    text: str,
    directory: Path,
    sts_url: str,
    *,
    access_key: str | None = ACCOUNT,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    shard: Shard = UNSHARDED,
    lifecycle: bool = False,
    reload_interval: float = 0.0,
    clock: Clock | None = None,
    tracing: Tracer = NULL_TRACER,
) -> Iterator[Exporter]:
    """Run the exporter in this process with the configuration in `text`; paths are relative to `directory`.

    A reload reads `config.yaml` in that directory.
    """
    settings = parse_settings(text, str(directory / "config.yaml"))
    options = ServeOptions(
        directory / "config.yaml",
        (ListenAddress("127.0.0.1", 0),),
        shard=shard,
        enable_lifecycle=lifecycle,
        auto_reload_interval=reload_interval,
    )
    apis = AwsApis(lambda: session(directory, sts_url, access_key=access_key))
    app = App(settings, options, make_api=apis, clock=clock, retry_policy=retry_policy, tracing=tracing)
    app.start()
    try:
        yield Exporter(f"http://{app.addresses[0]}")
    finally:
        app.stop()


# The exporter as a program


def environment(sts_url: str, **further: str) -> dict[str, str]:
    """Return the environment of a process that can reach only the emulator."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "COGNITO_DEVICE_EXPORTER_")) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_STS": sts_url,
        **further,
    }


class Program(Exporter):
    """`python -m exporter` in a new process that logs JSON."""

    def __init__(self, process: subprocess.Popen[str], stdout: Path, stderr: Path) -> None:
        super().__init__("")
        self.process = process
        self._stdout = stdout
        self._stderr = stderr

    @property
    def out(self) -> str:
        return self._stdout.read_text(encoding="utf-8")

    @property
    def log_text(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def events(self, message: str, /, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines with this message and these fields, in order."""
        log = Log()
        log.stream.write(self.log_text[: self.log_text.rfind("\n") + 1])
        return log.events(message, **fields)

    def wait_until_listening(self, within: float = 20.0) -> None:
        """Wait until the program serves, and record its address."""
        assert eventually(lambda: self.process.poll() is not None or bool(self.events("listening")), within=within)
        assert self.process.poll() is None, self.log_text
        self.url = f"http://{self.events('listening')[0]['address']}"

    def end(self, number: signal.Signals, within: float = 5.0) -> int:
        """Send a signal and return the exit code; fail the test if the process does not exit in time."""
        self.process.send_signal(number)
        return self.process.wait(within)


@contextmanager
def program(arguments: Sequence[str], directory: Path, sts_url: str, **environ: str) -> Iterator[Program]:
    """Run the program with these arguments, and kill it if it still runs at the end."""
    stdout, stderr = directory / "stdout.txt", directory / "stderr.txt"
    with stdout.open("w") as out, stderr.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", *arguments],
            stdout=out,
            stderr=err,
            text=True,
            env=environment(sts_url, **environ),
        )
    try:
        yield Program(process, stdout, stderr)
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving_program(text: str, directory: Path, sts_url: str, *flags: str, **environ: str) -> Iterator[Program]:
    """Run the program with the configuration in `text`, and wait until it listens on loopback."""
    file = directory / "config.yaml"
    file.write_text(text, encoding="utf-8")
    arguments = (
        "serve",
        f"--config.file={file}",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
        *flags,
    )
    with program(arguments, directory, sts_url, **environ) as running:
        running.wait_until_listening()
        yield running


def free_port() -> int:
    """Return a free TCP port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def identity_key(directory: Path, key: str = "the identity key of the tests") -> str:
    """Write a key file for hmac labels and return its path."""
    path = directory / "identity.key"
    path.touch(mode=0o600)
    path.write_text(key)
    return str(path)
