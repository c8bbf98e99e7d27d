"""TLS of the web server with real clients."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import MutableMapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from structlog.testing import capture_logs

from exporter.commands.healthcheck import Unhealthy, check_health
from exporter.web.connection import ConnectionLimits
from exporter.web.response_memory import ResponseLimits
from tests.fakes import eventually
from tests.integration.web_serving import (
    LARGE,
    MUTUAL,
    PASSWORD,
    SECRET,
    TLS,
    USERS,
    Fetched,
    Site,
    authority,
    fetch,
    serving_site,
    write_certificate,
    write_web,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with certificates of the server and a client."""
    write_certificate(tmp_path)
    write_certificate(tmp_path, "scraper.example", stem="client")
    return tmp_path


def client(directory: Path, stem: str = "client") -> tuple[str, ...]:
    return ("--cert", str(directory / f"{stem}.crt"), "--key", str(directory / f"{stem}.key"))


def get(site: Site, directory: Path, *arguments: str, path: str = "/metrics") -> Fetched:
    return fetch(site.url(path), "--cacert", str(directory / "ca.crt"), *arguments)


def test_client_verifies_the_server_and_sends_a_password(directory: Path) -> None:
    with serving_site(directory, tls_server_config=TLS, **USERS) as site:
        right = get(site, directory, "--user", f"alice:{PASSWORD}")
        assert (right.status, right.body) == (200, SECRET.decode())
        refused = get(site, directory, "--user", "alice:wrong")
        assert refused.status == 401
        assert "\nWWW-Authenticate: Basic " in refused.head
        assert get(site, directory, path="/-/healthy").status == 200
        write_certificate(directory, ca=authority("another"), stem="other")  # also replaces ca.crt
        assert "CERTIFICATE_VERIFY_FAILED" in get(site, directory, "--user", f"alice:{PASSWORD}").error


