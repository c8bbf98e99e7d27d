"""What is asked for, and what becomes of a sweep; over real HTTP it is shown in tests/integration/test_tracing.py."""

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
from exporter.collect.pools import Connect, PoolManager
from exporter.config.settings import PoolSettings
from exporter.errors import Cancelled, CredentialsError, Reason, UserNotFound
from exporter.observers import NULL_TRACER, UNKNOWN_ACCOUNT, NullTracer, RequestCounts, SweepResult, SweepTrace, Target
from exporter.retry import RetryPolicy
from exporter.shard import UNSHARDED
from exporter.tracing.asked import is_enabled, unsupported_reason
from exporter.tracing.otlp import Delivery
from exporter.tracing.spans import MOST_REQUESTS, SLOW_SECONDS, follow
from exporter.tracing.start import NoTracing, start_tracing
from tests.fakes import ACCOUNT, FakeCognito, FakePool, ManualClock, OffsetClock, RecordingObserver, reader_of
from tests.unit.collect.listed_pools import device, settings

POOL = "eu-west-1_AbCdEfGhI"
HERE = Target(ACCOUNT, "eu-west-1")
COLLECTOR = "http://collector:4318"
READ, LISTED, DESCRIBED = "AdminListDevices", "ListUsers", "DescribeUserPool"

# What is asked for


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
def test_traces_are_asked_for_by_a_collector_or_an_exporter(environ: dict[str, str], expected: bool) -> None:
    assert is_enabled(environ) is expected


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:4318/base"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, "console"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "no address of HTTP"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "no address of HTTP"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:port"}, "no address of HTTP"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "no address of HTTP"),
    ],
)
def test_what_cannot_be_had_is_said(environ: dict[str, str], told: str | None) -> None:
    reason = unsupported_reason(environ)
    assert (reason is None) if told is None else (reason is not None and told in reason)


def test_what_cannot_be_had_is_no_reason_to_end_and_the_address_is_not_repeated() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://user:s3cret@collector"}
    with capture_logs() as logs:
        assert isinstance(start_tracing(environ, SystemClock(), version="1", shard=UNSHARDED), NoTracing)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("no traces", "warning")
    assert "s3cret" not in str(line)


# What becomes of a sweep


