"""Real clients: profiles, roles with the STS of the emulator, endpoints."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from exporter.aws.api import CognitoApi
from exporter.aws.boto_client import AccountClient, LimitedSession
from exporter.aws.lean.client import LeanCognito
from exporter.aws.sessions import AwsApis
from exporter.config.settings import TargetSettings
from exporter.emulator import Emulator, Fault, Rule
from exporter.errors import AwsError, CredentialsError, Denied, ServerError
from tests.aws_session import aws_session
from tests.fakes import ACCOUNT

OTHER_ACCOUNT = "210987654321"
IRELAND, OHIO = "eu-west-1", "us-east-2"
HERE = TargetSettings(IRELAND)
BY_ROLE = TargetSettings(IRELAND, role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", external_id="s3cret")


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hide profiles, credentials and endpoints of this machine."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def emulator(clean_environment: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as emulator:
        clean_environment.setenv("AWS_ENDPOINT_URL_STS", emulator.url)
        yield emulator


def session_with_keys() -> boto3.Session:
    return aws_session(ACCOUNT)


def account_client(api: CognitoApi) -> AccountClient:
    """Return the boto3 client of a lean client."""
    assert isinstance(api, LeanCognito)
    assert isinstance(api.account, AccountClient)
    return api.account


@pytest.mark.usefixtures("clean_environment")
def test_missing_profile_is_a_credentials_error_without_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    apis = AwsApis()
    with pytest.raises(CredentialsError, match="ProfileNotFound") as caught:
        apis(HERE)
    assert not caught.value.attempted
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert account_client(apis(HERE)).cognito.meta.region_name == IRELAND


@pytest.mark.usefixtures("clean_environment")
def test_clients_share_one_session() -> None:
    created: list[boto3.Session] = []

    def make() -> boto3.Session:
        created.append(session_with_keys())
        return created[-1]

    apis = AwsApis(make)
    assert created == []
    for target in (HERE, TargetSettings(OHIO), BY_ROLE):
        apis(target)
    assert len(created) == 1


def test_shared_clients_of_a_region_are_freed_with_the_last_user(emulator: Emulator) -> None:
    apis = AwsApis(session_with_keys)
    here = replace(HERE, endpoint_url=emulator.url)
    clients = [apis(here), apis(replace(BY_ROLE, endpoint_url=emulator.url))]
    for client in clients:
        client.account_id()  # creates the clients that are created on first use
    elsewhere = apis(replace(here, region=OHIO))
    (shared,) = {id(endpoint) for endpoint in apis._endpoints.values() if endpoint.cognito.meta.region_name == IRELAND}
    assert len(apis._endpoints) == 2
    del client, clients[0]
    gc.collect()
    assert shared in {id(endpoint) for endpoint in apis._endpoints.values()}, "the other client uses it"
    assert clients[0].account_id() == OTHER_ACCOUNT
    clients.clear()
    gc.collect()
    assert [endpoint.cognito.meta.region_name for endpoint in apis._endpoints.values()] == [OHIO]
    assert elsewhere.account_id() == ACCOUNT
    assert apis(here).account_id() == ACCOUNT


def test_account_without_a_role_is_that_of_the_credentials(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("own", users=1)
    api = AwsApis(session_with_keys)(replace(HERE, endpoint_url=emulator.url))
    assert api.describe_user_pool(pool_id).account_id == ACCOUNT
    assert api.account_id() == ACCOUNT
    assert [request.operation for request in emulator.requests()] == ["DescribeUserPool", "GetCallerIdentity"]


class RecordedRoles:
    """Session that records AssumeRole requests, and can change the lifetime that they request."""

    def __init__(self, lifetime: int | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._lifetime = lifetime

    def session(self) -> boto3.Session:
        session = session_with_keys()
        session.events.register("before-parameter-build.sts.AssumeRole", self._record)
        return session

    def _record(self, params: dict[str, Any], **_: object) -> None:
        self.requests.append(dict(params))
        if self._lifetime is not None:
            params["DurationSeconds"] = self._lifetime


def test_role_is_assumed_once_and_used_for_all_requests(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("theirs", account_id=OTHER_ACCOUNT, users=3)
    roles = RecordedRoles()
    api = AwsApis(roles.session)(replace(BY_ROLE, endpoint_url=emulator.url))
    assert emulator.requests() == (), "the role is assumed with the first request"
    assert api.describe_user_pool(pool_id).account_id == OTHER_ACCOUNT
    assert len(api.list_users(pool_id, user_filter=None, token=None).items) == 3
    assert api.account_id() == OTHER_ACCOUNT
    assert roles.requests == [
        {"RoleArn": BY_ROLE.role_arn, "RoleSessionName": "cognito-device-exporter", "ExternalId": "s3cret"}
    ]
    assert [(request.operation, request.account_id) for request in emulator.requests()] == [
        ("AssumeRole", ACCOUNT),
        ("DescribeUserPool", OTHER_ACCOUNT),
        ("ListUsers", OTHER_ACCOUNT),
        ("GetCallerIdentity", OTHER_ACCOUNT),
    ]


def test_role_without_an_external_id_sends_none(emulator: Emulator) -> None:
    roles = RecordedRoles()
    target = replace(BY_ROLE, external_id=None, endpoint_url=emulator.url)
    assert AwsApis(roles.session)(target).account_id() == OTHER_ACCOUNT
    assert "ExternalId" not in roles.requests[0]


def test_role_credentials_are_refreshed_before_they_expire(emulator: Emulator) -> None:
    """botocore refreshes 15 minutes before they expire, which is the shortest lifetime."""
    roles = RecordedRoles(lifetime=900)
    api = AwsApis(roles.session)(replace(BY_ROLE, endpoint_url=emulator.url))
    for _ in range(3):
        assert api.account_id() == OTHER_ACCOUNT
    assert len(roles.requests) >= 3


@pytest.mark.parametrize(
    ("fault", "kind"), [(Fault.DENIED, Denied), (Fault.SERVER_ERROR, ServerError), (Fault.DROPPED, AwsError)]
)
def test_failed_assume_role_makes_one_attempt_and_no_request(
    emulator: Emulator, fault: Fault, kind: type[AwsError]
) -> None:
    pool_id = emulator.seed_pool("theirs", account_id=OTHER_ACCOUNT, users=1)
    api = AwsApis(session_with_keys)(replace(BY_ROLE, endpoint_url=emulator.url))
    emulator.faults.rules = (Rule(fault, operation="AssumeRole"),)
    with pytest.raises(kind) as caught:
        api.describe_user_pool(pool_id)
    assert not caught.value.attempted
    assert [request.operation for request in emulator.requests()] == ["AssumeRole"]
    assert OTHER_ACCOUNT not in str(caught.value)
    emulator.faults.rules = ()
    assert api.describe_user_pool(pool_id).account_id == OTHER_ACCOUNT


@pytest.mark.parametrize("target", [TargetSettings(OHIO), replace(BY_ROLE, region=OHIO)])
@pytest.mark.parametrize(
    ("fips", "dual", "cognito", "sts"),
    [
        (False, False, "cognito-idp.us-east-2.amazonaws.com", "sts.us-east-2.amazonaws.com"),
        (True, False, "cognito-idp-fips.us-east-2.amazonaws.com", "sts-fips.us-east-2.amazonaws.com"),
        (False, True, "cognito-idp.us-east-2.amazonaws.com", "sts.us-east-2.api.aws"),
        (True, True, "cognito-idp-fips.us-east-2.amazonaws.com", "sts-fips.us-east-2.api.aws"),
    ],
)
@pytest.mark.usefixtures("clean_environment")
def test_fips_and_dual_stack_select_the_endpoints(
    target: TargetSettings, fips: bool, dual: bool, cognito: str, sts: str
) -> None:
    lean = AwsApis(session_with_keys)(replace(target, use_fips_endpoint=fips, use_dualstack_endpoint=dual))
    api = account_client(lean)
    assert (api.cognito.meta.endpoint_url, api.make_sts().meta.endpoint_url) == (
        f"https://{cognito}",
        f"https://{sts}",
    )


@pytest.mark.parametrize(
    ("flag", "host"), [(None, "cognito-idp-fips"), (False, "cognito-idp"), (True, "cognito-idp-fips")]
)
def test_unset_option_uses_the_setting_of_boto3(
    clean_environment: pytest.MonkeyPatch, flag: bool | None, host: str
) -> None:
    clean_environment.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    api = account_client(AwsApis(session_with_keys)(TargetSettings(OHIO, use_fips_endpoint=flag)))
    assert api.cognito.meta.endpoint_url == f"https://{host}.us-east-2.amazonaws.com"


@pytest.mark.usefixtures("clean_environment")
def test_user_agent_names_the_exporter() -> None:
    api = account_client(AwsApis(session_with_keys)(HERE))
    assert "cognito-device-exporter/" in api.cognito._client_config.user_agent  # type: ignore[attr-defined] # not in the stubs


@pytest.mark.parametrize("target", [HERE, BY_ROLE])
@pytest.mark.usefixtures("clean_environment")
def test_boto3_clients_limit_the_response_size(target: TargetSettings) -> None:
    api = account_client(AwsApis(session_with_keys)(target))
    clients: tuple[Any, ...] = (api.cognito, api.make_sts())
    for client in clients:
        assert isinstance(client._endpoint.http_session, LimitedSession)
