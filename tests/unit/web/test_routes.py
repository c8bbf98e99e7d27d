from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from threading import Event

import pytest

from exporter.collect.snapshot import PoolView
from exporter.model import Mfa, PoolDescription, PoolState, Tracking
from exporter.web.landing import landing_page
from exporter.web.messages import Request, Response, Route, dispatch
from exporter.web.routes import Probes, all_routes, probe_routes
from tests.unit.metrics.builders import POOL, device, exposition, user, view

WELL = Probes(liveness=lambda: None, readiness=lambda: None)
SICK = Probes(liveness=lambda: "no sign of life", readiness=lambda: "no configuration yet")


def _views() -> list[PoolView]:
    return [view(user("alice", device("k1")))]


def _routes(
    probes: Probes = WELL, *, telemetry_path: str = "/metrics", reload: Callable[[], str | None] | None = None
) -> dict[str, Route]:
    return all_routes(probes, exposition(_views), _views, telemetry_path=telemetry_path, version="1.2.3", reload=reload)


def _ask(routes: dict[str, Route], path: str, method: str = "GET", **headers: str) -> Response:
    return dispatch(routes, Request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers}))


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_pages_answer_get_and_head_only(path: str) -> None:
    assert _ask(_routes(), path).status is HTTPStatus.OK
    assert _ask(_routes(), path, "HEAD").status is HTTPStatus.OK
    refused = _ask(_routes(), path, "POST")
    assert refused.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("Allow", "GET, HEAD") in refused.headers


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "/-/", "//metrics", "/Metrics", "*"])
def test_everything_else_is_not_found(path: str) -> None:
    assert _ask(_routes(), path).status is HTTPStatus.NOT_FOUND


def test_probes_give_the_reason() -> None:
    routes = probe_routes(SICK)
    assert set(routes) == {"/-/healthy", "/-/ready"}
    healthy, ready = _ask(routes, "/-/healthy"), _ask(routes, "/-/ready")
    assert (healthy.status, healthy.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"no sign of life\n")
    assert (ready.status, ready.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"no configuration yet\n")


def test_reload_needs_the_lifecycle_flag() -> None:
    assert _ask(_routes(), "/-/reload", "POST").status is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_reload_takes_post_and_put_only(method: str) -> None:
    refused = _ask(_routes(reload=lambda: None), "/-/reload", method)
    assert refused.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("Allow", "POST, PUT") in refused.headers


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_reload_answers_with_the_outcome(method: str) -> None:
    assert _ask(_routes(reload=lambda: None), "/-/reload", method).status is HTTPStatus.OK
    failed = _ask(_routes(reload=lambda: "pools: expected a list"), "/-/reload", method)
    assert failed.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"pools: expected a list" in failed.body


def test_metrics_negotiate_format_and_coding() -> None:
    page = _ask(_routes(), "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
    assert page.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert ("Content-Encoding", "gzip") in page.headers
    assert ("Vary", "Accept, Accept-Encoding") in page.headers
    assert _ask(_routes(), "/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_too_many_scrapes_at_once_are_told_to_come_back() -> None:
    begun, go_on = Event(), Event()

    def slow_views() -> list[PoolView]:
        begun.set()
        go_on.wait(10)
        return _views()

    routes = all_routes(
        WELL,
        exposition(slow_views),
        _views,
        telemetry_path="/metrics",
        version="1.2.3",
        reload=None,
        max_scrapes=1,
    )
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_ask, routes, "/metrics")
        assert begun.wait(10)
        second = _ask(routes, "/metrics")
        go_on.set()
        assert first.result(10).status is HTTPStatus.OK
    assert second.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert ("Retry-After", "1") in second.headers
    assert _ask(routes, "/metrics").status is HTTPStatus.OK


def test_metrics_on_the_root_take_the_place_of_the_landing_page() -> None:
    assert _ask(_routes(telemetry_path="/"), "/").content_type.startswith("text/plain")


@pytest.mark.parametrize("path", ["/-/healthy", "metrics", "", "/metrics?x"])
def test_a_telemetry_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path such as /metrics"):
        _routes(telemetry_path=path)


def test_the_landing_page_shows_pools_and_escapes_them() -> None:
    seen = PoolDescription(POOL, "<script>\ud800", None, "eu-west-1", Tracking.ALWAYS, Mfa.ON, True, 3)  # noqa: FBT003 - positional in a test's record
    known = replace(view(user("alice", device("k1")), state=PoolState.DENIED), description=seen)
    page = landing_page([known], version="1.2.3", telemetry_path='/"m')
    page.encode()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert 'href="/&quot;m"' in page
    assert "denied" in page
    assert "alice" not in page


def test_the_landing_page_may_load_nothing() -> None:
    page = _ask(_routes(), "/")
    policy = dict(page.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert b"<script" not in page.body
    assert b"http" not in page.body
