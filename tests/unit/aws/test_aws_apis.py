"""Clients made for real: profiles, roles over the emulator's STS, endpoints."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from exporter.aws.api import CognitoApi
from exporter.aws.boto_client import BotoCognito
from exporter.aws.lean.client import LeanCognito
from exporter.aws.sessions import AwsApis
from exporter.config.settings import TargetSettings
from exporter.emulator import Emulator, Fault, Rule
from exporter.errors import AwsError, CredentialsFault, Denied, ServerError
from tests.aws_session import aws_session
from tests.fakes import ACCOUNT

OTHER_ACCOUNT = "210987654321"
IRELAND, OHIO = "eu-west-1", "us-east-2"
HERE = TargetSettings(IRELAND)
BY_ROLE = TargetSettings(IRELAND, role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", external_id="s3cret")


@pytest.fixture
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No profile, no credentials and no endpoint of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def emulator(nothing_of_this_machine: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as emulator:
        nothing_of_this_machine.setenv("AWS_ENDPOINT_URL_STS", emulator.url)
        yield emulator


def with_keys() -> boto3.Session:
    return aws_session(ACCOUNT)


def boto(api: CognitoApi) -> BotoCognito:
    """The boto3 client from which the lean one takes where and how to ask."""
    assert isinstance(api, LeanCognito)
    assert isinstance(api._plain, BotoCognito)
    return api._plain


@pytest.mark.usefixtures("nothing_of_this_machine")
def test_a_profile_that_does_not_exist_is_a_fault_of_credentials_and_no_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    apis = AwsApis()
    with pytest.raises(CredentialsFault, match="ProfileNotFound") as caught:
        apis(HERE)
    assert not caught.value.attempted
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert boto(apis(HERE))._cognito.meta.region_name == IRELAND


@pytest.mark.usefixtures("nothing_of_this_machine")
def test_clients_share_one_session() -> None:
    made: list[boto3.Session] = []

    def make() -> boto3.Session:
        made.append(with_keys())
        return made[-1]

    apis = AwsApis(make)
    assert made == []
    for target in (HERE, TargetSettings(OHIO), BY_ROLE):
        apis(target)
    assert len(made) == 1


def test_what_clients_of_a_region_share_goes_with_the_last_of_them(emulator: Emulator) -> None:
    apis = AwsApis(with_keys)
    here = replace(HERE, endpoint_url=emulator.url)
    clients = [apis(here), apis(replace(BY_ROLE, endpoint_url=emulator.url))]
    for client in clients:
        client.account_id()  # what is made when it is first needed
    elsewhere = apis(replace(here, region=OHIO))
    (shared,) = {id(place) for place in apis._places.values() if place.cognito.meta.region_name == IRELAND}
    assert len(apis._places) == 2
    del client, clients[0]
    gc.collect()
    assert shared in {id(place) for place in apis._places.values()}, "the other client still needs it"
    assert clients[0].account_id() == OTHER_ACCOUNT
    clients.clear()
    gc.collect()
    assert [place.cognito.meta.region_name for place in apis._places.values()] == [OHIO]
    assert elsewhere.account_id() == ACCOUNT
    assert apis(here).account_id() == ACCOUNT


def test_without_a_role_the_account_is_that_of_the_credentials(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("own", users=1)
    api = AwsApis(with_keys)(replace(HERE, endpoint_url=emulator.url))
    assert api.describe_user_pool(pool_id).account_id == ACCOUNT
    assert api.account_id() == ACCOUNT
    assert [request.operation for request in emulator.requests()] == ["DescribeUserPool", "GetCallerIdentity"]


class Roles:
    """A session that notes what is asked of AssumeRole, and may ask for other lifetimes."""

    def __init__(self, lifetime: int | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self._lifetime = lifetime

    def session(self) -> boto3.Session:
        session = with_keys()
        session.events.register("before-parameter-build.sts.AssumeRole", self._note)
        return session

    def _note(self, params: dict[str, Any], **_: object) -> None:
        self.asked.append(dict(params))
        if self._lifetime is not None:
            params["DurationSeconds"] = self._lifetime


def test_a_role_is_assumed_once_and_its_account_is_asked(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("theirs", account_id=OTHER_ACCOUNT, users=3)
    roles = Roles()
    api = AwsApis(roles.session)(replace(BY_ROLE, endpoint_url=emulator.url))
    assert emulator.requests() == (), "nobody is asked before the first call"
    assert api.describe_user_pool(pool_id).account_id == OTHER_ACCOUNT
    assert len(api.list_users(pool_id, user_filter=None, token=None).items) == 3
    assert api.account_id() == OTHER_ACCOUNT
    assert roles.asked == [
        {"RoleArn": BY_ROLE.role_arn, "RoleSessionName": "cognito-device-exporter", "ExternalId": "s3cret"}
    ]
    assert [(request.operation, request.account_id) for request in emulator.requests()] == [
        ("AssumeRole", ACCOUNT),
        ("DescribeUserPool", OTHER_ACCOUNT),
        ("ListUsers", OTHER_ACCOUNT),
        ("GetCallerIdentity", OTHER_ACCOUNT),
    ]


def test_a_role_without_an_external_id_sends_none(emulator: Emulator) -> None:
    roles = Roles()
    target = replace(BY_ROLE, external_id=None, endpoint_url=emulator.url)
    assert AwsApis(roles.session)(target).account_id() == OTHER_ACCOUNT
    assert "ExternalId" not in roles.asked[0]


def test_credentials_of_a_role_are_renewed_before_they_expire(emulator: Emulator) -> None:
    """botocore renews from 15 minutes before the end; AWS's shortest lifetime is just that."""
    roles = Roles(lifetime=900)
    api = AwsApis(roles.session)(replace(BY_ROLE, endpoint_url=emulator.url))
    for _ in range(3):
        assert api.account_id() == OTHER_ACCOUNT
    assert len(roles.asked) >= 3


