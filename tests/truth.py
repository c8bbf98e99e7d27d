"""Expected values of a pool, computed from the emulator without code of the exporter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from exporter.emulator import PoolTruth
from tests.harness import Page

DAY = 86_400


def counts(truth: PoolTruth) -> dict[str, float]:
    """Count devices by remembered status."""
    found = Counter(device.remembered.value for device in truth.devices)
    return {status: found[status] for status in ("remembered", "not_remembered", "unknown")}


def active_ms(truth: PoolTruth) -> list[int]:
    """Return the times of last activity, oldest first."""
    moments = (
        device.created_ms if device.authenticated_ms is None else device.authenticated_ms for device in truth.devices
    )
    return sorted(moment for moment in moments if moment is not None)


def native_users(truth: PoolTruth) -> int:
    """Return the users that are not federated."""
    return len(truth.users) - len(truth.federated)


def activity_by_device(truth: PoolTruth, label: Callable[[str], str] = str) -> dict[tuple[str, str], float]:
    """Return the time of last activity in seconds, by user label and device key."""
    return {
        (label(name), device.key): moment / 1000
        for name, devices in truth.users.items()
        for device in devices
        if (moment := device.created_ms if device.authenticated_ms is None else device.authenticated_ms) is not None
    }


def users_by_device_count(truth: PoolTruth) -> Mapping[int, int]:
    """Count users by their number of devices."""
    return Counter(len(devices) for name, devices in truth.users.items() if name not in truth.federated)


def assert_correct(page: Page, pool_id: str, truth: PoolTruth) -> None:
    """Assert that the values of a pool match the emulator."""
    assert page.value("cognito_user_pool_users", user_pool_id=pool_id) == native_users(truth)
    assert page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id) == counts(truth)
    moments = active_ms(truth)
    name = "cognito_user_pool_device_last_authentication_age_seconds"
    assert page.value(f"{name}_gcount", user_pool_id=pool_id) == len(moments)
    edges = (moments[0] / 1000, moments[-1] / 1000) if moments else (None, None)
    assert (
        page.value("cognito_user_pool_oldest_device_authentication_timestamp_seconds", user_pool_id=pool_id) == edges[0]
    )
    assert (
        page.value("cognito_user_pool_newest_device_authentication_timestamp_seconds", user_pool_id=pool_id) == edges[1]
    )
    per_user = page.series("cognito_user_pool_devices_per_user_bucket", "le", user_pool_id=pool_id)
    sizes = users_by_device_count(truth)
    assert {float(le): count for le, count in per_user.items()} == {
        float(le): sum(users for size, users in sizes.items() if size <= float(le)) for le in per_user
    }
