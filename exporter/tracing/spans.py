"""Spans of one sweep: the sweep, its phases, and exceptional requests.

A sweep makes at least one request per user, and almost all of them are alike. They are summed per phase. Only requests
that failed or were slow have their own spans, up to a limit. No attribute contains a user name, device key or ARN.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from exporter.aws.api import Category, Operation
from exporter.clock import Clock
from exporter.errors import Reason
from exporter.model import region_of
from exporter.observers import NULL_TRACER, UNKNOWN_ACCOUNT, SweepResult, SweepTrace, Target

SLOW_SECONDS = 1.0
"""A request that took longer has its own span."""

MAX_REQUEST_SPANS = 100
"""Maximum number of request spans per sweep. Further requests are only counted."""

_DESCRIBE, _ENUMERATE, _READ = "describe", "enumerate", "read"
_PHASES = {
    Operation.DESCRIBE_USER_POOL.value: _DESCRIBE,
    Operation.LIST_USERS.value: _ENUMERATE,
    Operation.LIST_USERS_IN_GROUP.value: _ENUMERATE,
    Operation.ADMIN_LIST_DEVICES.value: _READ,
    Category.USER_POOL_READ.value: _DESCRIBE,
    Category.USER_LIST.value: _ENUMERATE,
    Category.USER_RESOURCE_READ.value: _READ,
}
"""Phase of each operation and of each quota category."""

_SERVICE = "Cognito Identity Provider"


@dataclass(slots=True)
class _Phase:
    span: Span
    end: float
    """Monotonic time in seconds at which the last request ended."""
    requests: int = 0
    failed: int = 0
    seconds_max: float = 0.0
    seconds_total: float = 0.0
    waited: float = 0.0

    def attributes(self) -> dict[str, int | float]:
        return {
            "cognito_exporter.requests": self.requests,
            "cognito_exporter.requests_failed": self.failed,
            "cognito_exporter.request_seconds_total": self.seconds_total,
            "cognito_exporter.request_seconds_max": self.seconds_max,
            "cognito_exporter.rate_limit_wait_seconds_total": self.waited,
        }


def start_trace(tracer: Tracer, pool_id: str, clock: Clock) -> SweepTrace:
    """Start the trace of a sweep, unless the sampler drops it."""
    wall_offset = clock.wall() - clock.monotonic()
    attributes = {"cognito.user_pool.id": pool_id, "cloud.provider": "aws", "cloud.region": region_of(pool_id)}
    start_time = _nanoseconds(clock.monotonic() + wall_offset)
    span = tracer.start_span("sweep", attributes=attributes, start_time=start_time)
    return SweepSpans(tracer, span, wall_offset, clock) if span.is_recording() else NULL_TRACER


class SweepSpans:
    """`SweepTrace` that creates spans. Reads the wall clock once, so that clock changes do not distort the trace."""

    def __init__(self, tracer: Tracer, span: Span, wall_offset: float, clock: Clock) -> None:
        """`wall_offset`: wall time minus monotonic time, in seconds."""
        self._tracer = tracer
        self._span = span
        self._wall_offset = wall_offset
        self._clock = clock
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._request_spans = 0
        self._omitted_spans = 0
        self._result: SweepResult | None = None
        self._ended = False

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:  # noqa: ARG002 - as the protocol has it
        """Add the wait to its phase, which starts with the wait for its first request."""
        now = self._clock.monotonic()
        with self._lock:
            if not self._ended:
                self._phase(category, now - seconds).waited += seconds

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Add the request to its phase, and create a span if it failed or was slow."""
        now = self._clock.monotonic()
        with self._lock:
            if self._ended:
                return
            phase = self._phase(operation, now - seconds)
            phase.end = now
            phase.requests += attempted
            phase.failed += reason is not None
            phase.seconds_total += seconds
            phase.seconds_max = max(phase.seconds_max, seconds)
            if target.account_id != UNKNOWN_ACCOUNT:
                self._span.set_attribute("cloud.account.id", target.account_id)
            if reason is not None or seconds > SLOW_SECONDS:
                self._add_request_span(phase, operation, now - seconds, now, reason)

    def sweep_result(self, result: SweepResult) -> None:
        """Record the result of the sweep."""
        self._result = result

    def close(self) -> None:
        """End all spans. Later requests and calls are ignored."""
        now = self._clock.monotonic()
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for phase in self._phases.values():
                phase.span.set_attributes(phase.attributes())
                phase.span.end(self._wall(phase.end))
            self._set_result()
            self._span.end(self._wall(now))

    def _phase(self, operation_or_category: str, start: float) -> _Phase:
        """Return the phase of a request or wait; create it if this is its first.

        If the pool is described again in a later phase, that request belongs to the later phase.
        """
        name = _PHASES[operation_or_category]
        if name == _DESCRIBE and self._phases:
            name = next(reversed(self._phases))
        phase = self._phases.get(name)
        if phase is None:
            span = self._tracer.start_span(name, set_span_in_context(self._span), start_time=self._wall(start))
            phase = self._phases[name] = _Phase(span, start)
        return phase

    def _add_request_span(self, phase: _Phase, operation: str, start: float, end: float, reason: Reason | None) -> None:
        if self._request_spans >= MAX_REQUEST_SPANS:
            self._omitted_spans += 1
            return
        self._request_spans += 1
        span = self._tracer.start_span(
            f"{_SERVICE}.{operation}",
            set_span_in_context(phase.span),
            SpanKind.CLIENT,
            {"rpc.system": "aws-api", "rpc.service": _SERVICE, "rpc.method": operation},
            start_time=self._wall(start),
        )
        if reason is not None:
            _set_error(span, reason)
        span.end(self._wall(end))

    def _set_result(self) -> None:
        result = self._result
        self._span.set_attribute("cognito_exporter.sweep.outcome", _outcome(result))
        self._span.set_attribute("cognito_exporter.requests_left_out", self._omitted_spans)
        if result is None:
            return
        attributes = {
            "cognito_exporter.users": result.users,
            "cognito_exporter.devices": result.devices,
            "cognito_exporter.users_not_read": result.users_not_read,
            "cognito_exporter.requests": result.requests.calls,
            "cognito_exporter.requests_throttled": result.requests.throttled,
        }
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if result.reason is not None:
            _set_error(self._span, result.reason, is_error=not result.complete)

    def _wall(self, monotonic: float) -> int:
        """Convert monotonic time in seconds to wall time in nanoseconds."""
        return _nanoseconds(monotonic + self._wall_offset)


def _outcome(result: SweepResult | None) -> str:
    if result is None:
        return "abandoned"
    if not result.complete:
        return "failed"
    return "complete" if result.reason is None else "partial"


def _set_error(span: Span, reason: Reason, *, is_error: bool = True) -> None:
    span.set_attribute("error.type", reason.value)
    if is_error:
        span.set_status(Status(StatusCode.ERROR, reason.value))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