@pytest.mark.parametrize(
    ("fault", "kind"), [(Fault.DENIED, Denied), (Fault.SERVER_ERROR, ServerError), (Fault.DROPPED, AwsError)]
)
def test_a_role_that_cannot_be_assumed_is_one_attempt_at_sts_and_none_at_cognito(
    emulator: Emulator, fault: Fault, kind: type[AwsError]
) -> None:
    pool_id = emulator.seed_pool("theirs", account_id=OTHER_ACCOUNT, users=1)
    api = AwsApis(with_keys)(replace(BY_ROLE, endpoint_url=emulator.url))
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
@pytest.mark.usefixtures("nothing_of_this_machine")
def test_fips_and_dual_stack_reach_the_endpoints(
    target: TargetSettings, fips: bool, dual: bool, cognito: str, sts: str
) -> None:
    lean = AwsApis(with_keys)(replace(target, use_fips_endpoint=fips, use_dualstack_endpoint=dual))
    api = boto(lean)
    assert (api._cognito.meta.endpoint_url, api._sts().meta.endpoint_url) == (f"https://{cognito}", f"https://{sts}")


@pytest.mark.parametrize(
    ("flag", "host"), [(None, "cognito-idp-fips"), (False, "cognito-idp"), (True, "cognito-idp-fips")]
)
def test_what_is_not_configured_is_left_to_boto3(
    nothing_of_this_machine: pytest.MonkeyPatch, flag: bool | None, host: str
) -> None:
    nothing_of_this_machine.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    api = boto(AwsApis(with_keys)(TargetSettings(OHIO, use_fips_endpoint=flag)))
    assert api._cognito.meta.endpoint_url == f"https://{host}.us-east-2.amazonaws.com"


@pytest.mark.usefixtures("nothing_of_this_machine")
def test_the_client_says_who_it_is() -> None:
    api = boto(AwsApis(with_keys)(HERE))
    assert "cognito-device-exporter/" in api._cognito._client_config.user_agent  # type: ignore[attr-defined] # not in the stubs
