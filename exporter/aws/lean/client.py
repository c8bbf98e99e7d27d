"""The operations of a sweep, without boto3's cost per call.

boto3 says where to send what and finds the credentials; signing, HTTP and parsing are done here, at a
fraction of its cost (docs/decisions/0008-lean-client.md). What a client is asked once goes through boto3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials, ReadOnlyCredentials

from exporter.aws.api import PAGE_SIZE, Category, CognitoApi, Operation, Page
from exporter.aws.error_mapping import from_exception, from_response, unattempted
from exporter.aws.lean import responses as answers
from exporter.aws.lean.request_template import capture_templates
from exporter.aws.lean.sigv4 import Signer
from exporter.aws.lean.transport import HttpResponse, ResponseTooLong, Transport
from exporter.clock import Clock
from exporter.errors import AwsError, Malformed
from exporter.model import Device, ListedPool, ListedUser, PoolDescription

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_SKEW_CODES = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""What AWS answers to a signature whose time is wrong; two of them mean other faults too."""

_SKEW_SECONDS = 240.0
"""AWS accepts five minutes; a server whose Date is nearer than this did not refuse because of the time."""


class LeanCognito:
    """`exporter.aws.api.CognitoApi` without boto3 in the calls, but with credentials and settings of a boto3 client."""

    def __init__(
        self,
        cognito: CognitoIdentityProviderClient,
        credentials: Credentials,
        ca_bundle: str | None,
        *,
        plain: CognitoApi,
        clock: Clock,
    ) -> None:
        """Send what `cognito` would send; `plain` answers what is seldom asked.

        `credentials` and `ca_bundle` are those of the session that made the client. Raises what botocore
        raises when there is no endpoint for the client's settings or no readable CA bundle.
        """
        requests = capture_templates(cognito)
        self._signers = {operation: Signer(prototype) for operation, prototype in requests.items()}
        self._transport = Transport(requests[Operation.ADMIN_LIST_DEVICES].url, cognito.meta.config, ca_bundle, clock)
        self._credentials = credentials
        self._plain = plain
        self._time = _ServerTime(clock)

    def prepare(self, operation: Operation) -> None:
        """Renew the credentials if they are about to expire."""
        self._current_credentials(operation)

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """One DescribeUserPool."""
        return answers.pool_description(pool_id, self._ask(Operation.DESCRIBE_USER_POOL, {"UserPoolId": pool_id}))

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """One page of ListUserPools."""
        wanted: dict[str, Any] = {"MaxResults": PAGE_SIZE}
        if token is not None:
            wanted["NextToken"] = token
        return answers.pools_page(self._ask(Operation.LIST_USER_POOLS, wanted))

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """One ListTagsForResource."""
        return answers.pool_tags(self._ask(Operation.LIST_TAGS_FOR_RESOURCE, {"ResourceArn": pool_arn}))

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """One page of ListUsers, asking for no attribute but `sub`: the rest is personal data."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "Limit": PAGE_SIZE, "AttributesToGet": ["sub"]}
        if user_filter is not None:
            wanted["Filter"] = user_filter
        if token is not None:
            wanted["PaginationToken"] = token
        return answers.users_page(self._ask(Operation.LIST_USERS, wanted))

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """One page of ListUsersInGroup."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "GroupName": group, "Limit": PAGE_SIZE}
        if token is not None:
            wanted["NextToken"] = token
        return answers.members_page(self._ask(Operation.LIST_USERS_IN_GROUP, wanted))

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """One page of AdminListDevices."""
        wanted: dict[str, Any] = {"UserPoolId": pool_id, "Username": username, "Limit": PAGE_SIZE}
        if token is not None:
            wanted["PaginationToken"] = token
        return answers.devices_page(self._ask(Operation.ADMIN_LIST_DEVICES, wanted), attributes=attributes)

    def account_id(self) -> str:
        """One GetCallerIdentity, through boto3."""
        return self._plain.account_id()

    def provisioned_quota(self, category: Category) -> float:
        """One GetProvisionedLimit, through boto3."""
        return self._plain.provisioned_quota(category)

    def _ask(self, operation: Operation, wanted: dict[str, Any]) -> bytes:
        """The body of a successful answer."""
        body = json.dumps(wanted).encode()
        headers = self._signers[operation].headers(body, self._current_credentials(operation), self._time.now())
        try:
            answer = self._transport.post(headers, body)
        except ResponseTooLong as error:
            raise Malformed(operation, "the body is too long") from error
        except Exception as error:
            raise from_exception(operation, error) from error
        if answer.status >= 300:
            raise self._refused(operation, answer)
        return answer.body

    def _current_credentials(self, operation: Operation) -> ReadOnlyCredentials:
        try:
            return self._credentials.get_frozen_credentials()  # renews them when they are about to expire
        except Exception as error:
            raise unattempted(from_exception(operation, error)) from error

    def _refused(self, operation: Operation, answer: HttpResponse) -> AwsError:
        code = answers.error_code(answer.body, answer.headers.get("x-amzn-errortype"))
        if code in _SKEW_CODES:
            self._time.learn(answer.headers.get("date"))
        return from_response(operation, code, answer.status)


class _ServerTime:
    """The time to sign with: the machine's, unless AWS has refused it and said another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0
        """Seconds by which the server is ahead of the machine."""

    def now(self) -> float:
        """Wall time in seconds."""
        return self._clock.wall() + self._ahead

    def learn(self, date: str | None) -> None:
        """A signature was refused by an answer with this Date header."""
        try:
            ahead = parsedate_to_datetime(date or "").timestamp() - self._clock.wall()
        except ValueError:  # no date, or none that can be read
            return
        self._ahead = ahead if abs(ahead) >= _SKEW_SECONDS else 0.0
