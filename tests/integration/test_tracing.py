"""Traces of the exporter over real OTLP, to a collector that answers, refuses, is silent or is not there."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import exporter
from exporter.clock import SystemClock
from exporter.emulator import Emulator, Fault, Rule
from exporter.shard import UNSHARDED, Shard
from exporter.tracing.start import start_tracing
from tests.fakes import eventually
from tests.harness import Exporter, Log, config, free_port, identity_key, serving, wait_until
from tests.truth import native_users

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Milliseconds until a batch leaves."""


def values(attributes: list[KeyValue]) -> dict[str, Any]:
    def plain(value: AnyValue) -> Any:
        return getattr(value, str(value.WhichOneof("value")))

    return {pair.key.removeprefix("cognito_exporter."): plain(pair.value) for pair in attributes}


class Collector:
    """OTLP collector that accepts traces and responds with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.bytes = b""
        self.refused = 0
        self.lock = threading.Lock()
        self.url = ""

    def take(self, body: bytes) -> int:
        with self.lock:
            if self.status != 200:
                self.refused += 1
                return self.status
            self.bytes += body
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                self.resources.append(values(list(resource.resource.attributes)))
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            return 200

    def named(self, name: str) -> list[Span]:
        with self.lock:
            return [span for span in self.spans if span.name == name]

    def sweeps(self) -> list[dict[str, Any]]:
        """The attributes of the sweeps that have arrived."""
        return [values(list(span.attributes)) for span in self.named("sweep")]

    def trace_of(self, sweep: Span) -> list[Span]:
        with self.lock:
            return [span for span in self.spans if span.trace_id == sweep.trace_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status = collector.take(body) if self.path == "/v1/traces" else 404
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        collector.url = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@contextmanager
def traced(
    text: str, directory: Path, emulator: Emulator, collector: str, *, shard: Shard = UNSHARDED, **environ: str
) -> Iterator[Exporter]:
    """Serve with traces to a collector; OpenTelemetry reads the environment of the process."""
    environ = {**SOON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector, **environ}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        tracing = start_tracing(os.environ, SystemClock(), version=exporter.__version__, shard=shard)
    with serving(text, directory, emulator.url, shard=shard, tracing=tracing) as running:
        yield running


def test_sweep_trace_matches_the_pool(emulator: Emulator, tmp_path: Path, collector: Collector) -> None:
    pool_id = emulator.seed_pool("pool", users=130)
    truth = emulator.truth(pool_id)
    text = config(emulator.url, pool_id, refresh_interval="1h", identity="raw", detail="device")
    with traced(text, tmp_path, emulator, collector.url, OTEL_EXPORTER_OTLP_COMPRESSION="gzip"):
        assert eventually(lambda: bool(collector.sweeps()), within=20)
    (sweep,) = collector.named("sweep")
    told = values(list(sweep.attributes))
    phases = {span.name: span for span in collector.trace_of(sweep) if span.parent_span_id == sweep.span_id}
    assert set(phases) == {"describe", "enumerate", "read"}
    requests = {name: values(list(span.attributes))["requests"] for name, span in phases.items()}
    assert requests["describe"] == 1
    assert requests["enumerate"] == 3
    assert requests["read"] >= native_users(truth)
    assert told == {
        "cognito.user_pool.id": pool_id,
        "cloud.provider": "aws",
        "cloud.region": "eu-west-1",
        "cloud.account.id": "123456789012",
        "sweep.outcome": "complete",
        "users": 130,
        "devices": len(truth.devices),
        "users_not_read": 0,
        "requests": sum(requests.values()),
        "requests_throttled": 0,
        "requests_left_out": 0,
    }
    for span in phases.values():
        assert sweep.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= sweep.end_time_unix_nano
    assert abs(sweep.end_time_unix_nano / 1e9 - time.time()) < 60
    (resource,) = {json.dumps(found, sort_keys=True) for found in collector.resources}
    assert json.loads(resource)["service.name"] == "cognito-device-exporter"
    assert json.loads(resource)["service.version"] == exporter.__version__


def test_failed_requests_have_spans_without_personal_data(
    emulator: Emulator, tmp_path: Path, collector: Collector
) -> None:
    names = [f"person-{number}" for number in range(25)]
    pool_id = emulator.seed_pool("pool", users=names)
    emulator.faults.rules = (Rule(Fault.SERVER_ERROR, operation="AdminListDevices", share=0.3),)
    text = config(emulator.url, pool_id, refresh_interval="1h", identity="raw", detail="device")
    with traced(text, tmp_path, emulator, collector.url):
        assert eventually(lambda: bool(collector.sweeps()), within=30)
    (sweep,) = collector.named("sweep")
    (read,) = collector.named("read")
    failed = collector.named("Cognito Identity Provider.AdminListDevices")
    assert failed
    assert {span.parent_span_id for span in failed} == {read.span_id}
    assert {values(list(span.attributes))["error.type"] for span in failed} == {"server_error"}
    assert len(failed) == values(list(read.attributes))["requests_failed"]
    assert values(list(sweep.attributes))["sweep.outcome"] == "complete"
    devices = [device.key for device in emulator.truth(pool_id).devices]
    assert devices
    for secret in (*names, *devices, "arn:", "a-secret-of-the-tests"):
        assert secret.encode() not in collector.bytes


def test_failed_sweep_trace_has_the_reason(emulator: Emulator, tmp_path: Path, collector: Collector) -> None:
    pool_id = emulator.seed_pool("pool", users=5)
    emulator.faults.rules = (Rule(Fault.DENIED, pool_id=pool_id),)
    with traced(config(emulator.url, pool_id), tmp_path, emulator, collector.url):
        assert eventually(lambda: bool(collector.sweeps()), within=20)
    sweep = collector.sweeps()[0]
    assert (sweep["sweep.outcome"], sweep["error.type"]) == ("failed", "denied")
    assert collector.named("sweep")[0].status.code == 2
    assert "users" not in sweep


def test_shutdown_exports_the_remaining_spans(
    emulator: Emulator, tmp_path: Path, collector: Collector, log: Log
) -> None:
    pool_id = emulator.seed_pool("pool", users=5)
    text = config(emulator.url, pool_id, refresh_interval="1h")
    with traced(text, tmp_path, emulator, collector.url, OTEL_BSP_SCHEDULE_DELAY="3600000"):
        assert eventually(lambda: bool(log.events("sweep finished")), within=20)
        assert not collector.spans
    assert collector.sweeps()


def test_sweep_running_at_shutdown_is_abandoned(emulator: Emulator, tmp_path: Path, collector: Collector) -> None:
    pool_id = emulator.seed_pool("pool", users=60)
    text = config(emulator.url, pool_id, refresh_interval="1h", rate={"UserResourceRead": 5})
    with traced(text, tmp_path, emulator, collector.url) as running:
        progress = "cognito_exporter_sweep_progress_ratio"
        assert wait_until(lambda: bool(running.value(progress, user_pool_id=pool_id)))
    (sweep,) = collector.sweeps()
    assert sweep["sweep.outcome"] == "abandoned"
    (read,) = collector.named("read")
    assert 0 < values(list(read.attributes))["requests"] < 60


@contextmanager
def silent() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def absent() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("dead", [absent, silent])
def test_dead_collector_delays_nothing_and_is_logged_once(
    dead: Any, emulator: Emulator, tmp_path: Path, log: Log
) -> None:
    pool_id = emulator.seed_pool("pool", users=10)
    text = config(emulator.url, pool_id, refresh_interval="1s")
    lost = "trace export failed; dropping traces until it succeeds"
    with dead() as url:
        with traced(text, tmp_path, emulator, url, OTEL_EXPORTER_OTLP_TIMEOUT="1") as running:
            assert eventually(lambda: bool(log.events(lost)), within=20)
            before = running.sweeps(pool_id)
            assert wait_until(lambda: running.sweeps(pool_id) >= before + 3)
            assert running.state(pool_id) == "ok"
            began = time.monotonic()
        assert time.monotonic() - began < 5
    (line,) = log.events(lost)
    assert line["error"] in {"ConnectionError", "ReadTimeout"}
    assert "opentelemetry" not in log.text
    assert "127.0.0.1" not in str(line)


@pytest.mark.parametrize("dead", [absent, silent])
def test_shutdown_does_not_wait_for_a_dead_collector(dead: Any, emulator: Emulator, tmp_path: Path, log: Log) -> None:
    """With OpenTelemetry's own patience: ten seconds for a batch, thirty for the end."""
    pool_id = emulator.seed_pool("pool", users=3)
    with dead() as url:
        with traced(config(emulator.url, pool_id), tmp_path, emulator, url):
            assert eventually(lambda: bool(log.events("sweep finished")), within=20)
            began = time.monotonic()
        assert time.monotonic() - began < 5


