from __future__ import annotations

from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from exporter.config.web.settings import WebSettings
from exporter.web.access import Authenticator
from exporter.web.handler import RequestHandler
from exporter.web.messages import Request, Response, Route, text
from exporter.web.passwords import PasswordChecker
from tests.fakes import ManualClock

USERS = WebSettings(users={b"alice": b"a"})
BASIC_ALICE_A = "Basic YWxpY2U6YQ=="


def fail(_request: Request) -> Response:
    raise ZeroDivisionError


ROUTES = {
    "/metrics": Route(lambda _: text(HTTPStatus.OK, "metrics")),
    "/-/healthy": Route(lambda _: text(HTTPStatus.OK, "healthy"), public=True),
    "/fail": Route(fail),
}


def fail_to_compare(_password: bytes, _hashed: bytes) -> bool:
    raise ZeroDivisionError


class Harness:
    """A handler whose password comparison always fails unexpectedly."""

    def __init__(self) -> None:
        self.errors = 0
        authenticator = Authenticator(ManualClock(), PasswordChecker(compare=fail_to_compare))
        self.handler = RequestHandler(ROUTES, authenticator, on_error=self._count)

    def _count(self) -> None:
        self.errors += 1


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_public_route_requires_no_credentials(harness: Harness) -> None:
    assert harness.handler.reject(Request("GET", "/-/healthy"), USERS) is None


@pytest.mark.parametrize("path", ["/metrics", "/none", "/-/healthy/", "//-/healthy"])
def test_other_path_known_or_not_requires_credentials(harness: Harness, path: str) -> None:
    rejection = harness.handler.reject(Request("GET", path), USERS)
    assert rejection is not None
    assert rejection.status is HTTPStatus.UNAUTHORIZED


def test_error_in_a_route_is_logged_and_answered_with_500(harness: Harness) -> None:
    with capture_logs() as logs:
        response = harness.handler.respond(Request("GET", "/fail"))
    assert response == text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")
    assert [(entry["event"], entry["path"]) for entry in logs] == [("unexpected error in request", "/fail")]
    assert harness.errors == 1


def test_error_in_the_access_check_rejects_the_request(harness: Harness) -> None:
    request = Request("GET", "/metrics", headers={"authorization": BASIC_ALICE_A})
    rejection = harness.handler.reject(request, USERS)
    assert rejection == text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")
    assert harness.errors == 1
