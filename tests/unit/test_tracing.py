"""Settings, spans and export errors of tracing. tests/integration/test_tracing.py covers OTLP over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs

from exporter.aws.api import Category, Operation, PoolReader
from exporter.clock import SystemClock
from exporter.collect.pools import PoolManager
from exporter.collect.sweeping.sweep import Connect
from exporter.config.settings import PoolSettings
from exporter.errors import Cancelled, CredentialsError, Reason, UserNotFound
from exporter.observers import NULL_TRACER, UNKNOWN_ACCOUNT, NullTracer, RequestCounts, SweepResult, SweepTrace, Target
from exporter.retry import RetryPolicy
from exporter.shard import UNSHARDED
from exporter.tracing.otlp import LoggingSpanExporter
from exporter.tracing.spans import MAX_REQUEST_SPANS, SLOW_SECONDS, start_trace
from exporter.tracing.start import is_enabled, start_tracing, unsupported_reason
from tests.fakes import ACCOUNT, FakeCognito, FakePool, ManualClock, OffsetClock, RecordingObserver, reader_of
from tests.unit.collect.listed_pools import device, settings

POOL = "eu-west-1_AbCdEfGhI"
HERE = Target(ACCOUNT, "eu-west-1")
COLLECTOR = "http://collector:4318"
READ, LISTED, DESCRIBED = "AdminListDevices", "ListUsers", "DescribeUserPool"

# Settings


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SDK_DISABLED": "false", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_SERVICE_NAME": "ours"}, False),
    ],
)
def test_tracing_is_enabled_by_endpoint_or_exporter(environ: dict[str, str], expected: bool) -> None:
    assert is_enabled(environ) is expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:4318/base"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, "console"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "not an HTTP URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "not an HTTP URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:port"}, "not an HTTP URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "not an HTTP URL"),
    ],
)
def test_unsupported_reason_names_setting(environ: dict[str, str], expected: str | None) -> None:
    reason = unsupported_reason(environ)
    assert (reason is None) if expected is None else (reason is not None and expected in reason)


def test_unsupported_endpoint_is_logged_without_its_value() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://user:s3cret@collector"}
    with capture_logs() as logs:
        assert start_tracing(environ, SystemClock(), version="1", shard=UNSHARDED) is NULL_TRACER
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("tracing disabled", "warning")
    assert "s3cret" not in str(line)


# Spans


class TraceHarness:
    """Trace of one sweep on a manual clock."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.clock = ManualClock(wall=1000.0)
        self.sweep: SweepTrace = start_trace(provider.get_tracer("test"), POOL, self.clock)

    def request(
        self,
        operation: str,
        seconds: float = 0.1,
        reason: Reason | None = None,
        *,
        target: Target = HERE,
        attempted: bool = True,
    ) -> None:
        self.clock.advance(seconds)
        self.sweep.request_finished(target, operation, seconds, reason, attempted=attempted)

    def close(self, result: SweepResult | None = None) -> None:
        if result is not None:
            self.sweep.sweep_result(result)
        self.sweep.close()

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._memory.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


