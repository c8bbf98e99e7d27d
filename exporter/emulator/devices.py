"""Device records, stored on moto's user objects so that they are deleted with the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool

from exporter.model import Device, RememberedStatus, Tracking

AWS_SDK = "aws-sdk"
"""Value of `dev:device_sdk` in AWS's sample response."""

_ATTRIBUTE = "tracked_devices"


@dataclass(slots=True)
class DeviceRecord:
    """Device as Cognito stores it; times are in milliseconds since the epoch."""

    key: str
    created_ms: int | None
    modified_ms: int | None
    authenticated_ms: int | None
    remembered: RememberedStatus
    name: str | None = None
    ip: str = "192.0.2.1"
    status: str = "valid"
    sdk: str = AWS_SDK

    def touch(self, now: float) -> None:
        """Set the authentication date to `now`, in seconds; Cognito stores it in whole seconds."""
        self.authenticated_ms = int(now) * 1000

    def as_model(self) -> Device:
        """Return the device as the exporter is expected to read it."""
        return Device(self.key, self.remembered, self.status, self.created_ms, self.modified_ms, self.authenticated_ms)


@dataclass(slots=True)
class UserDevices:
    """Devices of one user: confirmed ones by key, and keys issued at sign-in that await ConfirmDevice."""

    confirmed: dict[str, DeviceRecord] = field(default_factory=dict)
    unconfirmed_keys: list[str] = field(default_factory=list)


def devices_of(user: CognitoIdpUser) -> UserDevices:
    """Return the user's devices, always as the same object."""
    return cast("UserDevices", vars(user).setdefault(_ATTRIBUTE, UserDevices()))


def tracking_of(pool: CognitoIdpUserPool) -> Tracking:
    """Return the device tracking of a pool, from its DeviceConfiguration."""
    configuration = pool.extended_config.get("DeviceConfiguration")
    if not configuration:
        return Tracking.OFF
    return Tracking.OPT_IN if configuration.get("DeviceOnlyRememberedOnUserPrompt") else Tracking.ALWAYS


def device_configuration(tracking: Tracking, *, challenge: bool) -> dict[str, bool] | None:
    """Return the DeviceConfiguration of `tracking`; `challenge` allows remembered devices to skip MFA."""
    if tracking is Tracking.OFF:
        return None
    return {
        "ChallengeRequiredOnNewDevice": challenge,
        "DeviceOnlyRememberedOnUserPrompt": tracking is Tracking.OPT_IN,
    }


def to_device_type(record: DeviceRecord, pool: CognitoIdpUserPool, username: str) -> dict[str, Any]:
    """Return the record as a DeviceType.

    Shape, attribute names and their order are those of AWS's sample of admin-list-devices; dates are JSON numbers in
    seconds.
    """
    owner = f"{username}.{pool.id}"
    arn = f"arn:aws:cognito-idp:{pool.region}:{pool.account_id}:owner/{owner}/device/{record.key}"
    remembered = None if record.remembered is RememberedStatus.UNKNOWN else record.remembered.value
    attributes = (
        ("device_status", record.status),
        ("device_name", record.name),
        ("dev:device_arn", arn),
        ("dev:device_owner", owner),
        ("last_ip_used", record.ip),
        ("dev:device_remembered_status", remembered),
        ("dev:device_sdk", record.sdk),
    )
    dates = (
        ("DeviceCreateDate", record.created_ms),
        ("DeviceLastModifiedDate", record.modified_ms),
        ("DeviceLastAuthenticatedDate", record.authenticated_ms),
    )
    return {
        "DeviceKey": record.key,
        "DeviceAttributes": [{"Name": name, "Value": value} for name, value in attributes if value is not None],
        **{name: moment / 1000 for name, moment in dates if moment is not None},
    }
