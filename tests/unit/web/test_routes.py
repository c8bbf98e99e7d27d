from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Event

import pytest

from exporter.collect.snapshot import PoolView
from exporter.web.messages import Request, Response, Route, dispatch, text
from exporter.web.routes import Probes, all_routes, probe_routes
from tests.unit.metrics.builders import device, exposition, user, view

WELL = Probes(liveness=lambda: None, readiness=lambda: None)
STATUS = {"/": Route(lambda _: text(HTTPStatus.OK, "the status page"))}
SICK = Probes(liveness=lambda: "no sign of life", readiness=lambda: "no configuration yet")


def _views() -> list[PoolView]:
    return [view(user("alice", device("k1")))]


def _routes(
    probes: Probes = WELL, *, telemetry_path: str = "/metrics", reload: Callable[[], str | None] | None = None
) -> dict[str, Route]:
    return all_routes(probes, exposition(_views), STATUS, telemetry_path=telemetry_path, reload=reload)


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
    refused = _ask(_routes(), "/-/reload", "POST")
    assert refused.status is HTTPStatus.FORBIDDEN
    assert refused.body == b"reloading over HTTP is off: --web.enable-lifecycle is not given\n"


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
        STATUS,
        telemetry_path="/metrics",
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


def test_metrics_on_the_root_take_the_place_of_the_status_page() -> None:
    assert _ask(_routes(telemetry_path="/"), "/").content_type.startswith("text/plain")


@pytest.mark.parametrize("path", ["/-/healthy", "metrics", "", "/metrics?x"])
def test_a_telemetry_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path such as /metrics"):
        _routes(telemetry_path=path)