def test_key_and_certificate_may_be_inline(directory: Path) -> None:
    inline = {
        "cert": (directory / "server.crt").read_text(),
        "key": (directory / "server.key").read_text(),
        "client_ca": (directory / "ca.crt").read_text(),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    (directory / "server.key").unlink()
    with serving_site(directory, tls_server_config=inline) as site:
        assert get(site, directory, *client(directory)).status == 200
        assert get(site, directory).status == 0


def test_failed_handshake_is_logged_and_a_close_is_not(directory: Path) -> None:
    with capture_logs() as logs, serving_site(directory, tls_server_config=MUTUAL) as site:
        for _ in range(5):
            assert get(site, directory, *client(directory)).status == 200
        assert get(site, directory).status == 0
        assert eventually(lambda: bool(close_reasons(logs)))
    assert close_reasons(logs) == ["PEER_DID_NOT_RETURN_A_CERTIFICATE"]


def close_reasons(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Return the logged reasons for closed connections."""
    return [entry["reason"] for entry in logs if entry["event"] == "connection closed"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_required_certificate_must_be_signed_by_client_ca(directory: Path, version: str) -> None:
    write_certificate(directory, "scraper.example", ca=authority("another"), stem="foreign")
    write_certificate(directory)  # restores our ca.crt
    speak = ("--tls-max", version)
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        assert get(site, directory, *speak, *client(directory)).body == SECRET.decode()
        for path in ("/metrics", "/-/healthy"):
            for shown in ((), client(directory, "foreign")):
                refused = get(site, directory, *speak, *shown, path=path)
                assert refused.status == 0
                assert refused.status == 0


def test_expired_client_certificate_is_rejected(directory: Path) -> None:
    write_certificate(directory, "scraper.example", stem="old", not_after=datetime.now(UTC) - timedelta(minutes=1))
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        assert get(site, directory, *client(directory, "old")).status == 0


def test_optional_certificate_may_be_absent_but_not_invalid(directory: Path) -> None:
    write_certificate(directory, "scraper.example", ca=authority("another"), stem="foreign")
    write_certificate(directory)
    asked = {**MUTUAL, "client_auth_type": "VerifyClientCertIfGiven", "client_allowed_sans": ["scraper.example"]}
    write_certificate(directory, "other.example", stem="other")
    with serving_site(directory, tls_server_config=asked) as site:
        assert get(site, directory).status == 200
        assert get(site, directory, *client(directory)).status == 200
        assert get(site, directory, *client(directory, "foreign")).status == 0
        assert get(site, directory, *client(directory, "other")).status == 0


@pytest.mark.parametrize(
    ("names", "allowed", "admitted"),
    [
        (["scraper.example"], ["other.example", "scraper.example"], True),
        (["a.example", "scraper.example"], ["scraper.example"], True),
        (["scraper.example"], ["example"], False),
        (["scraper.example"], ["*.example"], False),
        (["*.example"], ["scraper.example"], False),
        (["scraper.example"], ["SCRAPER.example"], False),
        (["192.0.2.7"], ["192.0.2.7"], True),
        (["192.0.2.7"], ["192.0.2.70"], False),
        (["2001:db8::7"], ["2001:DB8:0:0:0:0:0:7"], True),
        (["scraper@example.org"], ["scraper@example.org"], True),
        (["scraper@example.org"], ["example.org"], False),
    ],
)
def test_client_certificate_must_have_an_allowed_name(
    directory: Path, names: list[str], allowed: list[str], admitted: bool
) -> None:
    write_certificate(directory, *names, stem="named")
    with serving_site(directory, tls_server_config={**MUTUAL, "client_allowed_sans": allowed}) as site:
        answer = get(site, directory, *client(directory, "named"))
        assert (answer.status, answer.body) == ((200, SECRET.decode()) if admitted else (0, ""))
        assert site.failures == []


def test_rejected_certificate_names_are_not_logged(directory: Path) -> None:
    write_certificate(directory, "secret.example", stem="named")
    allowed = {**MUTUAL, "client_allowed_sans": ["scraper.example"]}
    with capture_logs() as logs, serving_site(directory, tls_server_config=allowed) as site:
        assert get(site, directory, *client(directory)).status == 200
        assert get(site, directory, *client(directory, "named")).status == 0
        assert eventually(lambda: bool(close_reasons(logs)))
    assert close_reasons(logs) == ["client certificate has no allowed name"]
    assert {entry["log_level"] for entry in logs if entry["event"] == "connection closed"} == {"debug"}
    assert "secret.example" not in str(logs)


def test_client_ca_may_be_the_client_certificate(directory: Path) -> None:
    (directory / "ca.crt").write_bytes((directory / "client.crt").read_bytes())
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        assert fetch(site.url(), "--insecure", *client(directory)).status == 200


@pytest.mark.parametrize(
    ("limits", "offered", "works"),
    [
        ({"min_version": "TLS13"}, ["--tls-max", "1.2"], False),
        ({"min_version": "TLS13"}, ["--tlsv1.3"], True),
        ({"max_version": "TLS12"}, ["--tlsv1.3"], False),
        ({"max_version": "TLS12"}, [], True),
        ({}, ["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "ALL@SECLEVEL=0"], False),
        ({"curve_preferences": ["X25519"]}, ["--curves", "P-256"], False),
        ({"curve_preferences": ["X25519"]}, [], True),
        ({"curve_preferences": ["CurveP521"]}, ["--curves", "P-521"], True),
        ({"curve_preferences": ["CurveP384"]}, ["--curves", "P-521"], False),
        ({"curve_preferences": ["CurveP256"]}, ["--tls-max", "1.2", "--curves", "P-256"], True),
    ],
)
def test_versions_and_curves_are_those_of_the_file(
    directory: Path, limits: dict[str, Any], offered: list[str], works: bool
) -> None:
    with serving_site(directory, tls_server_config={**TLS, **limits}) as site:
        assert (get(site, directory, *offered).status == 200) is works


SUITES = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]


@pytest.mark.parametrize(
    ("prefer", "chosen"), [(True, "ECDHE-ECDSA-AES256-GCM-SHA384"), (False, "ECDHE-ECDSA-AES128-GCM-SHA256")]
)
def test_cipher_suites_are_those_of_the_file(directory: Path, prefer: bool, chosen: str) -> None:
    web = {**TLS, "cipher_suites": SUITES, "prefer_server_cipher_suites": prefer}
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving_site(directory, tls_server_config=web) as site:
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
        with connect_tls(site, context) as sock:
            assert (sock.cipher() or ("",))[0] == chosen
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        with pytest.raises(ssl.SSLError):
            connect_tls(site, context)


def connect_tls(site: Site, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(site.address, timeout=10)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def test_resumed_session_must_meet_the_new_requirements(directory: Path) -> None:
    """TLS 1.2 only: the server issues no tickets for TLS 1.3."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "client.crt", directory / "client.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        session = resume(site, context, None, answered=True)
        session = resume(site, context, session, answered=True)
        allowed = {**MUTUAL, "client_allowed_sans": ["other.example"]}
        write_web(directory, tls_server_config=allowed)
        site.reloader.check_web_files()
        resume(site, context, session, answered=False)


def resume(site: Site, context: ssl.SSLContext, before: ssl.SSLSession | None, *, answered: bool) -> Any:
    """Make a request that resumes a session, and return the new session."""
    with (
        socket.create_connection(site.address, timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost", session=before) as secure,
    ):
        if answered:
            assert secure.session_reused is (before is not None)
        secure.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secure.recv(65536).startswith(b"HTTP/1.1 200 ") is answered
        return secure.session


def test_alpn_selects_http_1_1(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        serving_site(directory, tls_server_config=TLS, http_server_config={"http2": True}) as site,
        connect_tls(site, context) as sock,
    ):
        assert sock.selected_alpn_protocol() == "http/1.1"
        assert get(site, directory, "--http2").status == 200


def test_configured_headers_replace_the_default_ones(directory: Path) -> None:
    headers = {
        "X-Frame-Options": "sameorigin",
        "Strict-Transport-Security": "max-age=31536000",
        "Content-Security-Policy": "default-src 'self'",
        "X-XSS-Protection": 1,
        "X-Content-Type-Options": "",
    }
    with serving_site(directory, tls_server_config=TLS, http_server_config={"headers": headers}, **USERS) as site:
        for answer in (get(site, directory, path="/"), get(site, directory, "--user", f"alice:{PASSWORD}", path="/")):
            lines = answer.head.split("\r\n")
            assert lines.count("X-Frame-Options: sameorigin") == 1
            assert lines.count("Content-Security-Policy: default-src 'self'") == 1
            assert "Strict-Transport-Security: max-age=31536000" in lines
            assert "X-XSS-Protection: 1" in lines
            assert "X-Content-Type-Options: nosniff" in lines
            assert not {"X-Frame-Options: DENY", "Content-Security-Policy: ours"} & set(lines)


def test_plain_http_on_a_tls_port_gets_400(directory: Path) -> None:
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        answer = fetch(site.url(scheme="http"))
        assert (answer.status, answer.body) == (400, "Client sent an HTTP request to an HTTPS server.\n")
        assert site.raw(b"\0\1\2") == b""
        assert site.raw(b"") == b""


def test_plain_http_on_a_tls_port_gets_one_response_only(directory: Path) -> None:
    limits = ConnectionLimits(linger_seconds=5)
    with (
        serving_site(directory, limits=limits, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as sock,
    ):
        sock.sendall(b"G")
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096) == b""


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01"])
def test_incomplete_handshake_times_out(directory: Path, sent: bytes) -> None:
    limits = ConnectionLimits(read_seconds=0.3, linger_seconds=0.1)
    with (
        serving_site(directory, limits=limits, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as sock,
    ):
        sock.sendall(sent)
        assert sock.recv(100) == b""
        assert get(site, directory).status == 200


@pytest.mark.parametrize("tls", [True, False])
def test_connections_in_a_handshake_count_for_the_limit(directory: Path, tls: bool) -> None:
    sections: dict[str, Any] = {"tls_server_config": TLS} if tls else {}
    with serving_site(directory, max_connections=2, limits=ConnectionLimits(read_seconds=5), **sections) as site:
        silent = [socket.create_connection(site.address, timeout=10) for _ in range(2)]
        with socket.create_connection(site.address, timeout=10) as third:
            refused = third.recv(100)
        assert refused == b"" if tls else refused.startswith(b"HTTP/1.1 503 ")
        for sock in silent:
            sock.close()


def test_stop_closes_handshakes_and_idle_connections(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    with (
        serving_site(directory, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as silent,
        connect_tls(site, context) as idle,
    ):
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        site.server.stop()
        assert time.monotonic() - started < 3
        assert silent.recv(1) == b""
        assert idle.recv(1) == b""


def test_large_response_ends_with_close_notify(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    with serving_site(directory, tls_server_config=TLS) as site, connect_tls(site, context) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        vars(sock)["suppress_ragged_eofs"] = False  # a missing close_notify is an error
        assert b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2] == LARGE


def test_unread_responses_over_tls_are_limited_in_memory(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    responses = ResponseLimits(total_bytes=len(LARGE) // 2, min_bodies=1, min_seconds=0.2)
    with (
        serving_site(directory, limits=ConnectionLimits(responses=responses), tls_server_config=TLS) as site,
        ExitStack() as stack,
    ):
        for _ in range(2):  # the same body counts once
            unread = stack.enter_context(connect_tls(site, context))
            unread.sendall(request)
            assert unread.recv(12) == b"HTTP/1.1 200"
        assert get(site, directory, path="/other-large").status == 503
        assert eventually(lambda: get(site, directory, path="/other-large").status == 200)


def test_concurrent_clients_are_all_served(directory: Path) -> None:
    statuses: list[int] = []
    with serving_site(directory, tls_server_config=MUTUAL, **USERS) as site:

        def scrape() -> None:
            answer = get(site, directory, *client(directory), "--user", f"alice:{PASSWORD}")
            statuses.append(answer.status)

        threads = [threading.Thread(target=scrape) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert statuses == [200] * 8


def test_expired_server_certificate_is_served_with_a_warning(tmp_path: Path) -> None:
    write_certificate(tmp_path, not_after=datetime.now(UTC) - timedelta(minutes=1))
    with capture_logs() as logs, serving_site(tmp_path, tls_server_config=TLS) as site:
        assert fetch(site.url(), "--insecure").status == 200
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["reason"] == "clients reject the certificate: certificate has expired"


def test_rsa_key_is_supported(tmp_path: Path) -> None:
    write_certificate(tmp_path, ca=authority("rsa"), key_type=trustme.KeyType.RSA)
    with serving_site(tmp_path, tls_server_config=TLS) as site:
        assert get(site, tmp_path).status == 200
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    assert not isinstance(key, ec.EllipticCurvePrivateKey)


def test_healthcheck_works_with_tls_and_password(directory: Path) -> None:
    with serving_site(directory, tls_server_config=TLS, **USERS) as site:
        check_health(site.server.bound[0])
    with serving_site(directory, **USERS) as site:
        check_health(site.server.bound[0])


@pytest.mark.parametrize("newest", ["TLS12", "TLS13"])
def test_healthcheck_reports_required_client_certificate(directory: Path, newest: str) -> None:
    with (
        serving_site(directory, tls_server_config={**MUTUAL, "max_version": newest}) as site,
        pytest.raises(Unhealthy, match=r"requires a client certificate.*--web\.probe-listen-address"),
    ):
        check_health(site.server.bound[0])
