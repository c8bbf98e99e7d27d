"""Authentication: no spelling of a request bypasses it."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.web.access import Authenticator
from exporter.web.passwords import MAX_PASSWORD_BYTES, PasswordChecker
from tests.integration.web_serving import PASSWORD, SECRET, USERS, Site, basic, fetch, hashed, serving_site
from tests.unit.web.slow_passwords import SlowComparison

RIGHT = basic().encode()
CREDENTIALS = RIGHT.removeprefix(b"Basic ")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    long_password = "p" * MAX_PASSWORD_BYTES
    users = {"alice": hashed(), "carol": hashed(long_password), "dora": hashed("")}
    with serving_site(tmp_path_factory.mktemp("auth"), basic_auth_users=users) as site:
        yield site


def request(
    target: bytes = b"/metrics",
    *headers: bytes,
    method: bytes = b"GET",
    version: bytes = b" HTTP/1.1",
    host: bytes = b"Host: x",
) -> bytes:
    return b"\r\n".join([method + b" " + target + version, host, *headers, b"", b""])


def authorized(value: bytes) -> bytes:
    return request(b"/metrics", b"Authorization: " + value)


def encoded(text: bytes) -> bytes:
    return b"Basic " + b64encode(text)


PATHS = [
    b"/metrics",
    b"/",
    b"/-/reload",
    b"/none",
    b"//metrics",
    b"/./metrics",
    b"/-/../metrics",
    b"/-/healthy/../../metrics",
    b"/-/healthy/",
    b"/-/healthy//",
    b"//-/healthy",
    b"/-//healthy",
    b"/./-/healthy",
    b"/-/healthy/.",
    b"/-/Healthy",
    b"/-/HEALTHY",
    b"/%2d/healthy",
    b"/-%2fhealthy",
    b"/%2F-/healthy",
    b"/-/healthy%00",
    b"/-/healthy%2f..%2f..%2fmetrics",
    b"/-/healthy;/metrics",
    b"/-/healthy;jsessionid=1",
    b"/metrics;/-/healthy",
    b"/metrics/-/healthy",
    b"/metrics#/-/healthy",
    b"/metrics?/-/healthy",
    b"/metrics?path=/-/healthy",
    b"/metrics%3f/-/healthy",
    b"/-/healthy#/metrics",
    b"/-/healthy\\..\\metrics",
    b"\\-\\healthy",
    b"-/healthy",
    b"*",
    b"x:443",
    b"http://x/metrics",
    b"http:///metrics",
    b"http:/-/healthy",
    b"http:-/healthy",
    b"HTTP://x/metrics",
    b"http://x/-/healthy/../metrics",
    b"http://-/healthy",
    b"http://x:80/metrics?/-/healthy",
    b"?/-/healthy",
    b"http://alice:correct%20horse@x/metrics",
    b"file:///metrics",
    b"x-/healthy",
    b"http://[/-/healthy",
    b"http://x//-/healthy",
]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize("version", [b" HTTP/1.1", b" HTTP/1.0"])
def test_no_spelling_of_a_path_bypasses_the_password(site: Site, target: bytes, version: bytes) -> None:
    answer = site.raw(request(target, version=version))
    assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))
    assert SECRET not in answer
    assert b"healthy\n" not in answer


REQUESTS = [
    request(version=b""),
    request(version=b" HTTP/0.9"),
    request(version=b" HTTP/2.0"),
    request(version=b" http/1.1"),
    b"GET /metrics\r\n",
    b"GET /metrics\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request(method=b"get"),
    request(method=b"HEAD"),
    request(method=b"POST"),
    request(method=b"OPTIONS"),
    request(method=b"TRACE"),
    request(method=b"CONNECT"),
    request(method=b"PUBLIC"),
    request(method=b"G\tET"),
    request(b"/-/reload", method=b"POST"),
    request(b"/metrics", b"X-HTTP-Method-Override: GET", method=b"POST"),
    request(b"/metrics", b"X-Original-URL: /-/healthy"),
    request(b"/metrics", b"X-Rewrite-URL: /-/healthy", b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1"),
    request(b"/-/healthy", b"X-Original-URL: /metrics"),
    request(host=b"Host: localhost"),
    request(host=b"Host: 127.0.0.1:10617"),
    request(host=b"Host: /-/healthy"),
    request(host=b"Host: a\r\nHost: b"),
    request(host=b"Host: x\r\n /-/healthy"),
    request(b"/metrics /-/healthy"),
    request(b"/-/healthy /metrics"),
    request(b"/metrics\0/-/healthy"),
    request(b"/metrics\xff"),
    b"\r\n\r\n" + request(),
    request(b"/metrics", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk"),
    request(b"/-/healthy", b"Content-Length: 37") + request()[:37],
    request(b"/-/healthy", b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n" + request(),
    request(b"/-/healthy", b"Content-Length : 10") + request(),
    request(b"/-/healthy") + request(),
    authorized(RIGHT).replace(b"Authorization", b"Proxy-Authorization"),
    authorized(RIGHT).replace(b"Authorization", b"X-Authorization"),
    authorized(RIGHT).replace(b"Authorization", b"Author\xc4\xb1zation"),
    authorized(RIGHT).replace(b"Authorization:", b"Authorization :"),
    request(b"/metrics", b"Cookie: Authorization=" + RIGHT),
    request(b"/metrics?Authorization=" + CREDENTIALS),
    authorized(b""),
    authorized(b"Basic"),
    authorized(b"Basic "),
    authorized(b"Basic Og=="),
    authorized(b"Basic ===="),
    authorized(b"Basic =" + CREDENTIALS),
    authorized(b"Basic " + CREDENTIALS[:-2]),
    authorized(b"Basic " + CREDENTIALS + b"="),
    authorized(b"Basic " + CREDENTIALS + b"!"),
    authorized(b"Basic " + CREDENTIALS[:8] + b"\t" + CREDENTIALS[8:]),
    authorized(b"Basic " + CREDENTIALS[:8] + b" " + CREDENTIALS[8:]),
    authorized(b"Basic\t" + CREDENTIALS),
    authorized(b"Basic:" + CREDENTIALS),
    authorized(b"BasicX " + CREDENTIALS),
    authorized(b"Bearer " + CREDENTIALS),
    authorized(b"Digest " + CREDENTIALS),
    authorized(b"Basic alice:correct horse"),
    authorized(b"Basic \xff\xfe"),
    authorized(b"Basic\x00 " + CREDENTIALS),
    authorized(RIGHT + b", " + RIGHT),
    authorized(b"Basic x, " + RIGHT),
    request(b"/metrics", b"Authorization: Basic x", b"Authorization: " + RIGHT),
    request(b"/metrics", b"Authorization: " + RIGHT, b"authorization: " + RIGHT),
    authorized(encoded(b"alice:")),
    authorized(encoded(b"alice")),
    authorized(encoded(b":")),
    authorized(encoded(b":correct horse")),
    authorized(encoded(b"alice:correct horse ")),
    authorized(encoded(b"alice:Correct Horse")),
    authorized(encoded(b"alice :correct horse")),
    authorized(encoded(b"ALICE:correct horse")),
    authorized(encoded(b"alice\0:correct horse")),
    authorized(encoded(b"alice:correct horse\0")),
    authorized(encoded(b"alice:correct horse\0correct horse")),
    authorized(encoded(b"alice:\0")),
    authorized(encoded(b"bob:correct horse")),
    authorized(encoded(b"a" * 2000 + b":correct horse")),
    authorized(encoded(b"alice:" + b"correct horse" * 200)),
    authorized(encoded(b"carol:" + b"p" * (MAX_PASSWORD_BYTES - 1))),
    authorized(encoded(b"carol:" + b"p" * (MAX_PASSWORD_BYTES + 1))),
    authorized(encoded(b"alice:" + hashed().encode())),
    authorized(encoded(hashed().encode() + b":" + hashed().encode())),
    authorized(encoded("alice:c\N{LATIN SMALL LETTER O WITH DIAERESIS}rrect horse".encode("latin-1"))),
    authorized(encoded("\N{CYRILLIC SMALL LETTER A}lice:correct horse".encode())),
]


@pytest.mark.parametrize("sent", REQUESTS)
def test_no_spelling_of_a_request_bypasses_the_password(site: Site, sent: bytes) -> None:
    answer = site.raw(sent)
    assert SECRET not in answer
    last = re.findall(rb"^HTTP/1.1 ([0-9]+) ", answer, re.MULTILINE)
    assert not last or last[-1] in {b"401", b"400", b"405"} or b"healthy\n" in answer
    assert site.failures == []


@pytest.mark.parametrize(
    "sent",
    [
        authorized(RIGHT),
        authorized(b"basic " + CREDENTIALS),
        authorized(b"BASIC " + CREDENTIALS),
        authorized(RIGHT).replace(b"Authorization", b"aUTHORIZATION"),
        authorized(RIGHT).replace(b"Authorization: ", b"Authorization:\t  "),
        authorized(RIGHT).replace(b"Authorization: Basic ", b"Authorization: Basic\r\n "),
        authorized(encoded(b"carol:" + b"p" * MAX_PASSWORD_BYTES)),
        authorized(encoded(b"dora:")),
        request(b"http://any/metrics?x=1", b"Authorization: " + RIGHT, version=b" HTTP/1.0"),
        request(b"/-/reload", b"Authorization: " + RIGHT, method=b"POST"),
    ],
)
def test_correct_password_is_allowed_as_in_rfc_7617(site: Site, sent: bytes) -> None:
    assert SECRET in site.raw(sent)


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready", "/-/healthy?x=/metrics"])
def test_probes_require_no_credentials(site: Site, path: str) -> None:
    assert fetch(site.url(path, "http")).status == 200
    assert fetch(site.url(path, "http"), "--user", "alice:wrong").status == 200


def test_401_is_the_same_for_every_path(site: Site) -> None:
    answers = {
        re.sub(rb"Date: [^\r]*\r\n", b"", site.raw(request(target, *authorization, method=method)))
        for target in (b"/metrics", b"/none", b"/-/reload", b"/")
        for method in (b"GET", b"POST", b"BREW")
        for authorization in (
            (),
            (b"Authorization: " + encoded(b"alice:no"),),
            (b"Authorization: " + encoded(b"x:no"),),
        )
    }
    (answer,) = answers
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'\r\nWWW-Authenticate: Basic realm="' in answer


def test_body_of_a_rejected_request_is_not_read(site: Site) -> None:
    head = request(b"/metrics", b"Content-Length: 1000000000", method=b"POST")
    answer = site.raw(head)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nConnection: close" in answer


def test_names_and_passwords_are_not_logged(site: Site) -> None:
    with capture_logs() as logs:
        for credentials in (b"alice:guess-1", b"mallory:guess-2"):
            site.raw(authorized(encoded(credentials)))
        site.raw(authorized(RIGHT))
    assert not re.search(f"alice|mallory|guess|{PASSWORD}|Basic", str(logs))


def test_guesses_do_not_delay_a_cached_password(tmp_path: Path) -> None:
    comparison = SlowComparison()
    authenticator = Authenticator(SystemClock(), PasswordChecker(compare=comparison))
    with serving_site(tmp_path, authenticator=authenticator, **USERS) as site:
        assert SECRET in site.raw(authorized(RIGHT))
        comparison.block()
        guesses = [threading.Thread(target=site.raw, args=(authorized(encoded(b"alice:no")),)) for _ in range(8)]
        try:
            for guess in guesses:
                guess.start()
            assert comparison.blocked.wait(10)
            assert SECRET in site.raw(authorized(RIGHT))
        finally:
            comparison.unblock()
            for guess in guesses:
                guess.join(10)
        assert comparison.max_concurrent == 1
