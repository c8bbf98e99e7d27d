"""Operations on single devices, and the effect of device tracking on sign-ins."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool
from moto.moto_api._internal import mock_random

from exporter.emulator.devices import DeviceRecord, UserDevices, devices_of, to_device_type, tracking_of
from exporter.emulator.errors import ApiError, HttpResponse, device_not_found, invalid_parameter, tracking_off
from exporter.model import RememberedStatus, Tracking

MAX_UNCONFIRMED_KEYS = 10
"""Maximum device keys per user that were issued at sign-in and await ConfirmDevice."""

_SETTABLE = frozenset({RememberedStatus.REMEMBERED, RememberedStatus.NOT_REMEMBERED})


def require_tracking(pool: CognitoIdpUserPool) -> None:
    """Raise `ApiError` if the pool does not track devices."""
    if tracking_of(pool) is Tracking.OFF:
        raise tracking_off()


def device_key(region: str, identifier: UUID) -> str:
    """Return a device key in AWS's format: `eu-west-1_a1b2c3d4-5678-90ab-cdef-111111111111`."""
    return f"{region}_{identifier}"


def get_device(pool: CognitoIdpUserPool, user: CognitoIdpUser, params: dict[str, Any]) -> dict[str, Any]:
    """Return the response to AdminGetDevice and GetDevice."""
    return {"Device": to_device_type(_find_device(user, params), pool, user.username)}


def forget_device(user: CognitoIdpUser, params: dict[str, Any]) -> None:
    """Delete a device, for AdminForgetDevice and ForgetDevice."""
    del devices_of(user).confirmed[_find_device(user, params).key]


def update_device_status(user: CognitoIdpUser, params: dict[str, Any], now: float) -> dict[str, Any]:
    """Set the remembered status, for AdminUpdateDeviceStatus and UpdateDeviceStatus.

    This updates the modification date, but not the authentication date.
    """
    record = _find_device(user, params)
    status = params.get("DeviceRememberedStatus")
    if status is not None and status not in _SETTABLE:
        raise invalid_parameter("Invalid DeviceRememberedStatus.")
    if status is not None:
        record.remembered = RememberedStatus(status)
    record.modified_ms = int(now * 1000)
    return {}


def confirm_device(
    pool: CognitoIdpUserPool, user: CognitoIdpUser, params: dict[str, Any], now: float
) -> dict[str, Any]:
    """Begin to track a device whose key a sign-in issued, and set all three dates, for ConfirmDevice.

    If the pool is opt-in, the device is not remembered until UpdateDeviceStatus sets it.
    """
    devices, key = devices_of(user), params.get("DeviceKey")
    if key in devices.confirmed:
        raise ApiError("DeviceKeyExistsException", "Device already exists.")
    if key not in devices.unconfirmed_keys:
        raise invalid_parameter("Invalid device key given.")
    devices.unconfirmed_keys.remove(key)
    opt_in = tracking_of(pool) is Tracking.OPT_IN
    remembered = RememberedStatus.NOT_REMEMBERED if opt_in else RememberedStatus.REMEMBERED
    moment = int(now * 1000)
    record = DeviceRecord(key, moment, moment, None, remembered, name=params.get("DeviceName"))
    record.touch(now)
    devices.confirmed[key] = record
    return {"UserConfirmationNecessary": opt_in}


def complete_sign_in(
    pool: CognitoIdpUserPool, params: dict[str, Any], response: HttpResponse, now: float
) -> HttpResponse:
    """Apply device tracking to a sign-in, and return moto's response with a new device key if one is issued.

    A sign-in with a DEVICE_KEY updates the authentication date of that device; any other sign-in gets a new key. A
    token refresh is not a sign-in: it is unknown whether it updates the date at AWS.
    """
    content = json.loads(response.body)
    result = content.get("AuthenticationResult")
    if not result or "RefreshToken" not in result or tracking_of(pool) is Tracking.OFF:
        return response
    _, username = pool.access_tokens[result["AccessToken"]]
    user = pool._get_user(username)  # noqa: SLF001 -- moto's lookup resolves aliases
    devices = devices_of(user)
    known = (params.get("AuthParameters") or params.get("ChallengeResponses") or {}).get("DEVICE_KEY")
    if known is None:
        result["NewDeviceMetadata"] = _issue_device_key(pool, devices)
        return HttpResponse(response.status, json.dumps(content).encode())
    if known not in devices.confirmed:
        raise device_not_found()
    devices.confirmed[known].touch(now)
    return response


def _issue_device_key(pool: CognitoIdpUserPool, devices: UserDevices) -> dict[str, str]:
    key = device_key(pool.region, mock_random.uuid4())
    devices.unconfirmed_keys.append(key)
    del devices.unconfirmed_keys[:-MAX_UNCONFIRMED_KEYS]
    return {"DeviceKey": key, "DeviceGroupKey": "-" + pool.id.partition("_")[2]}


def _find_device(user: CognitoIdpUser, params: dict[str, Any]) -> DeviceRecord:
    record = devices_of(user).confirmed.get(str(params.get("DeviceKey")))
    if record is None:
        raise device_not_found()
    return record
