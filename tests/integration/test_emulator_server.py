"""HTTP server of the emulator: keep-alive, many connections, log, loopback only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from time import monotonic, thread_time
from urllib.parse import urlsplit

import pytest

from exporter.emulator import Emulator
from tests.integration.emulator_client import ACCOUNT_ID, REGION, headers, post


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def pool_id(emulator: Emulator) -> str:
    return emulator.seed_pool("served", users=100)


def connect(emulator: Emulator) -> HTTPConnection:
    return HTTPConnection(urlsplit(emulator.url).netloc, timeout=10)


def ask(connection: HTTPConnection, pool_id: str) -> int:
    connection.request("POST", "/", json.dumps({"UserPoolId": pool_id, "Limit": 60}), headers("ListUsers"))
    response = connection.getresponse()
    response.read()
    return response.status


def test_connection_is_kept_open(emulator: Emulator, pool_id: str) -> None:
    connection = connect(emulator)
    assert ask(connection, pool_id) == 200
    kept = connection.sock
    assert kept is not None
    assert [ask(connection, pool_id) for _ in range(20)] == [200] * 20
    assert connection.sock is kept
    connection.close()


def test_hundred_concurrent_connections(emulator: Emulator, pool_id: str) -> None:
    emulator.clear_requests()
    statuses: list[int] = []
    barrier = threading.Barrier(100)

    def client() -> None:
        connection = connect(emulator)
        barrier.wait(20)
        statuses.extend(ask(connection, pool_id) for _ in range(3))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 300
    assert len(emulator.requests()) == 300


def test_log_has_the_requests(emulator: Emulator, pool_id: str) -> None:
    emulator.clear_requests()
    begun = monotonic()
    post(emulator.url, "ListUsers", {"UserPoolId": pool_id})
    post(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": "nobody"})
    first, second = emulator.requests()
    assert (first.operation, first.pool_id, first.code) == ("ListUsers", pool_id, "OK")
    assert (first.account_id, first.region) == (ACCOUNT_ID, REGION)
    assert (second.operation, second.code) == ("AdminListDevices", "UserNotFoundException")
    assert begun <= first.arrived <= second.arrived <= monotonic()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])  # noqa: S104 -- what must be refused
def test_emulator_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        Emulator(host=host)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"X-Amz-Target": "DynamoDB_20120810.ListTables"}, "UnknownOperationException"),
        ({"X-Amz-Target": "AWSCognitoIdentityProviderService.ListUsers"}, "MissingAuthenticationTokenException"),
        ({}, "UnknownOperationException"),
    ],
)
def test_request_other_than_cognito_is_rejected(emulator: Emulator, sent: dict[str, str], code: str) -> None:
    connection = connect(emulator)
    connection.request("POST", "/", "{}", sent)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["__type"]) == (400, code)
    connection.close()


@pytest.mark.parametrize("body", ["{", "[]", "null"])
def test_body_other_than_an_object_is_rejected(emulator: Emulator, body: str) -> None:
    connection = connect(emulator)
    connection.request("POST", "/", body, headers("ListUsers"))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["__type"]) == (400, "SerializationException")
    connection.close()


def test_seeding_10000_users_is_fast(emulator: Emulator) -> None:
    begun = thread_time()
    pool_id = emulator.seed_pool("large", users=10_000)
    assert thread_time() - begun < 5  # about half a second
    assert len(emulator.truth(pool_id).users) == 10_000
