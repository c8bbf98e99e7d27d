"""Random requests: they neither bypass the password nor break the server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.connection import ConnectionLimits
from tests.integration.web_serving import PASSWORD, SECRET, TLS, USERS, Site, fetch, serving_site, write_certificate

HELLO = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03"

FRAGMENTS = st.sampled_from(
    [
        b"/",
        b"metrics",
        b"-",
        b"healthy",
        b"ready",
        b"reload",
        b"%2f",
        b"%2d",
        b"%00",
        b"..",
        b".",
        b";",
        b"?",
        b"#",
        b"\\",
        b"http://",
        b"x",
        b"//",
        b"*",
        b" ",
        b"\0",
        b"\xff",
        b":",
    ]
)
TARGETS = st.lists(FRAGMENTS, max_size=8).map(b"".join)
VALUES = st.one_of(
    st.binary(max_size=40).map(lambda text: b"Basic " + b64encode(text)),
    st.binary(max_size=60),
    st.sampled_from([b"Basic", b"basic Og==", b"Basic =", b""]),
)
NAMES = st.sampled_from(
    [
        b"Authorization",
        b"authorization",
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"X",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b" \r\n", b"\r\n "])


@st.composite
def request_like(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"GET", b"POST", b"HEAD", b"get", b"", b"OPTIONS"]))
    version = draw(st.sampled_from([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"", b" HTTP/1.1 "]))
    lines = [method + b" " + draw(TARGETS) + version]
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4)):
        lines.append(name + b": " + value)
    text = b"".join(line + draw(ENDS) for line in lines)
    return text + draw(ENDS) + draw(st.binary(max_size=20))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("plain"), limits=ConnectionLimits(linger_seconds=0.1), **USERS) as site:
        yield site
        assert fetch(site.url(scheme="http"), "--user", f"alice:{PASSWORD}").body == SECRET.decode()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("tls")
    write_certificate(directory)
    with serving_site(directory, limits=ConnectionLimits(linger_seconds=0.1), tls_server_config=TLS, **USERS) as site:
        yield site
        assert fetch(site.url(), "--insecure", "--user", f"alice:{PASSWORD}").body == SECRET.decode()


@given(sent=st.lists(st.one_of(request_like(), st.binary(max_size=200)), min_size=1, max_size=3).map(b"".join))
def test_random_requests_do_not_bypass_the_password(plain: Site, sent: bytes) -> None:
    assert SECRET not in plain.raw(sent)
    assert plain.failures == []


@given(start=st.sampled_from([b"", b"\x16", b"\x16\x03\x01", HELLO, b"GET /metrics HTTP/1.1\r\n"]), rest=st.binary())
def test_random_bytes_do_not_break_a_tls_port(encrypted: Site, start: bytes, rest: bytes) -> None:
    assert SECRET not in encrypted.raw(start + rest)
    assert encrypted.failures == []
