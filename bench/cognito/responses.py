"""Responses in the format of AWS: pure functions of the request, except for new sign-ins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

ACCOUNT_ID = "123456789012"

EPOCH = 1_700_000_000
"""Base of all dates, so that every run generates the same devices."""

TWO_YEARS = 2 * 365 * 86400

SIGN_IN_EVERY = 20
"""Number of responses per new sign-in, because the devices of a pool in use change between two sweeps."""

_DEVICE = (
    b'{"DeviceKey":"eu-west-1_%b-%d","DeviceAttributes":['
    b'{"Name":"device_status","Value":"valid"},'
    b'{"Name":"device_name","Value":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"},'
    b'{"Name":"dev:device_arn","Value":"arn:aws:cognito-idp:eu-west-1:123456789012:owner/%b/device/%d"},'
    b'{"Name":"dev:device_owner","Value":"%b"},'
    b'{"Name":"last_ip_used","Value":"192.0.2.%d"},'
    b'{"Name":"dev:device_remembered_status","Value":"%b"},'
    b'{"Name":"dev:device_sdk","Value":"aws-amplify"}],'
    b'"DeviceCreateDate":%d.%03d,"DeviceLastModifiedDate":%d.%03d,"DeviceLastAuthenticatedDate":%d.0}'
)


class UnknownOperation(Exception):
    """Operation that is not part of a sweep."""


@dataclass(slots=True)
class Population:
    """Users and devices of every pool."""

    users: int
    devices_per_user: int
    answered: int = 0
    signed_in: dict[str, int] = field(default_factory=dict)
    """Time of the last sign-in of each user who has signed in since this process started."""

    def respond(self, operation: str, body: bytes, now: float) -> bytes:
        """Return the body of the response. Raise `UnknownOperation`."""
        match operation:
            case "AdminListDevices":
                return self.devices(json.loads(body)["Username"], int(now))
            case "ListUsers":
                return _compact(self.users_page(json.loads(body)))
            case "DescribeUserPool":
                return _compact(self.description(json.loads(body)["UserPoolId"]))
            case "GetCallerIdentity":
                return CALLER
            case "AssumeRole":
                return ROLE
            case _:
                raise UnknownOperation(operation)

    def devices(self, username: str, now: int) -> bytes:
        """Return all devices of a user, at most one page of 60."""
        self.answered += 1
        if self.answered % SIGN_IN_EVERY == 0:
            self.signed_in[username] = now
        seed = md5(username.encode(), usedforsecurity=False)
        head = seed.hexdigest().encode()
        drawn = int.from_bytes(seed.digest()[:8])
        recent = self.signed_in.get(username)
        devices = [
            _device(head, username.encode(), drawn + number * 7_919_317, number, recent if number == 0 else None)
            for number in range(self.devices_per_user)
        ]
        return b'{"Devices":[%b]}' % b",".join(devices)

    def users_page(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return one page of users. The token is the number of the first user on the next page."""
        start = int(parameters.get("PaginationToken", 0))
        end = min(start + parameters.get("Limit", 60), self.users)
        page: dict[str, Any] = {"Users": [_user(number) for number in range(start, end)]}
        if end < self.users:
            page["PaginationToken"] = str(end)
        return page

    def description(self, pool_id: str) -> dict[str, Any]:
        """Return the description of a pool that remembers devices."""
        region = pool_id.partition("_")[0]
        return {
            "UserPool": {
                "Id": pool_id,
                "Name": "bench",
                "Arn": f"arn:aws:cognito-idp:{region}:{ACCOUNT_ID}:userpool/{pool_id}",
                "MfaConfiguration": "ON",
                "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": True},
                "EstimatedNumberOfUsers": self.users,
                "CreationDate": float(EPOCH),
                "LastModifiedDate": float(EPOCH),
            }
        }


CALLER = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::123456789012:user/bench</Arn><UserId>AIDABENCH</UserId><Account>123456789012</Account>"
    b"</GetCallerIdentityResult><ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata>"
    b"</GetCallerIdentityResponse>"
)


ROLE = (
    b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
    b"<AccessKeyId>ASIABENCHBENCHBENCH0</AccessKeyId><SecretAccessKey>bench</SecretAccessKey>"
    b"<SessionToken>bench</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
    b"</AssumeRoleResult><ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></AssumeRoleResponse>"
)


def username_of(number: int) -> str:
    """Return a user name as Cognito generates it for pools whose users sign in by email address."""
    digits = md5(b"user %d" % number, usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _user(number: int) -> dict[str, Any]:
    name = username_of(number)
    return {
        "Username": name,
        "Attributes": [{"Name": "sub", "Value": name}],
        "UserCreateDate": EPOCH + 0.123,
        "UserLastModifiedDate": EPOCH + 0.456,
        "Enabled": True,
        "UserStatus": "CONFIRMED",
    }


def _device(head: bytes, username: bytes, drawn: int, number: int, recent: int | None) -> bytes:
    authenticated = EPOCH + drawn % TWO_YEARS if recent is None else recent
    created = EPOCH - drawn % 8_000_000
    return _DEVICE % (
        head,
        number,
        username,
        number,
        username,
        drawn % 255,
        b"not_remembered" if drawn % 5 == 0 else b"remembered",
        created,
        drawn % 1000,
        authenticated,
        drawn % 1000,
        authenticated,
    )


def _compact(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
