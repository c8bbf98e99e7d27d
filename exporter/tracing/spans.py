"""One sweep as spans: the sweep, its phases, and of its requests those that stand out.

A sweep makes as many requests as there are users, and all but a few are alike: of them a phase has sums. A span of its
own has each request that failed or was slow, up to a limit. No attribute holds a user name, a device key or an ARN.
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
"""A request that took longer has a span."""

MOST_REQUESTS = 100
"""Spans of requests in one sweep; those that come later are counted only."""

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
_SERVICE = "Cognito Identity Provider"


@dataclass(slots=True)
class _Phase:
    span: Span
    end: float
    """Monotonic seconds at which its last request ended."""
    requests: int = 0
    failed: int = 0
    slowest: float = 0.0
    under_way: float = 0.0
    waited: float = 0.0

    def attributes(self) -> dict[str, int | float]:
        return {
            "cognito_exporter.requests": self.requests,
            "cognito_exporter.requests_failed": self.failed,
            "cognito_exporter.request_seconds_total": self.under_way,
            "cognito_exporter.request_seconds_max": self.slowest,
            "cognito_exporter.rate_limit_wait_seconds_total": self.waited,
        }


def follow(tracer: Tracer, pool_id: str, clock: Clock) -> SweepTrace:
    """Follow a sweep that begins now, unless the sampler leaves it out."""
    ahead = clock.wall() - clock.monotonic()
    attributes = {"cognito.user_pool.id": pool_id, "cloud.provider": "aws", "cloud.region": region_of(pool_id)}
    span = tracer.start_span("sweep", attributes=attributes, start_time=_nanoseconds(clock.monotonic() + ahead))
    return SweepSpans(tracer, span, ahead, clock) if span.is_recording() else NULL_TRACER


class SweepSpans:
    """`SweepTrace` as spans. Wall time is read once, so that spans stay consistent when the wall clock is set."""

    def __init__(self, tracer: Tracer, span: Span, ahead: float, clock: Clock) -> None:
        """`ahead` is how many seconds wall time is ahead of monotonic time."""
        self._tracer = tracer
        self._span = span
        self._ahead = ahead
        self._clock = clock
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._spans_of_requests = 0
        self._left_out = 0
        self._result: SweepResult | None = None
        self._ended = False

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:  # noqa: ARG002 - as the protocol has it
        """Add up the wait; a phase begins with the wait for its first request."""
        now = self._clock.monotonic()
        with self._lock:
            if not self._ended:
                self._phase(category, now - seconds).waited += seconds

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Add up the request, and show it when it stands out."""
        now = self._clock.monotonic()
        with self._lock:
            if self._ended:
                return
            phase = self._phase(operation, now - seconds)
            phase.end = now
            phase.requests += attempted
            phase.failed += reason is not None
            phase.under_way += seconds
            phase.slowest = max(phase.slowest, seconds)
            if target.account_id != UNKNOWN_ACCOUNT:
                self._span.set_attribute("cloud.account.id", target.account_id)
            if reason is not None or seconds > SLOW_SECONDS:
                self._show(phase, operation, now - seconds, now, reason)

    def sweep_result(self, result: SweepResult) -> None:
        """Note how it went."""
        self._result = result

    def close(self) -> None:
        """End all spans, once; a request that ends later is told to nobody."""
        now = self._clock.monotonic()
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for phase in self._phases.values():
                phase.span.set_attributes(phase.attributes())
                phase.span.end(self._wall(phase.end))
            self._tell_result()
            self._span.end(self._wall(now))

    def _phase(self, name: str, start: float) -> _Phase:
        """The phase of a request; a pool that is described again while its users are read is described within that."""
        kind = _PHASES[name]
        if kind == _DESCRIBE and self._phases:
            kind = next(reversed(self._phases))
        phase = self._phases.get(kind)
        if phase is None:
            span = self._tracer.start_span(kind, set_span_in_context(self._span), start_time=self._wall(start))
            phase = self._phases[kind] = _Phase(span, start)
        return phase

    def _show(self, phase: _Phase, operation: str, start: float, end: float, reason: Reason | None) -> None:
        if self._spans_of_requests >= MOST_REQUESTS:
            self._left_out += 1
            return
        self._spans_of_requests += 1
        span = self._tracer.start_span(
            f"{_SERVICE}.{operation}",
            set_span_in_context(phase.span),
            SpanKind.CLIENT,
            {"rpc.system": "aws-api", "rpc.service": _SERVICE, "rpc.method": operation},
            start_time=self._wall(start),
        )
        if reason is not None:
            _fail(span, reason)
        span.end(self._wall(end))

    def _tell_result(self) -> None:
        result = self._result
        self._span.set_attribute("cognito_exporter.sweep.outcome", _outcome(result))
        self._span.set_attribute("cognito_exporter.requests_left_out", self._left_out)
        if result is None:
            return
        told = {
            "cognito_exporter.users": result.users,
            "cognito_exporter.devices": result.devices,
            "cognito_exporter.users_not_read": result.users_not_read,
            "cognito_exporter.requests": result.requests.calls,
            "cognito_exporter.requests_throttled": result.requests.throttled,
        }
        self._span.set_attributes({name: value for name, value in told.items() if value is not None})
        if result.reason is not None:
            _fail(self._span, result.reason, is_error=not result.complete)

    def _wall(self, monotonic: float) -> int:
        return _nanoseconds(monotonic + self._ahead)


def _outcome(result: SweepResult | None) -> str:
    if result is None:
        return "abandoned"
    if not result.complete:
        return "failed"
    return "complete" if result.reason is None else "partial"


def _fail(span: Span, reason: Reason, *, is_error: bool = True) -> None:
    span.set_attribute("error.type", reason.value)
    if is_error:
        span.set_status(Status(StatusCode.ERROR, reason.value))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
