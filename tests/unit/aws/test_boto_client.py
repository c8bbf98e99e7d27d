"""What is boto3's own about `BotoCognito`; what every implementation does stands in `tests/contract`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import boto3
import botocore.session
import pytest

from exporter.aws.api import CognitoApi
from exporter.aws.boto_client import CONNECTIONS, ONE_ATTEMPT, BotoCognito
from exporter.collect.sweeping.workers import MAX_WORKERS
from exporter.emulator import Emulator, Fault, Rule
from exporter.errors import AwsError, CredentialsFault, Denied
from tests.aws_session import aws_session
from tests.fakes import ACCOUNT

REGION = "eu-west-1"
POOL = f"{REGION}_AbCdEfGhI"

CALLS: tuple[Callable[[CognitoApi], object], ...] = (
    lambda api: api.describe_user_pool(POOL),
    lambda api: api.list_users(POOL, user_filter=None, token=None),
    lambda api: api.list_users_in_group(POOL, "staff", token=None),
    lambda api: api.admin_list_devices(POOL, "ann", token=None, attributes=frozenset()),
    lambda api: api.account_id(),
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


class NoCredentials:
    """A resolver that has looked everywhere."""

    def load_credentials(self) -> None:
        return None


def made(session: boto3.Session, url: str) -> BotoCognito:
    cognito = session.client("cognito-idp", endpoint_url=url, config=ONE_ATTEMPT)
    return BotoCognito(lambda: cognito, lambda: session.client("sts", endpoint_url=url, config=ONE_ATTEMPT))


def with_keys() -> boto3.Session:
    return aws_session(ACCOUNT, REGION)


@pytest.mark.parametrize("call", CALLS)
def test_without_credentials_nothing_leaves_the_process(
    emulator: Emulator, call: Callable[[CognitoApi], object]
) -> None:
    source = botocore.session.Session()
    source.register_component("credential_provider", NoCredentials())
    api = made(boto3.Session(botocore_session=source, region_name=REGION), emulator.url)
    emulator.clear_requests()
    with pytest.raises(CredentialsFault, match="NoCredentialsError") as caught:
        call(api)
    assert not caught.value.attempted
    assert emulator.requests() == ()


@dataclass
class Seen:
    """What one of many threads got."""

    attempted: bool | None = None


def test_whether_a_call_left_is_known_of_each_thread_for_itself(emulator: Emulator) -> None:
    """A failure before departure on one thread beside departures on others."""
    api = made(with_keys(), emulator.url)
    unlucky = threading.local()

    def refuse_here(**_: object) -> None:
        if getattr(unlucky, "here", False):
            raise OSError("before departure")

    api._cognito.meta.events.register("before-call.cognito-identity-provider", refuse_here)
    emulator.faults.rules = (Rule(Fault.DENIED),)

    def ask(seen: Seen, *, here: bool) -> None:
        unlucky.here = here
        try:
            api.describe_user_pool(POOL)
        except AwsError as error:
            seen.attempted = error.attempted

    told = [(Seen(), bool(i % 2)) for i in range(8)]
    threads = [threading.Thread(target=partial(ask, seen, here=here)) for seen, here in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emulator.faults.rules = ()
    assert [seen.attempted for seen, _ in told] == [not here for _, here in told]


def test_a_failure_before_departure_is_not_taken_for_the_one_before(emulator: Emulator) -> None:
    api = made(with_keys(), emulator.url)
    emulator.faults.rules = (Rule(Fault.DENIED),)
    with pytest.raises(Denied) as on_send:
        api.describe_user_pool(POOL)
    emulator.faults.rules = ()

    def refuse(**_: object) -> None:
        raise OSError("before departure")

    api._cognito.meta.events.register("before-call.cognito-identity-provider", refuse)
    with pytest.raises(AwsError) as stayed:
        api.describe_user_pool(POOL)
    assert (on_send.value.attempted, stayed.value.attempted) == (True, False)


def test_a_connection_is_kept_for_every_worker_of_a_pool() -> None:
    assert CONNECTIONS >= MAX_WORKERS
