"""Dispatch of calls: to the emulator's own operations, or else to moto."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool

from exporter.aws.api import DEFAULT_QUOTAS, Category
from exporter.emulator import listings, tracking
from exporter.emulator.devices import DeviceRecord
from exporter.emulator.errors import ApiError, HttpResponse, invalid_parameter, not_authorized
from exporter.emulator.faults import Faults
from exporter.emulator.paging import Listings
from exporter.emulator.world import Call, World

SIGN_INS = frozenset({"AdminInitiateAuth", "AdminRespondToAuthChallenge", "InitiateAuth", "RespondToAuthChallenge"})

Content = dict[str, Any] | None
"""Content of a response; None is an empty body."""


class Operations:
    """Operations of the emulator; not thread-safe."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._pools: Listings[CognitoIdpUserPool] = Listings()
        self._users: Listings[CognitoIdpUser] = Listings()
        self._devices: Listings[DeviceRecord] = Listings()
        self._handlers: dict[str, Callable[[Call, float], Content]] = {
            "ListUserPools": self._list_user_pools,
            "ListTagsForResource": self._list_tags,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListUsers": self._list_users,
            "ListUsersInGroup": self._list_users_in_group,
            **dict.fromkeys(("AdminListDevices", "ListDevices"), self._list_devices),
            **dict.fromkeys(("AdminGetDevice", "GetDevice"), self._get_device),
            **dict.fromkeys(("AdminForgetDevice", "ForgetDevice"), self._forget_device),
            **dict.fromkeys(("AdminUpdateDeviceStatus", "UpdateDeviceStatus"), self._update_device_status),
            "ConfirmDevice": self._confirm_device,
            "GetProvisionedLimit": self._get_provisioned_limit,
        }
        self.created: set[str] = set()
        """Ids of the pools that were created here."""
        self.external_ids: dict[str, str] = {}
        """External id that a role requires, by role ARN; any caller can assume other roles."""

    def execute(self, call: Call, now: float) -> HttpResponse:
        """Return the response to a call; `now` is wall time in seconds.

        Raises `ApiError` for an error of the emulator; error responses of moto are returned.
        """
        own = self._handlers.get(call.operation) if call.service == "cognito-idp" else None
        if own is None:
            return self._moto(call, now)
        content = own(call, now)
        return HttpResponse(200, b"" if content is None else json.dumps(content).encode())

    def _moto(self, call: Call, now: float) -> HttpResponse:
        if call.operation == "AssumeRole":
            self._check_external_id(call)
        response = self._world.call_moto(call)
        if response.status >= 400:
            return response
        if call.operation in SIGN_INS:
            return self._complete_sign_in(call, response, now)
        if call.operation == "CreateUserPool":
            pool_id = json.loads(response.body)["UserPool"]["Id"]
            self.created.add(pool_id)
            _store_mfa(self._world.pool_by_id(pool_id), call.params)
        if call.operation == "UpdateUserPool":
            _store_mfa(self._world.pool(call), call.params)
        return response

    def _complete_sign_in(self, call: Call, response: HttpResponse, now: float) -> HttpResponse:
        pool = self._world.pool_of_client(call.params["ClientId"])
        if pool is None:
            return response
        completed = tracking.complete_sign_in(pool, call.params, response, now)
        self._world.evict_tokens(pool)
        return completed

    def _check_external_id(self, call: Call) -> None:
        role = call.params.get("RoleArn", "")
        if self.external_ids.get(role) not in {None, call.params.get("ExternalId")}:
            raise ApiError(
                "AccessDenied", f"User is not authorized to perform: sts:AssumeRole on resource: {role}", 403
            )

    def _list_user_pools(self, call: Call, _: float) -> Content:
        pools = list(self._world.backend(call.account_id, call.region).user_pools.values())
        return listings.list_user_pools(pools, call.params, self._pools, self._faults)

    def _list_tags(self, call: Call, _: float) -> Content:
        return {"Tags": self._tags(call)}

    def _tag(self, call: Call, _: float) -> Content:
        self._tags(call).update(call.params.get("Tags") or {})
        return {}

    def _untag(self, call: Call, _: float) -> Content:
        for name in call.params.get("TagKeys") or ():
            self._tags(call).pop(name, None)
        return {}

    def _tags(self, call: Call) -> dict[str, str]:
        """Return the tags of the pool that the call names by ARN; DescribeUserPool returns the same tags."""
        pool = self._world.pool(call)
        if call.params.get("ResourceArn") != pool.arn:
            raise invalid_parameter("Invalid ResourceArn")
        tags: dict[str, str] = pool.extended_config.setdefault("UserPoolTags", {})
        return tags

    def _list_users(self, call: Call, _: float) -> Content:
        return listings.list_users(self._world.pool(call), call.params, self._users, self._faults)

    def _list_users_in_group(self, call: Call, _: float) -> Content:
        return listings.list_users_in_group(self._world.pool(call), call.params, self._users, self._faults)

    def _list_devices(self, call: Call, _: float) -> Content:
        listings.limit_of(call.params, listings.DEFAULT_DEVICES)
        pool, user = self._pool_and_user(call)
        return listings.list_devices(call.operation, pool, user, call.params, self._devices, self._faults)

    def _get_device(self, call: Call, _: float) -> Content:
        pool, user = self._pool_and_user(call)
        return tracking.get_device(pool, user, call.params)

    def _forget_device(self, call: Call, _: float) -> Content:
        _pool, user = self._pool_and_user(call)
        tracking.forget_device(user, call.params)
        return None

    def _update_device_status(self, call: Call, now: float) -> Content:
        _pool, user = self._pool_and_user(call)
        return tracking.update_device_status(user, call.params, now)

    def _confirm_device(self, call: Call, now: float) -> Content:
        pool, user = self._pool_and_user(call)
        return tracking.confirm_device(pool, user, call.params, now)

    def _get_provisioned_limit(self, call: Call, _: float) -> Content:
        definition = call.params.get("LimitDefinition") or {}
        try:
            category = Category(definition["Attributes"]["Category"])
        except (KeyError, TypeError, ValueError):
            raise invalid_parameter("Invalid LimitDefinition") from None
        granted = self._faults.quotas.get(category, DEFAULT_QUOTAS[category])
        return {"Limit": {"LimitDefinition": definition, "ProvisionedLimitValue": int(granted)}}

    def _pool_and_user(self, call: Call) -> tuple[CognitoIdpUserPool, CognitoIdpUser]:
        """Return the pool and the user of a device operation; the pool must track devices.

        Admin operations name both; the others identify them by the access token of a sign-in.
        """
        if call.operation.startswith("Admin"):
            pool = self._world.pool(call)
            username = call.params.get("Username")
        else:
            token = str(call.params.get("AccessToken"))
            found = self._world.pool_of_token(token)
            if found is None:
                raise not_authorized("Invalid Access Token")
            pool, username = found, found.access_tokens[token][1]
        if not isinstance(username, str) or not username:
            raise invalid_parameter("1 validation error detected: Value at 'username' must not be null")
        tracking.require_tracking(pool)
        return pool, self._world.user(pool, username)


def _store_mfa(pool: CognitoIdpUserPool, params: dict[str, Any]) -> None:
    """Store the pool's MFA setting in one place.

    moto stores it in two, and DescribeUserPool returns the one that SetUserPoolMfaConfig does not set. UpdateUserPool
    resets a setting that the request omits, as AWS documents.
    """
    pool.mfa_config = params.get("MfaConfiguration") or "OFF"
    pool.extended_config.pop("MfaConfiguration", None)
