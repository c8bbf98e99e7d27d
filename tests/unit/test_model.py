from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from exporter.model import DateSource, Device, ListedUser, PoolState, region_of


@pytest.mark.parametrize(
    ("authenticated", "created", "active", "source"),
    [
        (5, 3, 5, DateSource.AUTHENTICATED),
        (5, None, 5, DateSource.AUTHENTICATED),
        (0, 3, 0, DateSource.AUTHENTICATED),
        (None, 3, 3, DateSource.CREATED),
        (None, 0, 0, DateSource.CREATED),
        (None, None, None, DateSource.NONE),
    ],
)
def test_device_is_active_since_authentication_or_creation(
    authenticated: int | None, created: int | None, active: int | None, source: DateSource
) -> None:
    device = Device("key", authenticated_ms=authenticated, created_ms=created, modified_ms=99)
    assert (device.active_ms, device.date_source) == (active, source)


def test_modification_does_not_change_the_activity() -> None:
    assert Device("key", modified_ms=99).active_ms is None


@pytest.mark.parametrize(
    ("pool_id", "region"), [("eu-west-1_AbCdEfGhI", "eu-west-1"), ("us-gov-west-1_x_y", "us-gov-west-1")]
)
def test_region_is_read_from_the_pool_id(pool_id: str, region: str) -> None:
    assert region_of(pool_id) == region


def test_repr_has_no_personal_data() -> None:
    assert "mary" not in repr(ListedUser("mary"))
    assert "192.0.2.1" not in repr(Device("key", attributes=(("last_ip_used", "192.0.2.1"),)))


def test_values_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        ListedUser("mary").federated = True  # type: ignore[misc] # wrong on purpose


def test_pool_states_are_in_order_of_precedence() -> None:
    assert [state.value for state in PoolState] == ["missing", "denied", "failing", "tracking_off", "unread", "ok"]
