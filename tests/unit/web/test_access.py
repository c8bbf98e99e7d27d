from __future__ import annotations

import ssl
from base64 import b64encode
from http import HTTPStatus
from pathlib import Path
from typing import cast

import bcrypt
import pytest

from exporter.config.web.settings import RateLimit, Tls, WebSettings
from exporter.web.access import Authenticator, client_certificate_allowed
from exporter.web.config_watcher import WebConfig
from exporter.web.messages import Request, Response, text
from exporter.web.passwords import PasswordChecker
from tests.fakes import ManualClock

USERS = WebSettings(users={b"alice": b"a", b"bob": b"b"})


def request(name: str, password: str) -> Request:
    credentials = b64encode(f"{name}:{password}".encode()).decode()
    return Request("GET", "/metrics", headers={"authorization": f"Basic {credentials}"})


@pytest.fixture
def config(tmp_path: Path) -> WebConfig:
    file = tmp_path / "web.yml"
    file.write_text("{}\n")
    return WebConfig(file, ManualClock())


def test_the_right_password_is_let_in_and_a_wrong_one_is_asked_for_another(config: WebConfig) -> None:
    gate = Authenticator(config, ManualClock(), PasswordChecker(compare=bytes.__eq__))
    assert gate.refusal(request("alice", "a"), USERS) is None
    unauthorized = text(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        ("WWW-Authenticate", 'Basic realm="cognito-device-exporter", charset="UTF-8"'),
    )
    assert gate.refusal(request("alice", "b"), USERS) == unauthorized
    assert gate.refusal(Request("GET", "/metrics"), USERS) == unauthorized


def test_where_nobody_is_named_everybody_is_let_in(config: WebConfig) -> None:
    assert Authenticator(config, ManualClock()).refusal(Request("GET", "/metrics"), WebSettings()) is None


def test_whoever_finds_no_turn_is_told_to_come_back(config: WebConfig) -> None:
    meanwhile: list[Response | None] = []

    def compare(_password: bytes, _hashed: bytes) -> bool:
        meanwhile.append(gate.refusal(request("bob", "b"), USERS))
        return True

    gate = Authenticator(config, ManualClock(), PasswordChecker(compare=compare, wait_seconds=0))
    assert gate.refusal(request("alice", "a"), USERS) is None
    assert meanwhile == [
        text(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too many passwords to compare at the same time",
            ("Retry-After", "1"),
        )
    ]


def test_beyond_the_limit_even_the_right_password_is_told_to_come_back(config: WebConfig) -> None:
    gate = Authenticator(config, ManualClock(), PasswordChecker(compare=bytes.__eq__))
    settings = WebSettings(users=USERS.users, rate_limit=RateLimit(interval=1.0, burst=1))
    assert gate.refusal(request("alice", "a"), settings) is None
    assert gate.refusal(request("alice", "a"), settings) == text(
        HTTPStatus.TOO_MANY_REQUESTS, "too many requests", ("Retry-After", "1")
    )


def test_unless_told_otherwise_passwords_are_compared_with_bcrypt(config: WebConfig) -> None:
    settings = WebSettings(users={b"alice": bcrypt.hashpw(b"a", bcrypt.gensalt(4))})
    gate = Authenticator(config, ManualClock())
    assert gate.refusal(request("alice", "a"), settings) is None
    assert gate.refusal(request("alice", "b"), settings) is not None


class Shown:
    """What a client has shown of itself in a handshake."""

    def __init__(self, certificate: dict[str, object] | None) -> None:
        self._certificate = certificate

    def getpeercert(self) -> dict[str, object] | None:
        return self._certificate


def admitted(certificate: dict[str, object] | None, *, required: bool, sans: set[str] | None) -> bool:
    names = None if sans is None else frozenset(sans)
    tls = Tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), b"", b"", requires_certificate=required, allowed_sans=names)
    return client_certificate_allowed(tls, cast("ssl.SSLObject", Shown(certificate)))


def named(*names: tuple[str, str]) -> dict[str, object]:
    return {"subject": (), "subjectAltName": names}


@pytest.mark.parametrize("sans", [None, {"scraper"}])
@pytest.mark.parametrize("nothing", [None, {}])
def test_whether_a_client_without_a_certificate_is_admitted_depends_on_whether_one_is_required(
    nothing: dict[str, object] | None, sans: set[str] | None
) -> None:
    assert admitted(nothing, required=False, sans=sans)
    assert not admitted(nothing, required=True, sans=sans)


def test_where_no_names_are_listed_every_verified_certificate_is_admitted() -> None:
    assert admitted(named(("DNS", "anybody")), required=True, sans=None)


@pytest.mark.parametrize(
    ("certificate", "sans", "expected"),
    [
        (named(("DNS", "scraper")), {"scraper"}, True),
        (named(("DNS", "other"), ("DNS", "scraper")), {"scraper"}, True),
        (named(("DNS", "other")), {"scraper"}, False),
        (named(("email", "ops@example.com")), {"ops@example.com"}, True),
        (named(("URI", "spiffe://example/scraper")), {"spiffe://example/scraper"}, True),
        (named(("IP Address", "0:0:0:0:0:0:0:1")), {"::1"}, True),
        (named(("Registered ID", "1.2.3")), {"1.2.3"}, False),
        (named(), {"scraper"}, False),
        ({"subject": ()}, {"scraper"}, False),
        (named(("DNS", "scraper")), set(), False),
    ],
)
def test_a_certificate_must_have_a_name_that_is_listed(
    certificate: dict[str, object], sans: set[str], expected: bool
) -> None:
    assert admitted(certificate, required=True, sans=sans) is expected
    assert admitted(certificate, required=False, sans=sans) is expected
