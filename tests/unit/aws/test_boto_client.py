"""Requests over boto3: whether they were sent, and the limit of the response length."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config

from exporter.aws.api import AccountApi, Category
from exporter.aws.boto_client import MAX_CONNECTIONS, ONE_ATTEMPT, AccountClient, limit_response_size
from exporter.aws.lean.transport import MAX_BODY_BYTES
from exporter.collect.sweeping.workers import MAX_WORKERS
from exporter.emulator import Emulator, Fault, Rule
from exporter.errors import AwsError, CredentialsError, Denied, Malformed
from tests.aws_session import aws_session
from tests.fakes import ACCOUNT
from tests.integration.lean_server import Reply, aws

REGION = "eu-west-1"
BEFORE_CALL = "before-call.cognito-identity-provider"

CALLS: tuple[Callable[[AccountApi], object], ...] = (
    lambda api: api.account_id(),
    lambda api: api.provisioned_quota(Category.USER_LIST),
)

CALLER = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>%b</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


class NoCredentials:
    """Credential resolver that finds nothing."""

    def load_credentials(self) -> None:
        return None


def account_client(session: boto3.Session, url: str) -> AccountClient:
    config = ONE_ATTEMPT.merge(Config(proxies={}))
    cognito = session.client("cognito-idp", endpoint_url=url, config=config)
    sts = session.client("sts", endpoint_url=url, config=config)
    limit_response_size(cognito)
    limit_response_size(sts)
    return AccountClient(lambda: cognito, lambda: sts)


def session_with_keys() -> boto3.Session:
    return aws_session(ACCOUNT, REGION)


@pytest.mark.parametrize("call", CALLS)
def test_call_without_credentials_sends_nothing(emulator: Emulator, call: Callable[[AccountApi], object]) -> None:
    source = botocore.session.Session()
    source.register_component("credential_provider", NoCredentials())
    api = account_client(boto3.Session(botocore_session=source, region_name=REGION), emulator.url)
    emulator.clear_requests()
    with pytest.raises(CredentialsError, match="NoCredentialsError") as caught:
        call(api)
    assert not caught.value.attempted
    assert emulator.requests() == ()


@dataclass
class Result:
    """Result of the call of one thread."""

    attempted: bool | None = None


def test_attempted_is_tracked_per_thread(emulator: Emulator) -> None:
    """Half of the threads fail before the request is sent, while the others send it."""
    api = account_client(session_with_keys(), emulator.url)
    failing = threading.local()

    def fail_before_sending(**_: object) -> None:
        if getattr(failing, "here", False):
            raise OSError("before sending")

    api.cognito.meta.events.register(BEFORE_CALL, fail_before_sending)
    emulator.faults.rules = (Rule(Fault.DENIED),)

    def call(result: Result, *, here: bool) -> None:
        failing.here = here
        try:
            api.provisioned_quota(Category.USER_LIST)
        except AwsError as error:
            result.attempted = error.attempted

    results = [(Result(), bool(i % 2)) for i in range(8)]
    threads = [threading.Thread(target=partial(call, result, here=here)) for result, here in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emulator.faults.rules = ()
    assert [result.attempted for result, _ in results] == [not here for _, here in results]


def test_attempted_is_reset_for_each_call(emulator: Emulator) -> None:
    api = account_client(session_with_keys(), emulator.url)
    emulator.faults.rules = (Rule(Fault.DENIED),)
    with pytest.raises(Denied) as sent:
        api.provisioned_quota(Category.USER_LIST)
    emulator.faults.rules = ()

    def fail_before_sending(**_: object) -> None:
        raise OSError("before sending")

    api.cognito.meta.events.register(BEFORE_CALL, fail_before_sending)
    with pytest.raises(AwsError) as not_sent:
        api.provisioned_quota(Category.USER_LIST)
    assert (sent.value.attempted, not_sent.value.attempted) == (True, False)


def test_each_worker_of_a_pool_has_a_pooled_connection() -> None:
    assert MAX_CONNECTIONS >= MAX_WORKERS


def test_account_id_is_read_from_the_response() -> None:
    with aws(lambda _: Reply(CALLER % b"123456789012", headers={"Content-Type": "text/xml"})) as server:
        assert account_client(session_with_keys(), server.url).account_id() == "123456789012"


@pytest.mark.parametrize("account", [b"1" * 100_000, b"12345", "١٢٣٤٥٦٧٨٩٠١٢".encode(), b""])
def test_account_id_other_than_twelve_digits_is_malformed(account: bytes) -> None:
    with aws(lambda _: Reply(CALLER % account, headers={"Content-Type": "text/xml"})) as server:
        api = account_client(session_with_keys(), server.url)
        with pytest.raises(Malformed):
            api.account_id()


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b'"50"', b"true", b"null", b"1e300", b"[]"])
def test_quota_other_than_a_positive_integer_is_malformed(value: bytes) -> None:
    with aws(lambda _: Reply(b'{"Limit": {"ProvisionedLimitValue": %b}}' % value)) as server:
        api = account_client(session_with_keys(), server.url)
        with pytest.raises(Malformed):
            api.provisioned_quota(Category.USER_LIST)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("status", [200, 500])
def test_response_above_the_length_limit_is_rejected(status: int, chunked: bool) -> None:
    padding: Any = b" " * (MAX_BODY_BYTES + 1_000_000)
    with aws(lambda _: Reply(padding + CALLER % b"123456789012", status, chunked=chunked)) as server:
        api = account_client(session_with_keys(), server.url)
        with pytest.raises(Malformed):
            api.account_id()
        with pytest.raises(Malformed):
            api.provisioned_quota(Category.USER_LIST)
