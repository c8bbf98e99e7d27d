"""Lean client over HTTP: connections, proxies, certificates, credentials and clock skew work as in boto3."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
import trustme
import urllib3.exceptions as http
from botocore.config import Config

from exporter.aws.api import CognitoApi, Page
from exporter.aws.lean.transport import MAX_BODY_BYTES, Transport
from exporter.aws.sessions import AwsApis
from exporter.clock import SystemClock
from exporter.config.settings import TargetSettings
from exporter.errors import AwsError, ConnectionFailed, CredentialsError, Malformed, UnexpectedError
from exporter.model import Device
from tests.fakes import ManualClock, eventually
from tests.integration.lean_server import Reply, Request, aws, proxy

REGION = "eu-west-1"
POOL = f"{REGION}_AbCdEfGhI"
HOST = f"cognito-idp.{REGION}.amazonaws.com"
NO_DEVICES: Page[Device] = Page((), None)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hide the AWS configuration, certificates and proxies of this machine."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", aws_session_token="the token")


def api(
    endpoint_url: str | None = None, *, clock: ManualClock | None = None, role_arn: str | None = None
) -> CognitoApi:
    return AwsApis(session, clock)(TargetSettings(REGION, role_arn=role_arn, endpoint_url=endpoint_url))


def devices(api: CognitoApi) -> Page[Device]:
    return api.admin_list_devices(POOL, "ann", token=None, attributes=frozenset())


def tls(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return context


def bundle(authority: trustme.CA, directory: Path) -> str:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def transport(url: str, **settings: Any) -> Transport:
    return Transport(url, Config(**settings), None, SystemClock())


def failed(kind: type[AwsError], api: CognitoApi) -> AwsError:
    with pytest.raises(kind) as caught:
        devices(api)
    assert type(caught.value) is kind
    return caught.value


# Requests


def test_request_follows_the_protocol() -> None:
    with aws() as server:
        assert devices(api(server.url)) == NO_DEVICES
    (request,) = server.requests
    assert request.line == "POST / HTTP/1.1"
    assert request.headers["x-amz-target"] == "AWSCognitoIdentityProviderService.AdminListDevices"
    assert request.headers["content-type"] == "application/x-amz-json-1.1"
    assert "cognito-device-exporter/" in request.headers["user-agent"]
    assert "Botocore/" in request.headers["user-agent"]
    assert json.loads(request.body) == {"UserPoolId": POOL, "Username": "ann", "Limit": 60}


def test_session_token_is_sent_and_signed() -> None:
    with aws() as server:
        devices(api(server.url))
    (request,) = server.requests
    assert request.headers["x-amz-security-token"] == "the token"
    assert "x-amz-security-token" in request.headers["authorization"].partition("SignedHeaders=")[2]


def test_request_does_not_accept_compression() -> None:
    with aws() as server:
        devices(api(server.url))
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("token", ["split\r\nhost: elsewhere", "split\n", "split\r", "\N{SNOWMAN}"])
def test_invalid_header_is_not_sent(token: str) -> None:
    with aws() as server:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 # the text is Python's own in one case
            transport(server.url).post({"x-amz-security-token": token}, b"{}")
        assert "split" not in str(caught.value)
        assert server.connections == 0


def test_endpoint_is_read_from_the_environment(bare_environment: pytest.MonkeyPatch) -> None:
    with aws() as server:
        bare_environment.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"{server.url}/behind/a/path")
        assert devices(api()) == NO_DEVICES
    assert server.requests[0].line == "POST /behind/a/path HTTP/1.1"


# Connections


def test_sequential_requests_share_a_connection() -> None:
    with aws(lambda request: Reply(chunked=len(request.body) % 2 == 0)) as server:
        client = api(server.url)
        for number in range(10):
            client.admin_list_devices(POOL, "n" * number, token=None, attributes=frozenset())
            client.list_users(POOL, user_filter=None, token=None)
        assert server.connections == 1
        assert len(server.requests) == 20


def test_error_response_leaves_the_connection_open() -> None:
    with aws(lambda _: Reply(b'{"__type": "Unheard"}', 400)) as server:
        client = api(server.url)
        for _ in range(3):
            failed(UnexpectedError, client)
        assert server.connections == 1


def test_each_thread_uses_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with aws() as server:
        client = api(server.url)
        with ThreadPoolExecutor(8) as threads:
            pages = list(threads.map(lambda _: devices(client), range(400)))
        assert pages == [NO_DEVICES] * 400
        assert server.connections <= 8
    assert not caplog.records, "urllib3 warns when its pool is too small"


def test_connection_closed_by_the_server_is_replaced() -> None:
    with aws() as server:
        client = api(server.url)
        devices(client)
        server.hang_up()
        assert devices(client) == NO_DEVICES
        assert server.connections == 2
        assert len(server.requests) == 2


def test_refused_connection_is_not_retried() -> None:
    with aws() as server:
        url = server.url
    assert failed(ConnectionFailed, api(url)).code == "NewConnectionError", "urllib3 reports retries with another error"


def test_redirect_is_not_followed() -> None:
    with aws(lambda _: Reply(status=307, headers={"Location": "/elsewhere"})) as server:
        assert failed(UnexpectedError, api(server.url)).code == "HTTP 307"
        assert len(server.requests) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_too_long_body_is_rejected_and_the_next_is_read(chunked: bool) -> None:
    endless = b'{"Devices": ["' + b" " * (MAX_BODY_BYTES + 100_000)
    replies = [Reply(endless, chunked=chunked), Reply()]
    with aws(lambda _: replies.pop(0)) as server:
        client = api(server.url)
        failed(Malformed, client)
        assert devices(client) == NO_DEVICES
        assert server.connections == 2


def test_idle_connections_are_limited_by_the_configuration() -> None:
    together = threading.Barrier(4)

    def all_at_once(_: Request) -> Reply:
        together.wait(10)
        return Reply()

    with aws(all_at_once) as server:
        client = transport(server.url, max_pool_connections=2)
        for connections in (4, 6):
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(lambda _: client.post({}, b"{}"), range(4)))
            assert server.connections == connections


def test_most_recently_used_connection_is_reused_first() -> None:
    together = threading.Barrier(3)

    def all_at_once(request: Request) -> Reply:
        if request.body == b"together":
            together.wait(10)
        return Reply()

    with aws(all_at_once) as server:
        client = transport(server.url)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: client.post({}, b"together"), range(3)))
        for _ in range(5):
            client.post({}, b"alone")
        assert server.connections == 3
        assert len({request.connection for request in server.requests[3:]}) == 1


def test_deleted_client_closes_its_connections() -> None:
    with aws() as server:
        client = transport(server.url)
        client.post({}, b"{}")
        assert server.open
        del client
        assert eventually(lambda: not server.open)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(headers={"Connection": "close"}),
        Reply(raw=OK + b"\r\n{}", hang_up=True),
        Reply(raw=b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", hang_up=True),
    ],
    ids=["said so", "of no told length", "HTTP/1.0"],
)
def test_response_that_closes_its_connection_is_read(reply: Reply) -> None:
    with aws(lambda _: reply) as server:
        client = api(server.url)
        assert [devices(client) for _ in range(3)] == [NO_DEVICES] * 3
        assert server.connections == 3


def test_interim_response_is_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nx-amzn-errortype: Early\r\n\r\n"
    replies = [
        Reply(raw=interim + OK + b"Content-Length: 2\r\n\r\n{}"),
        Reply(raw=interim + b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"),
    ]
    with aws(lambda _: replies.pop(0)) as server:
        client = api(server.url)
        assert devices(client) == NO_DEVICES
        assert failed(UnexpectedError, client).code == "HTTP 400"
        assert server.connections == 1


BROKEN = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "cut off in the status": b"HTTP/1.1 20",
    "cut off in the headers": OK + b"Content-Le",
    "cut off in the body": OK + b"Content-Length: 3\r\n\r\n{}",
    "cut off in a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{",
    "cut off before the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "chunks without a length": OK + b"Transfer-Encoding: chunked\r\n\r\n{}\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "two answers": (OK + b"Content-Length: 2\r\n\r\n{}") * 2,
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_broken_response_fails_and_closes_the_connection(raw: bytes) -> None:
    replies = [Reply(raw=raw, hang_up=True), Reply()]
    with aws(lambda _: replies.pop(0)) as server:
        client = api(server.url)
        failed(ConnectionFailed, client)
        assert devices(client) == NO_DEVICES
        assert server.connections == len(server.requests) == 2


def test_too_long_headers_are_rejected() -> None:
    with aws(lambda _: Reply(raw=OK + b"x-pad: more\r\n" * (MAX_BODY_BYTES // 10))) as server:
        failed(Malformed, api(server.url))


def test_late_response_is_not_taken_for_the_next_one() -> None:
    patience_is_over = threading.Event()

    def late(request: Request) -> Reply:
        if request.body == b"late":
            patience_is_over.wait(10)
        return Reply(request.body)

    with aws(late) as server:
        client = transport(server.url, read_timeout=0.2)
        assert client.post({}, b"first").body == b"first"
        with pytest.raises(http.ReadTimeoutError):
            client.post({}, b"late")
        patience_is_over.set()
        assert client.post({}, b"next").body == b"next"
        assert server.connections == 2


@pytest.mark.parametrize("proxied", [False, True])
def test_server_that_only_accepts_causes_a_connect_timeout(bare_environment: pytest.MonkeyPatch, proxied: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if proxied:
            bare_environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        url = "https://cognito.internal" if proxied else f"https://127.0.0.1:{port}"
        with pytest.raises(http.ConnectTimeoutError):
            transport(url, connect_timeout=0.1).post({}, b"{}")


# Proxies and certificates


def test_https_uses_the_proxy_and_trusts_the_bundle(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    with aws(tls=tls(authority, HOST)) as server, proxy(server) as between:
        bare_environment.setenv("HTTPS_PROXY", f"http://me:pass%20word@127.0.0.1:{between.server_port}")
        bare_environment.setenv("AWS_CA_BUNDLE", bundle(authority, tmp_path))
        client = api()
        for _ in range(3):
            assert devices(client) == NO_DEVICES
        assert between.requests == [(f"CONNECT {HOST}:443", "Basic bWU6cGFzcyB3b3Jk")]
        assert server.requests[0].headers["host"] == HOST
        assert "proxy-authorization" not in server.requests[0].headers
        assert server.connections == 1


def test_http_uses_the_proxy(bare_environment: pytest.MonkeyPatch) -> None:
    with aws() as server, proxy(server) as between:
        bare_environment.setenv("HTTP_PROXY", f"127.0.0.1:{between.server_port}")
        assert devices(api("http://cognito.internal:8000")) == NO_DEVICES
        assert between.requests == [("POST http://cognito.internal:8000/", None)]
        assert server.requests[0].headers["host"] == "cognito.internal:8000"


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_proxy_with_tls_and_password_is_used(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path, secure: bool
) -> None:
    with (
        aws(tls=tls(authority, HOST) if secure else None) as server,
        proxy(server, tls(authority, "127.0.0.1")) as between,
    ):
        address = f"https://me:word@127.0.0.1:{between.server_port}"
        bare_environment.setenv("HTTPS_PROXY", address)
        bare_environment.setenv("HTTP_PROXY", address)
        bare_environment.setenv("AWS_CA_BUNDLE", bundle(authority, tmp_path))
        assert devices(api(None if secure else f"http://{HOST}")) == NO_DEVICES
        line = f"CONNECT {HOST}:443" if secure else f"POST http://{HOST}/"
        assert between.requests == [(line, "Basic bWU6d29yZA==")]


def test_proxy_with_certificate_of_another_host_is_rejected(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    with aws(tls=tls(authority, HOST)) as server, proxy(server, tls(authority, "elsewhere.example")) as between:
        bare_environment.setenv("HTTPS_PROXY", f"https://127.0.0.1:{between.server_port}")
        bare_environment.setenv("AWS_CA_BUNDLE", bundle(authority, tmp_path))
        failed(ConnectionFailed, api())
        assert between.requests == []


def test_certificate_behind_a_proxy_must_match_the_server(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    with aws(tls=tls(authority, "127.0.0.1")) as server, proxy(server) as between:
        bare_environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.server_port}")
        bare_environment.setenv("AWS_CA_BUNDLE", bundle(authority, tmp_path))
        failed(ConnectionFailed, api())
        assert server.requests == []


def test_proxy_that_refuses_is_a_connection_failure(bare_environment: pytest.MonkeyPatch) -> None:
    with aws() as server, proxy(server, refusal=407) as between:
        bare_environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.server_port}")
        assert failed(ConnectionFailed, api()).code == "ProxyError"
        assert between.requests == [(f"CONNECT {HOST}:443", None)]
        assert server.connections == 0


def test_host_in_no_proxy_is_connected_directly(bare_environment: pytest.MonkeyPatch) -> None:
    with aws() as server, proxy(server) as between:
        bare_environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{between.server_port}")
        bare_environment.setenv("NO_PROXY", "127.0.0.1")
        assert devices(api(server.url)) == NO_DEVICES
        assert between.requests == []


def test_proxy_that_is_down_is_a_connection_failure(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert failed(ConnectionFailed, api()).attempted


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_ca_bundle_of_the_environment_is_trusted(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path, variable: str
) -> None:
    with aws(tls=tls(authority, "127.0.0.1")) as server:
        bare_environment.setenv(variable, bundle(authority, tmp_path))
        assert devices(api(f"https://127.0.0.1:{server.server_port}")) == NO_DEVICES


def test_ca_bundle_of_the_configuration_file_is_trusted(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(f"[default]\nca_bundle = {bundle(authority, tmp_path)}\n")
    bare_environment.setenv("AWS_CONFIG_FILE", str(file))
    with aws(tls=tls(authority, "127.0.0.1")) as server:
        assert devices(api(f"https://127.0.0.1:{server.server_port}")) == NO_DEVICES


def test_unknown_authority_is_rejected(authority: trustme.CA) -> None:
    with aws(tls=tls(authority, "127.0.0.1")) as server:
        failed(ConnectionFailed, api(f"https://127.0.0.1:{server.server_port}"))
        assert server.requests == []


def test_certificate_of_another_host_is_rejected(
    bare_environment: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    bare_environment.setenv("AWS_CA_BUNDLE", bundle(authority, tmp_path))
    with aws(tls=tls(authority, "elsewhere.example")) as server:
        failed(ConnectionFailed, api(f"https://127.0.0.1:{server.server_port}"))
        assert server.requests == []


def test_missing_ca_bundle_fails_when_the_client_is_created(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ConnectionFailed) as caught:
        api()
    assert not caught.value.attempted


# Credentials


def test_role_credentials_are_refreshed_before_they_expire(bare_environment: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1, 100))

    def assume(request: Request) -> Reply:
        assert parse_qs(request.body.decode())["Action"] == ["AssumeRole"]
        number = next(numbers)
        expiry = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()  # botocore renews ten minutes ahead
        return Reply(
            f"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKID{number}</AccessKeyId>"
            f"<SecretAccessKey>s{number}</SecretAccessKey><SessionToken>t{number}</SessionToken>"
            f"<Expiration>{expiry}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>".encode()
        )

    with aws(assume) as sts, aws() as server:
        bare_environment.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        client = api(server.url, role_arn="arn:aws:iam::210987654321:role/reader")
        for _ in range(3):
            devices(client)
    tokens = [request.headers["x-amz-security-token"] for request in server.requests]
    assert len(set(tokens)) == 3
    for request, token in zip(server.requests, tokens, strict=True):
        assert f"Credential=AKID{token[1:]}/" in request.headers["authorization"]


def test_failed_assume_role_sends_nothing_to_cognito(bare_environment: pytest.MonkeyPatch) -> None:
    refusal = b"<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>"
    with aws(lambda _: Reply(refusal, 403)) as sts, aws() as server:
        bare_environment.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        error = failed(CredentialsError, api(server.url, role_arn="arn:aws:iam::210987654321:role/reader"))
        assert not error.attempted
        assert str(error) == "AdminListDevices (AssumeRole): ExpiredToken"
        assert server.requests == []


def test_client_without_credentials_sends_nothing() -> None:
    with aws() as server:
        apis = AwsApis()
        with pytest.raises(CredentialsError) as caught:
            apis(TargetSettings(REGION, endpoint_url=server.url))
        assert not caught.value.attempted
        assert server.requests == []


def test_credentials_that_appear_later_are_found(bare_environment: pytest.MonkeyPatch) -> None:
    with aws() as server:
        apis = AwsApis()
        with pytest.raises(CredentialsError):
            apis(TargetSettings(REGION, endpoint_url=server.url))
        bare_environment.setenv("AWS_ACCESS_KEY_ID", "123456789012")
        bare_environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        apis(TargetSettings(REGION, endpoint_url=server.url)).list_users("pool", user_filter=None, token=None)
        assert len(server.requests) == 1


# Clocks


class StrictServer:
    """Rejects signatures with a time that differs by more than five minutes, as AWS does."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.code = "InvalidSignatureException"

    def __call__(self, request: Request) -> Reply:
        signed = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        headers = {"Date": formatdate(self.now, usegmt=True)}
        if abs(signed.timestamp() - self.now) <= 300:
            return Reply(headers=headers)
        return Reply(json.dumps({"__type": self.code, "message": "Signature expired"}).encode(), 400, headers)


@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired"])
@pytest.mark.parametrize("hours", [-3, 5])
def test_clock_skew_is_corrected_after_one_failed_request(code: str, hours: int) -> None:
    clock = ManualClock()
    strict = StrictServer(clock.wall() + hours * 3600)
    strict.code = code
    with aws(strict) as server:
        client = api(server.url, clock=clock)
        failed(CredentialsError, client)
        assert [devices(client) for _ in range(3)] == [NO_DEVICES] * 3
        clock.advance(hours * 3600)
        failed(CredentialsError, client)
        assert [devices(client) for _ in range(3)] == [NO_DEVICES] * 3
        assert len(server.requests) == 8


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}, {"Date": formatdate(1_700_000_000, usegmt=True)}])
def test_signature_error_for_another_reason_keeps_the_clock(headers: dict[str, str]) -> None:
    refusal = Reply(b'{"__type": "InvalidSignatureException"}', 403, headers)
    with aws(lambda _: refusal) as server:
        client = api(server.url, clock=ManualClock(1_700_000_000.0))
        for _ in range(2):
            failed(CredentialsError, client)
    assert {request.headers["x-amz-date"] for request in server.requests} == {"20231114T221320Z"}