class Traced:
    """One sweep, followed, on a clock that the test turns."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.clock = ManualClock(wall=1000.0)
        self.sweep: SweepTrace = follow(provider.get_tracer("test"), POOL, self.clock)

    def ask(
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

    def ends(self, result: SweepResult | None = None) -> None:
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
def traced() -> Traced:
    return Traced()


def test_a_sweep_has_its_phases_from_the_first_wait_to_the_last_answer(traced: Traced) -> None:
    traced.clock.advance(2)
    traced.sweep.rate_limit_waited(HERE, Category.USER_POOL_READ, 2)
    traced.ask(DESCRIBED, 0.5)
    traced.ask(LISTED, 0.25)
    traced.ask(READ, 0.5)
    traced.ask(READ, 0.25)
    traced.clock.advance(1)
    traced.ends(SweepResult(None, complete=True))
    assert {span.name: seconds_of(span) for span in traced.spans} == {
        "sweep": (1000, 1004.5),
        "describe": (1000, 1002.5),
        "enumerate": (1002.5, 1002.75),
        "read": (1002.75, 1003.5),
    }
    sweep = traced.one("sweep").context
    assert {span.name for span in traced.spans if span.parent == sweep} == {"describe", "enumerate", "read"}


def test_a_phase_has_sums_of_its_requests(traced: Traced) -> None:
    traced.sweep.rate_limit_waited(HERE, Category.USER_RESOURCE_READ, 0.5)
    traced.ask(READ, 0.25)
    traced.sweep.rate_limit_waited(HERE, Category.USER_RESOURCE_READ, 1.5)
    traced.ask(READ, 0.75, Reason.THROTTLED)
    traced.ask(READ, 0, Reason.CREDENTIALS, attempted=False)
    traced.ends()
    assert attributes(traced.one("read")) == {
        "requests": 2,
        "requests_failed": 2,
        "request_seconds_total": 1.0,
        "request_seconds_max": 0.75,
        "rate_limit_wait_seconds_total": 2.0,
    }


def test_every_request_of_a_sweep_belongs_to_a_phase(traced: Traced) -> None:
    aside = {Operation.GET_CALLER_IDENTITY, Operation.GET_PROVISIONED_LIMIT, Operation.LIST_USER_POOLS}
    for operation in set(Operation) - aside - {Operation.LIST_TAGS_FOR_RESOURCE}:
        traced.ask(operation)
    for category in set(Category) - {Category.USER_POOL_RESOURCE_READ}:
        traced.sweep.rate_limit_waited(HERE, category, 0)


def test_a_pool_that_is_described_again_later_does_not_stretch_its_first_description(traced: Traced) -> None:
    traced.ask(DESCRIBED)
    traced.ask(READ)
    traced.ask(DESCRIBED)
    traced.ends()
    assert seconds_of(traced.one("describe")) == pytest.approx((1000, 1000.1))
    assert attributes(traced.one("read"))["requests"] == 2


def test_only_requests_that_failed_or_were_slow_have_spans(traced: Traced) -> None:
    traced.ask(READ, SLOW_SECONDS)
    traced.ask(READ, SLOW_SECONDS + 1)
    traced.ask(READ, 0.5, Reason.THROTTLED)
    traced.ends()
    slow, failed = traced.named(f"Cognito Identity Provider.{READ}")
    read = traced.one("read")
    assert slow.parent == failed.parent == read.context
    assert (seconds_of(slow), slow.status.status_code) == ((1001, 1003), StatusCode.UNSET)
    assert (seconds_of(failed), failed.status.status_code) == ((1003, 1003.5), StatusCode.ERROR)
    assert attributes(failed) == {
        "rpc.system": "aws-api",
        "rpc.service": "Cognito Identity Provider",
        "rpc.method": READ,
        "error.type": "throttled",
    }


def test_however_many_requests_fail_the_trace_stays_small(traced: Traced) -> None:
    for _ in range(MOST_REQUESTS + 7):
        traced.ask(READ, 0.001, Reason.SERVER_ERROR)
    traced.ends()
    assert len(traced.spans) == MOST_REQUESTS + 2
    assert attributes(traced.one("sweep"))["requests_left_out"] == 7
    assert attributes(traced.one("read"))["requests_failed"] == MOST_REQUESTS + 7


@pytest.mark.parametrize(
    ("result", "outcome", "error", "status"),
    [
        (SweepResult(None, complete=True), "complete", None, StatusCode.UNSET),
        (SweepResult(Reason.TIMEOUT, complete=True), "partial", "timeout", StatusCode.UNSET),
        (SweepResult(Reason.DENIED, complete=False), "failed", "denied", StatusCode.ERROR),
        (None, "abandoned", None, StatusCode.UNSET),
    ],
)
def test_a_sweep_says_how_it_went(
    traced: Traced, result: SweepResult | None, outcome: str, error: str | None, status: StatusCode
) -> None:
    traced.ends(result)
    sweep = traced.one("sweep")
    assert attributes(sweep)["sweep.outcome"] == outcome
    assert attributes(sweep).get("error.type") == error
    assert sweep.status.status_code is status


def test_a_sweep_says_of_what_and_how_much(traced: Traced) -> None:
    traced.ask(DESCRIBED, target=Target(UNKNOWN_ACCOUNT, "eu-west-1"))
    assert "cloud.account.id" not in attributes(traced.sweep._span)  # type: ignore[attr-defined] # while it is open
    traced.ask(LISTED)
    traced.ends(SweepResult(Reason.TIMEOUT, complete=True, users=9, users_not_read=2, requests=RequestCounts(12, 3)))
    assert attributes(traced.one("sweep")) == {
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


def test_spans_fit_together_when_the_wall_clock_is_set_in_mid_sweep() -> None:
    provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    clock = OffsetClock()
    sweep = follow(provider.get_tracer("test"), POOL, clock)
    clock.step_wall(-86_400)
    sweep.request_finished(HERE, READ, 0.0, None, attempted=True)
    sweep.close()
    read, whole = memory.get_finished_spans()
    assert seconds_of(whole)[0] <= seconds_of(read)[0] <= seconds_of(read)[1] <= seconds_of(whole)[1]


def test_what_comes_after_the_end_is_told_to_nobody(traced: Traced) -> None:
    traced.ask(READ)
    traced.ends()
    before = len(traced.spans)
    traced.ask(READ, 5, Reason.TIMEOUT)
    traced.sweep.rate_limit_waited(HERE, Category.USER_LIST, 1)
    traced.ends()
    assert len(traced.spans) == before


def test_a_sweep_that_the_sampler_leaves_out_is_not_followed() -> None:
    traced = Traced(ALWAYS_OFF)
    assert traced.sweep is NULL_TRACER


# Who tells it


class Noting(NullTracer):
    """Follows one sweep after the other, and notes what it hears of their ends."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def start_sweep(self, pool_id: str) -> SweepTrace:
        self.heard.append(pool_id)
        return self

    def sweep_result(self, result: SweepResult) -> None:
        self.heard.append(result)

    def close(self) -> None:
        self.heard.append("ended")


