from __future__ import annotations

from collections.abc import Sequence

import pytest
from moto.cognitoidp.models import CognitoIdpUser, UserStatus

from exporter.emulator.errors import ApiError
from exporter.emulator.listings import user_filter

NAMES = ("alice", "al", 'quo"te', "back\\slash", "two\nlines", "Ünïcode 漢字 🙂")


def user(name: str, status: str = UserStatus.CONFIRMED, *, enabled: bool = True) -> CognitoIdpUser:
    user = CognitoIdpUser("eu-west-1_x", name, "secret", status, [{"Name": "email", "Value": f"{name}@example.com"}])
    user.enabled = enabled
    return user


def matching(expression: str, users: Sequence[CognitoIdpUser]) -> list[str]:
    return [one.username for one in users if user_filter(expression)(one)]


@pytest.mark.parametrize("name", NAMES)
def test_filter_matches_any_escaped_name(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    assert matching(f'username = "{escaped}"', [user(one) for one in NAMES]) == [name]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("", ["on", "off", "new"]),
        ('status = "Enabled"', ["on", "new"]),
        ('status="Disabled"', ["off"]),
        ('status = "enabled"', []),
        ('cognito:user_status = "CONFIRMED"', ["on", "off"]),
        ('cognito:user_status = "confirmed"', ["on", "off"]),
        ('cognito:user_status ^= "EXTERNAL"', ["new"]),
        ('username ^= "o"', ["on", "off"]),
        ('email = "on@example.com"', ["on"]),
        ('phone_number = "1"', []),
        ('phone_number ^= "1"', []),
    ],
)
def test_filter_matches_users(expression: str, names: list[str]) -> None:
    users = [user("on"), user("off", enabled=False), user("new", "EXTERNAL_PROVIDER")]
    assert matching(expression, users) == names


@pytest.mark.parametrize("expression", ["status", "status = Enabled", 'custom:x = "1"', 'status > "a"', 'a = "b" or'])
def test_invalid_filter_is_rejected(expression: str) -> None:
    with pytest.raises(ApiError, match="InvalidParameterException"):
        user_filter(expression)