def seconds_of(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def attributes(span: ReadableSpan) -> dict[str, object]:
    assert span.attributes is not None
    return {name.removeprefix("cognito_exporter."): value for name, value in span.attributes.items()}


@pytest.fixture
def harness() -> TraceHarness:
    return TraceHarness()


def test_phase_spans_first_wait_to_last_response(harness: TraceHarness) -> None:
    harness.clock.advance(2)
    harness.sweep.rate_limit_waited(HERE, Category.USER_POOL_READ, 2)
    harness.request(DESCRIBED, 0.5)
    harness.request(LISTED, 0.25)
    harness.request(READ, 0.5)
    harness.request(READ, 0.25)
    harness.clock.advance(1)
    harness.close(SweepResult(None, complete=True))
    assert {span.name: seconds_of(span) for span in harness.spans} == {
        "sweep": (1000, 1004.5),
        "describe": (1000, 1002.5),
        "enumerate": (1002.5, 1002.75),
        "read": (1002.75, 1003.5),
    }
    sweep = harness.one("sweep").context
    assert {span.name for span in harness.spans if span.parent == sweep} == {"describe", "enumerate", "read"}


def test_phase_has_sums_of_its_requests(harness: TraceHarness) -> None:
    harness.sweep.rate_limit_waited(HERE, Category.USER_RESOURCE_READ, 0.5)
    harness.request(READ, 0.25)
    harness.sweep.rate_limit_waited(HERE, Category.USER_RESOURCE_READ, 1.5)
    harness.request(READ, 0.75, Reason.THROTTLED)
    harness.request(READ, 0, Reason.CREDENTIALS, attempted=False)
    harness.close()
    assert attributes(harness.one("read")) == {
        "requests": 2,
        "requests_failed": 2,
        "request_seconds_total": 1.0,
        "request_seconds_max": 0.75,
        "rate_limit_wait_seconds_total": 2.0,
    }


def test_every_request_belongs_to_a_phase(harness: TraceHarness) -> None:
    outside_sweeps = {Operation.GET_CALLER_IDENTITY, Operation.GET_PROVISIONED_LIMIT, Operation.LIST_USER_POOLS}
    for operation in set(Operation) - outside_sweeps - {Operation.LIST_TAGS_FOR_RESOURCE}:
        harness.request(operation)
    for category in set(Category) - {Category.USER_POOL_RESOURCE_READ}:
        harness.sweep.rate_limit_waited(HERE, category, 0)


def test_later_describe_belongs_to_current_phase(harness: TraceHarness) -> None:
    harness.request(DESCRIBED)
    harness.request(READ)
    harness.request(DESCRIBED)
    harness.close()
    assert seconds_of(harness.one("describe")) == pytest.approx((1000, 1000.1))
    assert attributes(harness.one("read"))["requests"] == 2


def test_only_failed_and_slow_requests_have_spans(harness: TraceHarness) -> None:
    harness.request(READ, SLOW_SECONDS)
    harness.request(READ, SLOW_SECONDS + 1)
    harness.request(READ, 0.5, Reason.THROTTLED)
    harness.close()
    slow, failed = harness.named(f"Cognito Identity Provider.{READ}")
    read = harness.one("read")
    assert slow.parent == failed.parent == read.context
    assert (seconds_of(slow), slow.status.status_code) == ((1001, 1003), StatusCode.UNSET)
    assert (seconds_of(failed), failed.status.status_code) == ((1003, 1003.5), StatusCode.ERROR)
    assert attributes(failed) == {
        "rpc.system": "aws-api",
        "rpc.service": "Cognito Identity Provider",
        "rpc.method": READ,
        "error.type": "throttled",
    }


def test_request_spans_are_limited(harness: TraceHarness) -> None:
    for _ in range(MAX_REQUEST_SPANS + 7):
        harness.request(READ, 0.001, Reason.SERVER_ERROR)
    harness.close()
    assert len(harness.spans) == MAX_REQUEST_SPANS + 2
    assert attributes(harness.one("sweep"))["requests_left_out"] == 7
    assert attributes(harness.one("read"))["requests_failed"] == MAX_REQUEST_SPANS + 7


@pytest.mark.parametrize(
    ("result", "outcome", "error", "status"),
    [
        (SweepResult(None, complete=True), "complete", None, StatusCode.UNSET),
        (SweepResult(Reason.TIMEOUT, complete=True), "partial", "timeout", StatusCode.UNSET),
        (SweepResult(Reason.DENIED, complete=False), "failed", "denied", StatusCode.ERROR),
        (None, "abandoned", None, StatusCode.UNSET),
    ],
)
def test_sweep_span_has_outcome(
    harness: TraceHarness, result: SweepResult | None, outcome: str, error: str | None, status: StatusCode
) -> None:
    harness.close(result)
    sweep = harness.one("sweep")
    assert attributes(sweep)["sweep.outcome"] == outcome
    assert attributes(sweep).get("error.type") == error
    assert sweep.status.status_code is status


def test_sweep_span_has_attributes_of_result(harness: TraceHarness) -> None:
    harness.request(DESCRIBED, target=Target(UNKNOWN_ACCOUNT, "eu-west-1"))
    harness.request(LISTED)
    harness.close(SweepResult(Reason.TIMEOUT, complete=True, users=9, users_not_read=2, requests=RequestCounts(12, 3)))
    assert attributes(harness.one("sweep")) == {
        "cognito.user_pool.id": POOL,
        "cloud.provider": "aws",
        "cloud.region": "eu-west-1",
        "cloud.account.id": ACCOUNT,
        "sweep.outcome": "partial",
        "error.type": "timeout",
        "users": 9,
        "users_not_read": 2,
        "requests": 12,
        "requests_throttled": 3,
        "requests_left_out": 0,
    }


def test_sweep_span_of_unknown_account_has_no_account_id(harness: TraceHarness) -> None:
    harness.request(DESCRIBED, target=Target(UNKNOWN_ACCOUNT, "eu-west-1"))
    harness.close()
    assert "cloud.account.id" not in attributes(harness.one("sweep"))


def test_spans_are_consistent_after_wall_clock_change() -> None:
    provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    clock = OffsetClock()
    sweep = start_trace(provider.get_tracer("test"), POOL, clock)
    clock.step_wall(-86_400)
    sweep.request_finished(HERE, READ, 0.0, None, attempted=True)
    sweep.close()
    read, whole = memory.get_finished_spans()
    assert seconds_of(whole)[0] <= seconds_of(read)[0] <= seconds_of(read)[1] <= seconds_of(whole)[1]


def test_closed_trace_ignores_requests(harness: TraceHarness) -> None:
    harness.request(READ)
    harness.close()
    before = len(harness.spans)
    harness.request(READ, 5, Reason.TIMEOUT)
    harness.sweep.rate_limit_waited(HERE, Category.USER_LIST, 1)
    harness.close()
    assert len(harness.spans) == before


def test_sweep_dropped_by_sampler_is_not_traced() -> None:
    harness = TraceHarness(ALWAYS_OFF)
    assert harness.sweep is NULL_TRACER


# Calls by sweeps


class RecordingTracer(NullTracer):
    """Tracer that records the start, result and end of each sweep."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def start_sweep(self, pool_id: str) -> SweepTrace:
        self.events.append(pool_id)
        return self

    def sweep_result(self, result: SweepResult) -> None:
        self.events.append(result)

    def close(self) -> None:
        self.events.append("closed")


def traced_events(connect: Connect) -> list[object]:
    """Return the events of one sweep."""
    tracer = RecordingTracer()
    pool_manager = PoolManager(
        connect,
        RecordingObserver(),
        SystemClock(),
        retry_policy=RetryPolicy(attempts=1, first_attempts=1),
        tracer=tracer,
    )
    pool_manager.apply((settings(id=POOL),), 1000)
    pool_manager.sweep_now(POOL)
    return tracer.events


def connecting(pools: dict[str, FakePool]) -> Connect:
    def connect(pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        return reader_of(FakeCognito(pools), pool.id, cancelled=cancelled)

    return connect


def failing(error: Exception) -> Connect:
    def connect(pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:  # noqa: ARG001 - raises
        raise error

    return connect


@pytest.mark.parametrize(
    ("connect", "result"),
    [
        (
            connecting({POOL: FakePool(users={"ann": (device("a"),)})}),
            [SweepResult(None, complete=True, users=1, devices=1, requests=RequestCounts(3, 0))],
        ),
        (
            connecting({}),
            [SweepResult(Reason.NOT_FOUND, complete=False, requests=RequestCounts(1, 0))],
        ),
        (failing(CredentialsError("client", "NoCredentials")), [SweepResult(Reason.CREDENTIALS, complete=False)]),
        (failing(RuntimeError("unexpected")), [SweepResult(Reason.OTHER, complete=False)]),
        (failing(Cancelled("canceled")), []),
    ],
    ids=["read", "missing", "unreachable", "unexpected", "cancelled"],
)
def test_sweep_reports_its_result_to_tracer(connect: Connect, result: list[SweepResult]) -> None:
    assert traced_events(connect) == [POOL, *result, "closed"]


def test_added_observer_receives_same_events_as_metrics() -> None:
    metrics, added = RecordingObserver(), RecordingObserver()
    reader = reader_of(FakeCognito({POOL: FakePool(users={"ann": ()})}), POOL, observer=metrics)
    reader.describe()
    assert metrics.heard.total() == 2
    metrics.heard.clear()
    reader.add_observer(added)
    reader.users(user_filter=None, token=None)
    with pytest.raises(UserNotFound):
        reader.devices("bob", token=None, on_send=lambda: None)
    assert added.heard == metrics.heard
    assert added.heard.total() == 4


# Export


class FakeSpanExporter(SpanExporter):
    """Span exporter that returns a given result."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - as the base class has it
        return self.result

    def shutdown(self) -> None:
        """Do nothing."""


def test_failed_and_recovered_exports_are_logged_once() -> None:
    fake = FakeSpanExporter()
    exporter = LoggingSpanExporter(fake, lambda: "HTTP 401")
    with capture_logs() as logs:
        for result in (SpanExportResult.SUCCESS, *[SpanExportResult.FAILURE] * 3, *[SpanExportResult.SUCCESS] * 2):
            fake.result = result
            assert exporter.export([]) is result
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("trace export failed; dropping traces until it succeeds", "HTTP 401"),
        ("trace export recovered", None),
    ]
