"""Answers of any length or slowness: no more is read, and no longer waited, than is meant to be."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import urllib3.exceptions as http
from botocore.config import Config

from exporter.aws.boto_client import ONE_ATTEMPT, BotoCognito
from exporter.aws.lean.transport import MAX_BODY_BYTES, Transport
from exporter.clock import SystemClock
from exporter.errors import AwsError, Malformed
from tests.aws_session import aws_session
from tests.integration.lean_server import Reply, aws

CALLER = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>%b</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def plain(url: str) -> BotoCognito:
    session = aws_session("AKIA", "eu-west-1")
    config = ONE_ATTEMPT.merge(Config(proxies={}))
    cognito: Any = session.client("cognito-idp", endpoint_url=url, config=config)
    return BotoCognito(lambda: cognito, lambda: session.client("sts", endpoint_url=url, config=config))


def test_boto3_still_reads_what_it_should() -> None:
    with aws(lambda _: Reply(CALLER % b"123456789012", headers={"Content-Type": "text/xml"})) as server:
        assert plain(server.url).account_id() == "123456789012"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("status", [200, 500])
def test_boto3_reads_no_endless_answer(status: int, chunked: bool) -> None:
    padding = b" " * (MAX_BODY_BYTES + 1_000_000)
    with aws(lambda _: Reply(padding + CALLER % b"123456789012", status, chunked=chunked)) as server:
        api = plain(server.url)
        with pytest.raises(Malformed):
            api.account_id()
        with pytest.raises(AwsError):
            api.describe_user_pool("eu-west-1_AbCdEfGhI")


@pytest.mark.parametrize("account", [b"1" * 100_000, b"12345", "١٢٣٤٥٦٧٨٩٠١٢".encode(), b""])
def test_an_account_id_is_twelve_digits(account: bytes) -> None:
    with aws(lambda _: Reply(CALLER % account, headers={"Content-Type": "text/xml"})) as server:
        api = plain(server.url)
        with pytest.raises(Malformed):
            api.account_id()


@contextmanager
def trickling(every: float) -> Iterator[str]:
    """A server that begins an answer and then sends a byte now and then."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not stopped.wait(every):
                connection.sendall(b" ")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        thread.join()


def test_an_answer_that_trickles_is_given_up() -> None:
    with trickling(0.05) as url:
        transport = Transport(url, Config(read_timeout=0.5, connect_timeout=1, proxies={}), None, SystemClock())
        began = time.monotonic()
        with pytest.raises(http.ReadTimeoutError):
            transport.post({}, b"{}")
        assert time.monotonic() - began < 3


def test_a_connection_is_as_patient_with_the_next_answer() -> None:
    """An answer in pieces shortens the connection's timeout for a moment only."""
    with aws(lambda _: Reply(b" " * 1_000_000)) as server:
        transport = Transport(server.url, Config(read_timeout=7, connect_timeout=1, proxies={}), None, SystemClock())
        transport.post({}, b"{}")
        connection = transport._connections.take()
        assert connection.sock.gettimeout() == 7
        connection.close()
