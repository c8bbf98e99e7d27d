"""Metrics of users and devices, each a pure function of one user or one device."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from exporter.collect.snapshot import UserRow
from exporter.config.settings import Detail, PoolSettings
from exporter.config.values import attribute_label
from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import DETAILS_WITH_USERS, DetailMetric, DocSection, ShardAggregation, Spec, ValueFormat
from exporter.model import Device

USER, DEVICE_KEY = "user", "device_key"

AGE_NAME = "cognito_device_last_authentication_age_seconds"

_DATED_FROM = "cognito_user_pool_devices_by_date_source counts the devices by the date used."


def _device_count(row: UserRow) -> int:
    return len(row.devices)


def _newest(row: UserRow) -> int | None:
    return max((moment for device in row.devices if (moment := device.active_ms) is not None), default=None)


def _active(device: Device) -> int | None:
    return device.active_ms


def _created(device: Device) -> int | None:
    return device.created_ms


def _modified(device: Device) -> int | None:
    return device.modified_ms


def _one(_device: Device) -> int:
    return 1


def _info_labels(device: Device, attributes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    known = dict(device.attributes)
    values = (known.get(attribute, "") for attribute in attributes)
    return (
        ("remembered_status", device.remembered.value),
        ("status", device.status),
        *zip(map(attribute_label, attributes), values, strict=True),
    )


def _user(name: str, meaning: str) -> Spec:
    return Spec(f"cognito_user_{name}", meaning, ShardAggregation.EACH, DocSection.USER, (POOL, USER))


def _device(name: str, meaning: str, *labels: str) -> Spec:
    return Spec(
        f"cognito_device_{name}", meaning, ShardAggregation.EACH, DocSection.DEVICE, (POOL, USER, DEVICE_KEY, *labels)
    )


USER_METRICS: tuple[DetailMetric[UserRow], ...] = (
    DetailMetric(
        _user("devices", "Number of devices recorded for the user."),
        ValueFormat.NUMBER,
        _device_count,
        attrgetter("users"),
    ),
    DetailMetric(
        _user(
            "newest_device_authentication_timestamp_seconds",
            "Unix time of the latest authentication by any device of the user. For a device without a last "
            "authentication, its creation is used. Absent if no device has a date.",
        ),
        ValueFormat.MOMENT,
        _newest,
        attrgetter("dated_users"),
    ),
)

DEVICE_METRICS: tuple[DetailMetric[Device], ...] = (
    DetailMetric(
        _device(
            "last_authentication_timestamp_seconds",
            "Unix time of the last authentication of the device, or of its creation if Cognito reports no last "
            f"authentication. The age of the device is computed from it. {_DATED_FROM} "
            "Absent if Cognito reports neither date.",
        ),
        ValueFormat.MOMENT,
        _active,
        attrgetter("dated_devices"),
    ),
    DetailMetric(
        _device(
            "last_authentication_age_seconds",
            "Time in seconds since the last authentication of the device, or since its creation if Cognito reports no "
            f"last authentication, computed at scrape time. {_DATED_FROM} Absent if Cognito reports neither date.",
        ),
        ValueFormat.AGE,
        _active,
        attrgetter("dated_devices"),
    ),
    DetailMetric(
        _device(
            "created_timestamp_seconds",
            "Unix time of the creation of the device record. Absent if Cognito does not report it.",
        ),
        ValueFormat.MOMENT,
        _created,
        attrgetter("created_devices"),
    ),
    DetailMetric(
        _device(
            "last_modified_timestamp_seconds",
            "Unix time of the last modification of the device record, which does not indicate use of the device. "
            "Absent if Cognito does not report it.",
        ),
        ValueFormat.MOMENT,
        _modified,
        attrgetter("modified_devices"),
    ),
    DetailMetric(
        _device(
            "info",
            "Information about the device, always 1: its remembered status, its status, and the configured device "
            "attributes as labels attribute_<name>.",
            "remembered_status",
            "status",
        ),
        ValueFormat.NUMBER,
        _one,
        attrgetter("devices"),
        _info_labels,
    ),
)


def shows(settings: PoolSettings, spec: Spec) -> bool:
    """Return True if pools with these settings have series of this detail metric."""
    if spec.group is DocSection.USER:
        return settings.detail in DETAILS_WITH_USERS
    return settings.detail is Detail.DEVICE and (settings.device_age_series or spec.name != AGE_NAME)


def all_specs() -> Iterator[Spec]:
    """Yield the specs of the detail metrics in the order of the page."""
    yield from (metric.spec for metric in USER_METRICS)
    yield from (metric.spec for metric in DEVICE_METRICS)