def swept(connect: Connect) -> list[object]:
    """What is heard of one sweep of a pool that is reached so."""
    noting = Noting()
    fleet = PoolManager(
        connect,
        RecordingObserver(),
        SystemClock(),
        retry_policy=RetryPolicy(attempts=1, first_attempts=1),
        tracer=noting,
    )
    fleet.apply((settings(id=POOL),), 1000)
    fleet._pools[POOL].sweep()
    return noting.heard


def reaching(pools: dict[str, FakePool]) -> Connect:
    def connect(pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        return reader_of(FakeCognito(pools), pool.id, cancelled=cancelled)

    return connect


def raising(error: Exception) -> Connect:
    def connect(pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:  # noqa: ARG001 - never gets so far
        raise error

    return connect


@pytest.mark.parametrize(
    ("connect", "result"),
    [
        (
            reaching({POOL: FakePool(users={"ann": (device("a"),)})}),
            [SweepResult(None, complete=True, users=1, devices=1, requests=RequestCounts(3, 0))],
        ),
        (
            reaching({}),
            [SweepResult(Reason.NOT_FOUND, complete=False, requests=RequestCounts(1, 0))],
        ),
        (raising(CredentialsError("client", "NoCredentials")), [SweepResult(Reason.CREDENTIALS, complete=False)]),
        (raising(RuntimeError("nobody foresaw this")), [SweepResult(Reason.OTHER, complete=False)]),
        (raising(Cancelled("told to stop")), []),
    ],
    ids=["read", "missing", "not reached", "unforeseen", "cancelled"],
)
def test_every_sweep_is_told_with_what_it_came_to(connect: Connect, result: list[SweepResult]) -> None:
    assert swept(connect) == [POOL, *result, "ended"]


def test_who_watches_a_reader_hears_of_every_request_what_the_metrics_hear() -> None:
    metrics, watching = RecordingObserver(), RecordingObserver()
    reader = reader_of(FakeCognito({POOL: FakePool(users={"ann": ()})}), POOL, observer=metrics)
    reader.describe()
    assert metrics.heard.total() == 2
    metrics.heard.clear()
    reader.add_observer(watching)
    reader.users(user_filter=None, token=None)
    with pytest.raises(UserNotFound):
        reader.devices("bob", token=None, on_send=lambda: None)
    assert watching.heard == metrics.heard
    assert watching.heard.total() == 4


# Delivery


class Arriving(SpanExporter):
    """Takes batches, or does not."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - only the result counts
        return self.result

    def shutdown(self) -> None:
        """Nothing to end."""


def test_the_log_hears_once_that_traces_do_not_arrive_and_once_that_they_do_again() -> None:
    arriving = Arriving()
    delivery = Delivery(arriving, lambda: "HTTP 401")
    with capture_logs() as logs:
        for result in (SpanExportResult.SUCCESS, *[SpanExportResult.FAILURE] * 3, *[SpanExportResult.SUCCESS] * 2):
            arriving.result = result
            assert delivery.export([]) is result
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("traces do not arrive, and are lost until they do", "HTTP 401"),
        ("traces arrive again", None),
    ]
