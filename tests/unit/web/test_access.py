from __future__ import annotations

import ssl
from base64 import b64encode
from http import HTTPStatus
from typing import cast

import bcrypt
import pytest

from exporter.config.web.settings import RateLimit, Tls, WebSettings
from exporter.web.access import Authenticator, TokenBucket, client_certificate_allowed
from exporter.web.messages import Request, Response, text
from exporter.web.passwords import PasswordChecker
from tests.fakes import ManualClock

USERS = WebSettings(users={b"alice": b"a", b"bob": b"b"})
UNAUTHENTICATED = Request("GET", "/metrics")


def request(name: str, password: str) -> Request:
    credentials = b64encode(f"{name}:{password}".encode()).decode()
    return Request("GET", "/metrics", headers={"authorization": f"Basic {credentials}"})


def plain_text_authenticator() -> Authenticator:
    """An authenticator whose "hashes" are the passwords."""
    return Authenticator(ManualClock(), PasswordChecker(compare=bytes.__eq__))


def test_password_correct_is_allowed_and_wrong_gets_401() -> None:
    authenticator = plain_text_authenticator()
    assert authenticator.reject(request("alice", "a"), USERS) is None
    unauthorized = text(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        ("WWW-Authenticate", 'Basic realm="cognito-device-exporter", charset="UTF-8"'),
    )
    assert authenticator.reject(request("alice", "b"), USERS) == unauthorized
    assert authenticator.reject(UNAUTHENTICATED, USERS) == unauthorized


def test_request_without_configured_users_is_allowed() -> None:
    assert plain_text_authenticator().reject(UNAUTHENTICATED, WebSettings()) is None


def test_password_checker_busy_gets_503() -> None:
    concurrent: list[Response | None] = []

    def compare(_password: bytes, _hashed: bytes) -> bool:
        concurrent.append(authenticator.reject(request("bob", "b"), USERS))
        return True

    authenticator = Authenticator(ManualClock(), PasswordChecker(compare=compare, wait_seconds=0))
    assert authenticator.reject(request("alice", "a"), USERS) is None
    assert concurrent == [
        text(HTTPStatus.SERVICE_UNAVAILABLE, "too many concurrent password checks", ("Retry-After", "1"))
    ]


def test_rate_limit_exceeded_gets_429_despite_correct_password() -> None:
    authenticator = plain_text_authenticator()
    settings = WebSettings(users=USERS.users, rate_limit=RateLimit(interval=1.0, burst=1))
    assert authenticator.reject(request("alice", "a"), settings) is None
    assert authenticator.reject(request("alice", "a"), settings) == text(
        HTTPStatus.TOO_MANY_REQUESTS, "too many requests", ("Retry-After", "1")
    )


def test_rate_limit_changed_applies_to_the_next_request() -> None:
    authenticator = plain_text_authenticator()

    def statuses(requests: int, limit: RateLimit | None) -> list[HTTPStatus | None]:
        settings = WebSettings(rate_limit=limit)
        responses = [authenticator.reject(UNAUTHENTICATED, settings) for _ in range(requests)]
        return [None if response is None else response.status for response in responses]

    assert statuses(3, RateLimit(3600, burst=2)) == [None, None, HTTPStatus.TOO_MANY_REQUESTS]
    assert statuses(1, RateLimit(3600, burst=2)) == [HTTPStatus.TOO_MANY_REQUESTS], "an equal limit keeps the bucket"
    assert statuses(2, RateLimit(3600, burst=1)) == [None, HTTPStatus.TOO_MANY_REQUESTS]
    assert statuses(5, None) == [None] * 5


def test_token_bucket_allows_a_burst_then_one_per_interval() -> None:
    clock = ManualClock()
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3), clock)
    assert [bucket.try_take() for _ in range(5)] == [True, True, True, False, False]
    clock.advance(1.9)
    assert not bucket.try_take()
    clock.advance(0.1)
    assert [bucket.try_take(), bucket.try_take()] == [True, False]
    clock.advance(1000)
    assert [bucket.try_take() for _ in range(5)] == [True, True, True, False, False]


def test_password_is_compared_with_bcrypt_by_default() -> None:
    settings = WebSettings(users={b"alice": bcrypt.hashpw(b"a", bcrypt.gensalt(4))})
    authenticator = Authenticator(ManualClock())
    assert authenticator.reject(request("alice", "a"), settings) is None
    assert authenticator.reject(request("alice", "b"), settings) is not None


class FakeTlsConnection:
    """An `ssl.SSLObject` after a handshake with the given client certificate."""

    def __init__(self, certificate: dict[str, object] | None) -> None:
        self._certificate = certificate

    def getpeercert(self) -> dict[str, object] | None:
        return self._certificate


def allowed(certificate: dict[str, object] | None, *, required: bool, sans: set[str] | None) -> bool:
    names = None if sans is None else frozenset(sans)
    tls = Tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), b"", b"", requires_certificate=required, allowed_sans=names)
    return client_certificate_allowed(tls, cast("ssl.SSLObject", FakeTlsConnection(certificate)))


def certificate_for(*names: tuple[str, str]) -> dict[str, object]:
    return {"subject": (), "subjectAltName": names}


@pytest.mark.parametrize("sans", [None, {"scraper"}])
@pytest.mark.parametrize("absent", [None, {}])
def test_certificate_absent_is_allowed_unless_required(absent: dict[str, object] | None, sans: set[str] | None) -> None:
    assert allowed(absent, required=False, sans=sans)
    assert not allowed(absent, required=True, sans=sans)


def test_certificate_without_configured_names_is_allowed() -> None:
    assert allowed(certificate_for(("DNS", "any")), required=True, sans=None)


@pytest.mark.parametrize(
    ("certificate", "sans", "expected"),
    [
        (certificate_for(("DNS", "scraper")), {"scraper"}, True),
        (certificate_for(("DNS", "other"), ("DNS", "scraper")), {"scraper"}, True),
        (certificate_for(("DNS", "other")), {"scraper"}, False),
        (certificate_for(("email", "ops@example.com")), {"ops@example.com"}, True),
        (certificate_for(("URI", "spiffe://example/scraper")), {"spiffe://example/scraper"}, True),
        (certificate_for(("IP Address", "0:0:0:0:0:0:0:1")), {"::1"}, True),
        (certificate_for(("Registered ID", "1.2.3")), {"1.2.3"}, False),
        (certificate_for(), {"scraper"}, False),
        ({"subject": ()}, {"scraper"}, False),
        (certificate_for(("DNS", "scraper")), set(), False),
    ],
)
def test_certificate_must_have_an_allowed_name(certificate: dict[str, object], sans: set[str], expected: bool) -> None:
    assert allowed(certificate, required=True, sans=sans) is expected
    assert allowed(certificate, required=False, sans=sans) is expected
