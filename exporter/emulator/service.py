"""Processing of a request: parse it, apply faults, execute it, log it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from random import Random
from threading import Event, Lock
from typing import Any

from exporter.clock import Clock
from exporter.emulator.calls import HttpRequest, parse_call
from exporter.emulator.errors import OK, ApiError, HttpResponse
from exporter.emulator.faults import Fault, Faults
from exporter.emulator.operations import Operations
from exporter.emulator.quota import QuotaMeter
from exporter.emulator.request_log import Request, RequestLog
from exporter.emulator.world import Call, World

_COGNITO_ERRORS = {
    Fault.THROTTLED: ("TooManyRequestsException", "Too many requests", 400),
    Fault.SERVER_ERROR: ("InternalErrorException", "Something went wrong", 500),
    Fault.DENIED: ("AccessDeniedException", "User is not authorized to perform: {operation}", 400),
    Fault.EXPIRED_CREDENTIALS: ("ExpiredTokenException", "The security token included in the request is expired", 400),
}
_STS_ERRORS = {
    Fault.THROTTLED: ("Throttling", "Rate exceeded", 400),
    Fault.SERVER_ERROR: ("InternalFailure", "Something went wrong", 500),
    Fault.DENIED: ("AccessDenied", "User is not authorized to perform: {operation}", 403),
    Fault.EXPIRED_CREDENTIALS: ("ExpiredToken", "The security token included in the request is expired", 403),
}


class Service:
    """Request processor for any number of threads; it executes one request at a time.

    The GIL would serialize most of the work anyway, and this way each response, and the data that tests compare with,
    is consistent.
    """

    def __init__(self, world: World, faults: Faults, log: RequestLog, clock: Clock, seed: int) -> None:
        self.operations = Operations(world, faults)
        self.lock = Lock()
        """Held while a request is executed; code that reads the world must hold it too."""
        self._world = world
        self._faults = faults
        self._log = log
        self._clock = clock
        self._quota = QuotaMeter()
        self._random = Random(seed)  # noqa: S311 -- for faults, not for secrets
        self._closing = Event()

    def close(self) -> None:
        """End the injected latency of all requests."""
        self._closing.set()

    def handle(self, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a request; None drops the connection."""
        arrived = self._clock.monotonic()
        try:
            with self.lock:
                call = parse_call(self._world, request)
                fault = self._select_fault(call, arrived)
        except ApiError as error:
            return error.as_json()
        delay = self._faults.delay(call.operation)
        if delay > 0:
            self._closing.wait(delay)
        response, code = self._respond(call, fault)
        self._log.add(Request(arrived, call.operation, call.account_id, call.region, call.pool_id, code))
        return response

    def call(self, call: Call) -> HttpResponse:
        """Return the response to a call, without faults and without an entry in the request log."""
        try:
            with self.lock:
                return self.operations.execute(call, self._clock.wall())
        except ApiError as error:
            return error.as_json() if call.service == "cognito-idp" else error.as_xml()

    def _select_fault(self, call: Call, arrived: float) -> Fault | None:
        faults = self._faults
        if not self._quota.allows(faults.quotas, call.account_id, call.region, call.operation, arrived):
            return Fault.THROTTLED
        if call.access_key in faults.expired:
            return Fault.EXPIRED_CREDENTIALS
        for rule in faults.rules:
            if rule.covers(call.operation, call.pool_id) and self._random.random() < rule.share:
                return rule.fault
        return None

    def _respond(self, call: Call, fault: Fault | None) -> tuple[HttpResponse | None, str]:
        """Return the response with the fault applied, and the code to log."""
        if fault is Fault.DROPPED:
            return None, fault.name
        errors = _STS_ERRORS if call.service == "sts" else _COGNITO_ERRORS
        if fault in errors:
            code, message, status = errors[fault]
            error = ApiError(code, message.format(operation=call.operation), status)
            response = error.as_json() if call.service == "cognito-idp" else error.as_xml()
        else:
            response = self._omit_fields(call, self._execute(call))
        if fault is Fault.MALFORMED:
            return replace(response, body=response.body[: max(1, len(response.body) // 2)]), fault.name
        return response, response.code

    def _execute(self, call: Call) -> HttpResponse:
        try:
            return self.call(call)
        except Exception:
            # moto raises on some inputs that AWS rejects; the client must get a response.
            logging.getLogger(__name__).exception("%s failed", call.operation)
            return ApiError("InternalErrorException", "The emulator failed", 500).as_json()

    def _omit_fields(self, call: Call, response: HttpResponse) -> HttpResponse:
        if not self._faults.omitted or call.service != "cognito-idp" or response.code != OK or not response.body:
            return response
        content = _remove_names(json.loads(response.body), self._faults.omitted)
        return replace(response, body=json.dumps(content).encode())


def _remove_names(content: Any, omitted: frozenset[str]) -> Any:
    """Return the content without the fields and attributes of these names."""
    if isinstance(content, list):
        return [_remove_names(item, omitted) for item in content if not _is_attribute(item, omitted)]
    if isinstance(content, dict):
        return {name: _remove_names(value, omitted) for name, value in content.items() if name not in omitted}
    return content


def _is_attribute(item: Any, omitted: frozenset[str]) -> bool:
    return isinstance(item, dict) and item.keys() == {"Name", "Value"} and item["Name"] in omitted
