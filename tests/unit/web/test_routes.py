from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Event

import pytest

from exporter.collect.snapshot import PoolView
from exporter.web.messages import Request, Response, Route, dispatch
from exporter.web.routes import metrics_routes, probe_routes, reload_routes
from tests.unit.metrics.builders import device, exposition, user, view

HEALTHY = probe_routes(lambda: None, lambda: None)
UNHEALTHY = probe_routes(lambda: "scheduler is stalled", lambda: "no configuration yet")


def _views() -> list[PoolView]:
    return [view(user("alice", device("k1")))]


def _metrics(path: str = "/metrics") -> dict[str, Route]:
    return metrics_routes(path, exposition(_views))


def _send(routes: dict[str, Route], path: str, method: str = "GET", **headers: str) -> Response:
    return dispatch(routes, Request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers}))


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready"])
def test_route_allows_get_and_head_only(path: str) -> None:
    routes = {**HEALTHY, **_metrics()}
    assert _send(routes, path).status is HTTPStatus.OK
    assert _send(routes, path, "HEAD").status is HTTPStatus.OK
    refused = _send(routes, path, "POST")
    assert refused.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("Allow", "GET, HEAD") in refused.headers


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "/-/", "//metrics", "/Metrics", "*"])
def test_other_path_is_not_found(path: str) -> None:
    assert _send({**HEALTHY, **_metrics()}, path).status is HTTPStatus.NOT_FOUND


def test_probe_returns_503_with_the_reason() -> None:
    healthy, ready = _send(UNHEALTHY, "/-/healthy"), _send(UNHEALTHY, "/-/ready")
    assert (healthy.status, healthy.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"scheduler is stalled\n")
    assert (ready.status, ready.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"no configuration yet\n")


def test_reload_without_lifecycle_flag_is_forbidden() -> None:
    refused = _send(reload_routes(None), "/-/reload", "POST")
    assert refused.status is HTTPStatus.FORBIDDEN
    assert refused.body == b"Lifecycle API is not enabled. Start with --web.enable-lifecycle.\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_reload_allows_post_and_put_only(method: str) -> None:
    refused = _send(reload_routes(lambda: None), "/-/reload", method)
    assert refused.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("Allow", "POST, PUT") in refused.headers


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_reload_returns_the_outcome(method: str) -> None:
    assert _send(reload_routes(lambda: None), "/-/reload", method).status is HTTPStatus.OK
    failed = _send(reload_routes(lambda: "pools: expected a list"), "/-/reload", method)
    assert failed.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert failed.body == b"configuration reload failed: pools: expected a list\n"


def test_metrics_negotiate_format_and_encoding() -> None:
    page = _send(_metrics(), "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
    assert page.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert ("Content-Encoding", "gzip") in page.headers
    assert ("Vary", "Accept, Accept-Encoding") in page.headers
    assert _send(_metrics(), "/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_scrapes_beyond_the_limit_get_503() -> None:
    started, released = Event(), Event()

    def slow_views() -> list[PoolView]:
        started.set()
        released.wait(10)
        return _views()

    routes = metrics_routes("/metrics", exposition(slow_views), max_scrapes=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_send, routes, "/metrics")
        assert started.wait(10)
        second = _send(routes, "/metrics")
        released.set()
        assert first.result(10).status is HTTPStatus.OK
    assert second.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert ("Retry-After", "1") in second.headers
    assert _send(routes, "/metrics").status is HTTPStatus.OK