def test_collector_failure_and_recovery_are_logged(
    emulator: Emulator, tmp_path: Path, collector: Collector, log: Log
) -> None:
    collector.status = 401
    pool_id = emulator.seed_pool("pool", users=10)
    with traced(config(emulator.url, pool_id, refresh_interval="1s"), tmp_path, emulator, collector.url):
        assert eventually(lambda: collector.refused > 2, within=20)
        assert [line["error"] for line in log.events("trace export failed; dropping traces until it succeeds")] == [
            "HTTP 401"
        ]
        collector.status = 200
        assert eventually(lambda: bool(log.events("trace export recovered")) and bool(collector.sweeps()), within=20)


def test_operator_resource_attributes_take_precedence(emulator: Emulator, tmp_path: Path, collector: Collector) -> None:
    pool_id = emulator.seed_pool("pool", users=3)
    text = config(emulator.url, pool_id, refresh_interval="1s", identity_key_file=identity_key(tmp_path))
    said = {"OTEL_SERVICE_NAME": "devices", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod"}
    with traced(text, tmp_path, emulator, collector.url, shard=Shard(1, 2), **said):
        assert eventually(lambda: bool(collector.sweeps()), within=20)
    resource = collector.resources[0]
    assert resource["service.name"] == "devices"
    assert resource["deployment.environment.name"] == "prod"
    assert resource["shard"] == "1/2"
