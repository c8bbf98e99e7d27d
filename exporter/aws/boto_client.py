"""The API through boto3: one request per method, boto3's own retries switched off.

Retries spend quota, so each attempt must pass the rate budget and be counted: asking again is the
business of the sweep, not of the SDK.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.parsers import ResponseParserError

from exporter.aws import model_mapping as parse
from exporter.aws.api import PAGE_SIZE, Category, Operation, Page
from exporter.aws.error_mapping import from_exception
from exporter.aws.response_limit import limit_response_size
from exporter.errors import AwsError, Malformed
from exporter.model import Device, ListedPool, ListedUser, PoolDescription

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
"""Seconds. Cognito answers these calls in tens of milliseconds; a stalled one must not hold a sweep."""

CONNECTIONS = 256
"""Connections kept open at the most: more calls in flight than that would open new ones each time."""

ONE_ATTEMPT = Config(
    retries={"mode": "standard", "total_max_attempts": 1},
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    max_pool_connections=CONNECTIONS,
    tcp_keepalive=True,
    parameter_validation=False,  # the parameters are our own; Cognito checks them anyway
)


class BotoCognito:
    """`exporter.aws.api.CognitoApi` over a boto3 client."""

    def __init__(
        self,
        cognito: Callable[[], CognitoIdentityProviderClient],
        sts: Callable[[], STSClient],
    ) -> None:
        """Use clients made with `ONE_ATTEMPT`, which are made when they are first needed."""
        self._make_cognito = cognito
        self._sts = sts
        self._departures = SendTracker()

    @cached_property
    def _cognito(self) -> CognitoIdentityProviderClient:
        cognito = self._make_cognito()
        self._departures.watch(cognito)
        limit_response_size(cognito)
        cognito.meta.events.register("before-parse.cognito-identity-provider", _refuse_broken_json)
        return cognito

    def prepare(self, operation: Operation) -> None:
        """Nothing: boto3 looks after its credentials in the call."""

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """One DescribeUserPool."""
        answer = self._call(Operation.DESCRIBE_USER_POOL, self._cognito.describe_user_pool, UserPoolId=pool_id)
        return parse.pool_description(pool_id, answer)

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """One page of ListUserPools."""
        wanted: dict[str, Any] = {"MaxResults": PAGE_SIZE}
        if token is not None:
            wanted["NextToken"] = token
        return parse.pools_page(self._call(Operation.LIST_USER_POOLS, self._cognito.list_user_pools, **wanted))

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """One ListTagsForResource."""
        method = self._cognito.list_tags_for_resource
        return parse.pool_tags(self._call(Operation.LIST_TAGS_FOR_RESOURCE, method, ResourceArn=pool_arn))

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """One page of ListUsers, asking for no attribute but `sub`: the rest is personal data."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "Limit": PAGE_SIZE, "AttributesToGet": ["sub"]}
        if user_filter is not None:
            wanted["Filter"] = user_filter
        if token is not None:
            wanted["PaginationToken"] = token
        answer = self._call(Operation.LIST_USERS, self._cognito.list_users, **wanted)
        return parse.users_page(Operation.LIST_USERS, answer, next_field="PaginationToken")

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """One page of ListUsersInGroup."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "GroupName": group, "Limit": PAGE_SIZE}
        if token is not None:
            wanted["NextToken"] = token
        answer = self._call(Operation.LIST_USERS_IN_GROUP, self._cognito.list_users_in_group, **wanted)
        return parse.users_page(Operation.LIST_USERS_IN_GROUP, answer, next_field="NextToken")

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """One page of AdminListDevices; boto3 has no paginator for it."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "Username": username, "Limit": PAGE_SIZE}
        if token is not None:
            wanted["PaginationToken"] = token
        answer = self._call(Operation.ADMIN_LIST_DEVICES, self._cognito.admin_list_devices, **wanted)
        return parse.devices_page(answer, attributes=attributes)

    def account_id(self) -> str:
        """One GetCallerIdentity."""
        answer = self._call(Operation.GET_CALLER_IDENTITY, self._get_caller_identity)
        account = answer.get("Account")
        if not isinstance(account, str) or parse.account_of(account) is None:
            raise Malformed(Operation.GET_CALLER_IDENTITY, "no account id in the answer")
        return account

    def _get_caller_identity(self) -> Any:
        sts = self._sts()
        self._departures.watch(sts)
        limit_response_size(sts)
        return sts.get_caller_identity()

    def provisioned_quota(self, category: Category) -> float:
        """One GetProvisionedLimit."""
        answer = self._call(
            Operation.GET_PROVISIONED_LIMIT,
            self._cognito.get_provisioned_limit,
            LimitDefinition={"LimitClass": "API_CATEGORY", "Attributes": {"Category": category.value}},
        )
        return parse.provisioned_quota(answer)

    def _call(self, operation: Operation, method: Callable[..., Any], **wanted: Any) -> dict[str, Any]:
        self._departures.reset()
        try:
            answer: dict[str, Any] = method(**wanted)
        except Exception as error:
            raise self._translated(operation, error) from error
        return answer

    def _translated(self, operation: Operation, error: Exception) -> AwsError:
        ours = from_exception(operation, error)
        ours.attempted = self._departures.seen()
        return ours


class SendTracker:
    """Knows whether the call under way on this thread has left the process."""

    def __init__(self) -> None:
        self._local = threading.local()

    def watch(self, client: CognitoIdentityProviderClient | STSClient) -> None:
        """Know of the calls of this client, too."""
        client.meta.events.register("before-send", self._note)

    def reset(self) -> None:
        """A call of this thread begins."""
        self._local.seen = False

    def seen(self) -> bool:
        """Whether the call of this thread has left the process."""
        return bool(self._local.seen)

    def _note(self, **_: Any) -> None:
        self._local.seen = True


def _refuse_broken_json(response_dict: dict[str, Any], **_: Any) -> None:
    """Stop botocore from reading a truncated answer as an empty one: it would look like "no devices"."""
    if response_dict["status_code"] != 200:
        return
    try:
        body = json.loads(response_dict["body"])
    except ValueError as error:
        raise ResponseParserError("the body is no JSON") from error
    if not isinstance(body, dict):
        raise ResponseParserError("the body is no JSON object")
