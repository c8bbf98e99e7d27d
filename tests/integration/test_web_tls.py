"""TLS as real clients meet it."""

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
    Guarded,
    authority,
    fetch,
    guarded,
    write_certificate,
    write_web,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the server's and a client's certificate."""
    write_certificate(tmp_path)
    write_certificate(tmp_path, "scraper.example", stem="client")
    return tmp_path


def client(directory: Path, stem: str = "client") -> tuple[str, ...]:
    return ("--cert", str(directory / f"{stem}.crt"), "--key", str(directory / f"{stem}.key"))


def ask(site: Guarded, directory: Path, *arguments: str, path: str = "/metrics") -> Fetched:
    return fetch(site.url(path), "--cacert", str(directory / "ca.crt"), *arguments)


def test_a_client_verifies_the_server_and_shows_a_password(directory: Path) -> None:
    with guarded(directory, tls_server_config=TLS, **USERS) as site:
        right = ask(site, directory, "--user", f"alice:{PASSWORD}")
        assert (right.status, right.body) == (200, SECRET.decode())
        refused = ask(site, directory, "--user", "alice:wrong")
        assert refused.status == 401
        assert "\nWWW-Authenticate: Basic " in refused.head
        assert ask(site, directory, path="/-/healthy").status == 200
        write_certificate(directory, ca=authority("another"), stem="other")  # also puts another ca.crt there
        assert "CERTIFICATE_VERIFY_FAILED" in ask(site, directory, "--user", f"alice:{PASSWORD}").trouble


def test_key_and_certificate_may_stand_in_the_file_itself(directory: Path) -> None:
    inline = {
        "cert": (directory / "server.crt").read_text(),
        "key": (directory / "server.key").read_text(),
        "client_ca": (directory / "ca.crt").read_text(),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    (directory / "server.key").unlink()
    with guarded(directory, tls_server_config=inline) as site:
        assert ask(site, directory, *client(directory)).status == 200
        assert ask(site, directory).status == 0


def test_a_client_that_closes_is_not_told_and_one_that_is_refused_is(directory: Path) -> None:
    with capture_logs() as logs, guarded(directory, tls_server_config=MUTUAL) as site:
        for _ in range(5):
            assert ask(site, directory, *client(directory)).status == 200
        assert ask(site, directory).status == 0
        assert eventually(lambda: bool(ends(logs)))
    assert ends(logs) == ["PEER_DID_NOT_RETURN_A_CERTIFICATE"]


def ends(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Why connections ended of which the log tells."""
    return [entry["reason"] for entry in logs if entry["event"] == "connection closed"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_required_certificate_must_be_there_and_signed_by_the_client_ca(directory: Path, version: str) -> None:
    write_certificate(directory, "scraper.example", ca=authority("another"), stem="foreign")
    write_certificate(directory)  # puts our ca.crt back
    speak = ("--tls-max", version)
    with guarded(directory, tls_server_config=MUTUAL) as site:
        assert ask(site, directory, *speak, *client(directory)).body == SECRET.decode()
        for path in ("/metrics", "/-/healthy"):
            for shown in ((), client(directory, "foreign")):
                refused = ask(site, directory, *speak, *shown, path=path)
                assert refused.status == 0
                assert refused.status == 0


def test_a_client_certificate_that_has_expired_is_refused(directory: Path) -> None:
    write_certificate(directory, "scraper.example", stem="old", not_after=datetime.now(UTC) - timedelta(minutes=1))
    with guarded(directory, tls_server_config=MUTUAL) as site:
        assert ask(site, directory, *client(directory, "old")).status == 0


def test_a_certificate_that_is_only_asked_for_may_be_missing_and_must_not_be_wrong(directory: Path) -> None:
    write_certificate(directory, "scraper.example", ca=authority("another"), stem="foreign")
    write_certificate(directory)
    asked = {**MUTUAL, "client_auth_type": "VerifyClientCertIfGiven", "client_allowed_sans": ["scraper.example"]}
    write_certificate(directory, "other.example", stem="other")
    with guarded(directory, tls_server_config=asked) as site:
        assert ask(site, directory).status == 200
        assert ask(site, directory, *client(directory)).status == 200
        assert ask(site, directory, *client(directory, "foreign")).status == 0
        assert ask(site, directory, *client(directory, "other")).status == 0


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
def test_a_name_of_the_certificate_must_be_allowed(
    directory: Path, names: list[str], allowed: list[str], admitted: bool
) -> None:
    write_certificate(directory, *names, stem="named")
    with guarded(directory, tls_server_config={**MUTUAL, "client_allowed_sans": allowed}) as site:
        answer = ask(site, directory, *client(directory, "named"))
        assert (answer.status, answer.body) == ((200, SECRET.decode()) if admitted else (0, ""))
        assert site.failures == []


def test_who_is_refused_for_the_names_of_a_certificate_is_told_of_without_them(directory: Path) -> None:
    write_certificate(directory, "secret.example", stem="named")
    allowed = {**MUTUAL, "client_allowed_sans": ["scraper.example"]}
    with capture_logs() as logs, guarded(directory, tls_server_config=allowed) as site:
        assert ask(site, directory, *client(directory)).status == 200
        assert ask(site, directory, *client(directory, "named")).status == 0
        assert eventually(lambda: bool(ends(logs)))
    assert ends(logs) == ["client certificate has no allowed name"]
    assert {entry["log_level"] for entry in logs if entry["event"] == "connection closed"} == {"debug"}
    assert "secret.example" not in str(logs)


def test_a_certificate_trusted_for_itself_needs_no_authority(directory: Path) -> None:
    (directory / "ca.crt").write_bytes((directory / "client.crt").read_bytes())
    with guarded(directory, tls_server_config=MUTUAL) as site:
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
def test_versions_and_curves_are_what_the_file_says(
    directory: Path, limits: dict[str, Any], offered: list[str], works: bool
) -> None:
    with guarded(directory, tls_server_config={**TLS, **limits}) as site:
        assert (ask(site, directory, *offered).status == 200) is works


SUITES = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]


