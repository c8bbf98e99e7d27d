"""Cognito client for the requests of sweeps and discovery, without the cost of boto3 per request.

boto3 provides the endpoint, the headers and the credentials. Signing, HTTP and parsing are done here, with a fraction
of the CPU time (docs/decisions/0008-lean-client.md). Rare requests are made through boto3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials, ReadOnlyCredentials

from exporter.aws.api import PAGE_SIZE, AccountApi, Category, Operation, Page
from exporter.aws.assume_role import OnAssumeRole, Role
from exporter.aws.error_mapping import from_exception, from_response, unattempted
from exporter.aws.lean import responses
from exporter.aws.lean.request_template import capture_templates
from exporter.aws.lean.sigv4 import Signer
from exporter.aws.lean.transport import HttpResponse, ResponseTooLong, Transport
from exporter.clock import Clock
from exporter.errors import AwsError, Malformed
from exporter.model import Device, ListedPool, ListedUser, PoolDescription

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_CLOCK_SKEW_CODES = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""Error codes for a signature with a wrong time. Two of them have other causes too."""

_MIN_SKEW_SECONDS = 240.0
"""Smallest difference between the clocks that is corrected. AWS accepts five minutes."""


class LeanCognito:
    """`exporter.aws.api.CognitoApi` that uses boto3 only for settings, credentials and rare requests."""

    def __init__(
        self,
        cognito: CognitoIdentityProviderClient,
        credentials: Credentials,
        ca_bundle: str | None,
        *,
        account: AccountApi,
        clock: Clock,
        role: Role | None = None,
    ) -> None:
        """Send requests as `cognito` would send them; `account` makes the account-level requests.

        `credentials` are those of the session of `cognito`, or of `role`; `ca_bundle` is the setting of the session.
        Raises errors of botocore if there is no endpoint for the settings of the client, or if the CA bundle cannot be
        read.
        """
        templates = capture_templates(cognito)
        self._signers = {operation: Signer(template) for operation, template in templates.items()}
        self._transport = Transport(templates[Operation.ADMIN_LIST_DEVICES].url, cognito.meta.config, ca_bundle, clock)
        self._credentials = credentials
        self.account = account
        self._role = role
        self._server_time = _ServerTime(clock)

    def on_assume_role(self, callback: OnAssumeRole) -> None:
        """Call `callback` for each AssumeRole request from now on."""
        if self._role is not None:
            self._role.callback = callback

    def prepare(self, operation: Operation) -> None:
        """Refresh the credentials if they are about to expire."""
        self._current_credentials(operation)

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """Make a DescribeUserPool request."""
        return responses.pool_description(pool_id, self._request(Operation.DESCRIBE_USER_POOL, UserPoolId=pool_id))

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """Request a page of ListUserPools."""
        return responses.pools_page(self._request(Operation.LIST_USER_POOLS, MaxResults=PAGE_SIZE, NextToken=token))

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """Make a ListTagsForResource request."""
        return responses.pool_tags(self._request(Operation.LIST_TAGS_FOR_RESOURCE, ResourceArn=pool_arn))

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """Request a page of ListUsers. The only requested attribute is `sub`, because the others are personal data."""
        body = self._request(
            Operation.LIST_USERS,
            UserPoolId=pool_id,
            Limit=PAGE_SIZE,
            AttributesToGet=["sub"],
            Filter=user_filter,
            PaginationToken=token,
        )
        return responses.users_page(body)

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """Request a page of ListUsersInGroup."""
        body = self._request(
            Operation.LIST_USERS_IN_GROUP, UserPoolId=pool_id, GroupName=group, Limit=PAGE_SIZE, NextToken=token
        )
        return responses.members_page(body)

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """Request a page of AdminListDevices."""
        body = self._request(
            Operation.ADMIN_LIST_DEVICES, UserPoolId=pool_id, Username=username, Limit=PAGE_SIZE, PaginationToken=token
        )
        return responses.devices_page(body, attributes=attributes)

    def account_id(self) -> str:
        """Make a GetCallerIdentity request through boto3."""
        return self.account.account_id()

    def provisioned_quota(self, category: Category) -> float:
        """Make a GetProvisionedLimit request through boto3."""
        return self.account.provisioned_quota(category)

    def _request(self, operation: Operation, **parameters: Any) -> bytes:
        """Make a request with the parameters that are not None, and return the body of the response."""
        body = json.dumps({name: value for name, value in parameters.items() if value is not None}).encode()
        credentials = self._current_credentials(operation)
        headers = self._signers[operation].headers(body, credentials, self._server_time.now())
        try:
            response = self._transport.post(headers, body)
        except ResponseTooLong as error:
            raise Malformed(operation, "the body is too long") from error
        except Exception as error:
            raise from_exception(operation, error) from error
        if response.status >= 300:
            raise self._error(operation, response)
        return response.body

    def _current_credentials(self, operation: Operation) -> ReadOnlyCredentials:
        try:
            return self._credentials.get_frozen_credentials()  # refreshes them if they are about to expire
        except Exception as error:
            raise unattempted(from_exception(operation, error)) from error

    def _error(self, operation: Operation, response: HttpResponse) -> AwsError:
        code = responses.error_code(response.body, response.headers.get("x-amzn-errortype"))
        if code in _CLOCK_SKEW_CODES:
            self._server_time.adjust(response.headers.get("date"))
        return from_response(operation, code, response.status)


class _ServerTime:
    """Wall clock for signatures, corrected after AWS has rejected a signature because of its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._skew = 0.0
        """Seconds by which the server is ahead of this machine."""

    def now(self) -> float:
        """Return the seconds since the Unix epoch."""
        return self._clock.wall() + self._skew

    def adjust(self, date: str | None) -> None:
        """Adopt the time of the server, given the Date header of a response that rejected a signature."""
        try:
            skew = parsedate_to_datetime(date or "").timestamp() - self._clock.wall()
        except ValueError:  # the header is missing or invalid
            return
        self._skew = skew if abs(skew) >= _MIN_SKEW_SECONDS else 0.0
