"""Device tracking from sign-in to ForgetDevice, with boto3."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

from exporter.emulator import Emulator
from exporter.model import Device, RememberedStatus
from tests.integration.emulator_client import cognito, post_valid

PASSWORD = "Tr0ub4dor&3"


class StillClock:
    """Clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.75

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Shop:
    """A pool with one user, and the calls of the user's app."""

    def __init__(self, emulator: Emulator, *, opt_in: bool = False, tracked: bool = True) -> None:
        self.emulator = emulator
        self.client: CognitoIdentityProviderClient = cognito(emulator.url)
        configuration = {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": opt_in}
        if tracked:
            pool = self.client.create_user_pool(PoolName="shop", DeviceConfiguration=configuration)  # type: ignore[arg-type] # a TypedDict, in effect
        else:
            pool = self.client.create_user_pool(PoolName="shop")
        self.pool_id = pool["UserPool"]["Id"]
        app = self.client.create_user_pool_client(UserPoolId=self.pool_id, ClientName="app")
        self.client_id = app["UserPoolClient"]["ClientId"]
        self.client.admin_create_user(UserPoolId=self.pool_id, Username="ada", MessageAction="SUPPRESS")
        self.client.admin_set_user_password(UserPoolId=self.pool_id, Username="ada", Password=PASSWORD, Permanent=True)

    def sign_in(self, **extra: str) -> tuple[str, str | None]:
        """Sign in, and return the access token and the key of a new device."""
        result = self.client.initiate_auth(
            ClientId=self.client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": "ada", "PASSWORD": PASSWORD, **extra},
        )["AuthenticationResult"]
        return result["AccessToken"], result.get("NewDeviceMetadata", {}).get("DeviceKey")

    def confirmed(self) -> tuple[str, str]:
        """Sign in and confirm a device; return the access token and the device key."""
        token, key = self.sign_in()
        assert key is not None
        self.client.confirm_device(AccessToken=token, DeviceKey=key, DeviceName="MyDevice")
        return token, key

    def device(self) -> Device:
        (device,) = self.emulator.truth(self.pool_id).users["ada"]
        return device


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def emulator(clock: StillClock) -> Iterator[Emulator]:
    with Emulator(clock=clock) as emulator:
        yield emulator


def test_sign_in_gives_a_key_that_needs_confirmation(emulator: Emulator) -> None:
    shop = Shop(emulator)
    _, key = shop.sign_in()
    assert key is not None
    assert key.startswith("eu-west-1_")
    assert shop.client.admin_list_devices(UserPoolId=shop.pool_id, Username="ada")["Devices"] == []


def test_confirming_sets_all_three_dates(emulator: Emulator, clock: StillClock) -> None:
    shop = Shop(emulator)
    _, key = shop.confirmed()
    assert shop.device() == Device(
        key,
        RememberedStatus.REMEMBERED,
        "valid",
        created_ms=1_800_000_000_750,
        modified_ms=1_800_000_000_750,
        authenticated_ms=1_800_000_000_000,
    )
    assert clock.now == 1_800_000_000.75


def test_sign_in_of_a_known_device_changes_one_date(emulator: Emulator, clock: StillClock) -> None:
    shop = Shop(emulator)
    _, key = shop.confirmed()
    clock.now += 3600
    assert shop.sign_in(DEVICE_KEY=key)[1] is None
    assert shop.device().authenticated_ms == 1_800_003_600_000
    assert shop.device().modified_ms == 1_800_000_000_750


@pytest.mark.parametrize("admin", [False, True])
def test_opt_in_remembers_the_device(emulator: Emulator, clock: StillClock, *, admin: bool) -> None:
    shop = Shop(emulator, opt_in=True)
    token, key = shop.sign_in()
    assert key is not None
    assert shop.client.confirm_device(AccessToken=token, DeviceKey=key)["UserConfirmationNecessary"] is True
    assert shop.device().remembered is RememberedStatus.NOT_REMEMBERED
    clock.now += 5
    if admin:
        shop.client.admin_update_device_status(
            UserPoolId=shop.pool_id, Username="ada", DeviceKey=key, DeviceRememberedStatus="remembered"
        )
    else:
        shop.client.update_device_status(AccessToken=token, DeviceKey=key, DeviceRememberedStatus="remembered")
    assert shop.device().remembered is RememberedStatus.REMEMBERED
    assert shop.device().modified_ms == 1_800_000_005_750
    assert shop.device().authenticated_ms == 1_800_000_000_000


def test_user_and_administrator_see_the_same_device(emulator: Emulator) -> None:
    shop = Shop(emulator)
    token, key = shop.confirmed()
    as_admin = {"UserPoolId": shop.pool_id, "Username": "ada"}
    listed = post_valid(emulator.url, "AdminListDevices", as_admin)["Devices"]
    assert post_valid(emulator.url, "ListDevices", {"AccessToken": token})["Devices"] == listed
    one = post_valid(emulator.url, "GetDevice", {"AccessToken": token, "DeviceKey": key})
    assert one == {"Device": listed[0]}
    assert post_valid(emulator.url, "AdminGetDevice", {**as_admin, "DeviceKey": key}) == one


@pytest.mark.parametrize("admin", [False, True])
def test_forgotten_device_is_removed_and_cannot_sign_in(emulator: Emulator, *, admin: bool) -> None:
    shop = Shop(emulator)
    token, key = shop.confirmed()
    if admin:
        shop.client.admin_forget_device(UserPoolId=shop.pool_id, Username="ada", DeviceKey=key)
    else:
        shop.client.forget_device(AccessToken=token, DeviceKey=key)
    assert emulator.truth(shop.pool_id).users["ada"] == ()
    with pytest.raises(shop.client.exceptions.ResourceNotFoundException):
        shop.sign_in(DEVICE_KEY=key)


def test_key_can_be_confirmed_only_once_by_its_user(emulator: Emulator) -> None:
    shop = Shop(emulator)
    token, key = shop.confirmed()
    with pytest.raises(shop.client.exceptions.DeviceKeyExistsException):
        shop.client.confirm_device(AccessToken=token, DeviceKey=key)
    with pytest.raises(shop.client.exceptions.InvalidParameterException):
        shop.client.confirm_device(AccessToken=token, DeviceKey="eu-west-1_0")
    with pytest.raises(shop.client.exceptions.NotAuthorizedException):
        shop.client.confirm_device(AccessToken="invented", DeviceKey=key)


def test_answered_challenge_is_a_sign_in(emulator: Emulator) -> None:
    shop = Shop(emulator)
    shop.client.admin_set_user_password(UserPoolId=shop.pool_id, Username="ada", Password=PASSWORD, Permanent=False)
    challenge = shop.client.initiate_auth(
        ClientId=shop.client_id,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "ada", "PASSWORD": PASSWORD},
    )
    assert challenge["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    result = shop.client.respond_to_auth_challenge(
        ClientId=shop.client_id,
        ChallengeName="NEW_PASSWORD_REQUIRED",
        Session=challenge["Session"],
        ChallengeResponses={"USERNAME": "ada", "NEW_PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    assert result["NewDeviceMetadata"]["DeviceKey"].startswith("eu-west-1_")


def test_token_refresh_is_not_a_sign_in(emulator: Emulator, clock: StillClock) -> None:
    shop = Shop(emulator)
    first = shop.client.admin_initiate_auth(
        UserPoolId=shop.pool_id,
        ClientId=shop.client_id,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "ada", "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    key = first["NewDeviceMetadata"]["DeviceKey"]
    shop.client.confirm_device(AccessToken=first["AccessToken"], DeviceKey=key)
    clock.now += 3600
    second = shop.client.initiate_auth(
        ClientId=shop.client_id,
        AuthFlow="REFRESH_TOKEN_AUTH",
        AuthParameters={"REFRESH_TOKEN": first["RefreshToken"], "DEVICE_KEY": key},
    )["AuthenticationResult"]
    assert "NewDeviceMetadata" not in second
    assert shop.device().authenticated_ms == 1_800_000_000_000


def test_sign_in_without_tracking_gives_no_key(emulator: Emulator) -> None:
    shop = Shop(emulator, tracked=False)
    token, key = shop.sign_in()
    assert key is None
    with pytest.raises(shop.client.exceptions.InvalidUserPoolConfigurationException):
        shop.client.list_devices(AccessToken=token)


def test_tracking_and_mfa_can_be_changed(emulator: Emulator) -> None:
    shop = Shop(emulator, tracked=False)
    client = shop.client
    client.set_user_pool_mfa_config(
        UserPoolId=shop.pool_id, MfaConfiguration="OPTIONAL", SoftwareTokenMfaConfiguration={"Enabled": True}
    )
    assert client.describe_user_pool(UserPoolId=shop.pool_id)["UserPool"]["MfaConfiguration"] == "OPTIONAL"
    configuration = {"ChallengeRequiredOnNewDevice": False, "DeviceOnlyRememberedOnUserPrompt": True}
    client.update_user_pool(
        UserPoolId=shop.pool_id,
        MfaConfiguration="ON",
        DeviceConfiguration=configuration,  # type: ignore[arg-type] # a TypedDict, in effect
    )
    pool = client.describe_user_pool(UserPoolId=shop.pool_id)["UserPool"]
    assert pool["MfaConfiguration"] == "ON"
    assert pool["DeviceConfiguration"] == configuration
    client.update_user_pool(UserPoolId=shop.pool_id)
    pool = client.describe_user_pool(UserPoolId=shop.pool_id)["UserPool"]
    assert pool["MfaConfiguration"] == "OFF"
    assert "DeviceConfiguration" not in pool