@pytest.mark.parametrize(
    ("prefer", "chosen"), [(True, "ECDHE-ECDSA-AES256-GCM-SHA384"), (False, "ECDHE-ECDSA-AES128-GCM-SHA256")]
)
def test_suites_are_those_of_the_file_in_its_order_or_the_clients(directory: Path, prefer: bool, chosen: str) -> None:
    web = {**TLS, "cipher_suites": SUITES, "prefer_server_cipher_suites": prefer}
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with guarded(directory, tls_server_config=web) as site:
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
        with secured(site, context) as sock:
            assert (sock.cipher() or ("",))[0] == chosen
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        with pytest.raises(ssl.SSLError):
            secured(site, context)


def secured(site: Guarded, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(site.address, timeout=10)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def test_a_session_from_before_is_held_to_what_is_asked_of_clients_now(directory: Path) -> None:
    """TLS 1.2 only: OpenSSL resumes there, and there are no tickets in TLS 1.3."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "client.crt", directory / "client.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with guarded(directory, tls_server_config=MUTUAL) as site:
        session = resumed(site, context, None, answered=True)
        session = resumed(site, context, session, answered=True)
        allowed = {**MUTUAL, "client_allowed_sans": ["other.example"]}
        write_web(directory, tls_server_config=allowed)
        site.reloader.check_web_files()
        resumed(site, context, session, answered=False)


def resumed(site: Guarded, context: ssl.SSLContext, before: ssl.SSLSession | None, *, answered: bool) -> Any:
    """The session of a connection after an answer, or none; one that goes on from another resumes it."""
    with (
        socket.create_connection(site.address, timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost", session=before) as secure,
    ):
        if answered:
            assert secure.session_reused is (before is not None)
        secure.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secure.recv(65536).startswith(b"HTTP/1.1 200 ") is answered
        return secure.session


def test_http_1_1_is_agreed_on_where_http_2_is_offered(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        guarded(directory, tls_server_config=TLS, http_server_config={"http2": True}) as site,
        secured(site, context) as sock,
    ):
        assert sock.selected_alpn_protocol() == "http/1.1"
        assert ask(site, directory, "--http2").status == 200


def test_configured_headers_stand_in_every_answer_once_and_in_the_place_of_ours(directory: Path) -> None:
    headers = {
        "X-Frame-Options": "sameorigin",
        "Strict-Transport-Security": "max-age=31536000",
        "Content-Security-Policy": "default-src 'self'",
        "X-XSS-Protection": 1,
        "X-Content-Type-Options": "",
    }
    with guarded(directory, tls_server_config=TLS, http_server_config={"headers": headers}, **USERS) as site:
        for answer in (ask(site, directory, path="/"), ask(site, directory, "--user", f"alice:{PASSWORD}", path="/")):
            lines = answer.head.split("\r\n")
            assert lines.count("X-Frame-Options: sameorigin") == 1
            assert lines.count("Content-Security-Policy: default-src 'self'") == 1
            assert "Strict-Transport-Security: max-age=31536000" in lines
            assert "X-XSS-Protection: 1" in lines
            assert "X-Content-Type-Options: nosniff" in lines
            assert not {"X-Frame-Options: DENY", "Content-Security-Policy: ours"} & set(lines)


def test_plain_http_on_a_tls_port_is_told_so(directory: Path) -> None:
    with guarded(directory, tls_server_config=MUTUAL) as site:
        answer = fetch(site.url(scheme="http"))
        assert (answer.status, answer.body) == (400, "Client sent an HTTP request to an HTTPS server.\n")
        assert site.raw(b"\0\1\2") == b""
        assert site.raw(b"") == b""


def test_after_plain_http_on_a_tls_port_nothing_more_is_answered(directory: Path) -> None:
    limits = ConnectionLimits(linger_seconds=5)
    with (
        guarded(directory, limits=limits, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as sock,
    ):
        sock.sendall(b"G")
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096) == b""


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_come_to_its_end_is_let_go(directory: Path, sent: bytes) -> None:
    hasty = ConnectionLimits(read_seconds=0.3, linger_seconds=0.1)
    with (
        guarded(directory, limits=hasty, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as sock,
    ):
        sock.sendall(sent)
        assert sock.recv(100) == b""
        assert ask(site, directory).status == 200


@pytest.mark.parametrize("tls", [True, False])
def test_connections_in_a_handshake_count_against_the_bound(directory: Path, tls: bool) -> None:
    sections: dict[str, Any] = {"tls_server_config": TLS} if tls else {}
    with guarded(directory, max_connections=2, limits=ConnectionLimits(read_seconds=5), **sections) as site:
        silent = [socket.create_connection(site.address, timeout=10) for _ in range(2)]
        with socket.create_connection(site.address, timeout=10) as third:
            refused = third.recv(100)
        assert refused == b"" if tls else refused.startswith(b"HTTP/1.1 503 ")
        for sock in silent:
            sock.close()


def test_stopping_closes_handshakes_and_idle_connections_at_once(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    with (
        guarded(directory, tls_server_config=TLS) as site,
        socket.create_connection(site.address, timeout=10) as silent,
        secured(site, context) as idle,
    ):
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        site.server.stop()
        assert time.monotonic() - started < 3
        assert silent.recv(1) == b""
        assert idle.recv(1) == b""


def test_a_large_answer_arrives_whole_and_its_end_is_told(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    with guarded(directory, tls_server_config=TLS) as site, secured(site, context) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        vars(sock)["suppress_ragged_eofs"] = False  # so that an end without the word of TLS is an error
        assert b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2] == LARGE


def test_answers_that_nobody_reads_are_bounded_over_tls_too(directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    responses = ResponseLimits(total_bytes=len(LARGE) // 2, min_bodies=1, min_seconds=0.2)
    with (
        guarded(directory, limits=ConnectionLimits(responses=responses), tls_server_config=TLS) as site,
        ExitStack() as stack,
    ):
        for _ in range(2):  # the same answer: it counts once
            unread = stack.enter_context(secured(site, context))
            unread.sendall(request)
            assert unread.recv(12) == b"HTTP/1.1 200"
        assert ask(site, directory, path="/other-large").status == 503
        assert eventually(lambda: ask(site, directory, path="/other-large").status == 200)


def test_many_clients_at_once_are_all_served(directory: Path) -> None:
    statuses: list[int] = []
    with guarded(directory, tls_server_config=MUTUAL, **USERS) as site:

        def scrape() -> None:
            answer = ask(site, directory, *client(directory), "--user", f"alice:{PASSWORD}")
            statuses.append(answer.status)

        threads = [threading.Thread(target=scrape) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert statuses == [200] * 8


def test_a_certificate_that_has_expired_is_served_and_warned_of(tmp_path: Path) -> None:
    write_certificate(tmp_path, not_after=datetime.now(UTC) - timedelta(minutes=1))
    with capture_logs() as logs, guarded(tmp_path, tls_server_config=TLS) as site:
        assert fetch(site.url(), "--insecure").status == 200
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["reason"] == "clients reject the certificate: certificate has expired"


def test_rsa_keys_serve_too(tmp_path: Path) -> None:
    write_certificate(tmp_path, ca=authority("rsa"), key_type=trustme.KeyType.RSA)
    with guarded(tmp_path, tls_server_config=TLS) as site:
        assert ask(site, tmp_path).status == 200
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    assert not isinstance(key, ec.EllipticCurvePrivateKey)


def test_healthcheck_asks_a_tls_port_that_wants_a_password(directory: Path) -> None:
    with guarded(directory, tls_server_config=TLS, **USERS) as site:
        check_health(site.server.bound[0])
    with guarded(directory, **USERS) as site:
        check_health(site.server.bound[0])


@pytest.mark.parametrize("newest", ["TLS12", "TLS13"])
def test_healthcheck_says_what_is_needed_where_client_certificates_are_wanted(directory: Path, newest: str) -> None:
    with (
        guarded(directory, tls_server_config={**MUTUAL, "max_version": newest}) as site,
        pytest.raises(Unhealthy, match=r"wants a client certificate.*--web\.probe-listen-address"),
    ):
        check_health(site.server.bound[0])
