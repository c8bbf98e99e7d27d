"""Metrics of users and devices, each a pure function of one user or one device."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from exporter.collect.snapshot import UserRow
from exporter.config.settings import Detail, PoolSettings
from exporter.config.values import attribute_label
from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import DetailMetric, DocSection, ShardAggregation, Spec, ValueFormat
from exporter.model import Device

USER, DEVICE_KEY = "user", "device_key"

AGE_NAME = "cognito_device_last_authentication_age_seconds"


def _newest(row: UserRow) -> int | None:
    return max((active_ms for device in row.devices if (active_ms := device.active_ms) is not None), default=None)


def _info_labels(device: Device, attributes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    known = dict(device.attributes)
    values = (known.get(attribute, "") for attribute in attributes)
    return (
        ("remembered_status", device.remembered.value),
        ("status", device.status),
        *zip(map(attribute_label, attributes), values, strict=True),
    )


def _user(name: str, description: str) -> Spec:
    return Spec(f"cognito_user_{name}", description, ShardAggregation.EACH, DocSection.USER, (POOL, USER))


def _device(name: str, description: str, *labels: str) -> Spec:
    return Spec(
        f"cognito_device_{name}",
        description,
        ShardAggregation.EACH,
        DocSection.DEVICE,
        (POOL, USER, DEVICE_KEY, *labels),
    )


USER_METRICS: tuple[DetailMetric[UserRow], ...] = (
    DetailMetric(
        _user("devices", "Number of devices recorded for the user."),
        ValueFormat.NUMBER,
        lambda row: len(row.devices),
        attrgetter("users"),
    ),
    DetailMetric(
        _user(
            "newest_device_authentication_timestamp_seconds",
            "Unix time of the latest authentication by any device of the user. For a device without a last "
            "authentication, its creation is used. Absent if no device has a date.",
        ),
        ValueFormat.TIMESTAMP,
        _newest,
        attrgetter("dated_users"),
    ),
)

DEVICE_METRICS: tuple[DetailMetric[Device], ...] = (
    DetailMetric(
        _device(
            "last_authentication_timestamp_seconds",
            "Unix time of the last authentication of the device, or of its creation if Cognito reports no last "
            "authentication. The age of the device is computed from it. "
            "Absent if Cognito reports neither date.",
        ),
        ValueFormat.TIMESTAMP,
        attrgetter("active_ms"),
        attrgetter("dated_devices"),
    ),
    DetailMetric(
        _device(
            "last_authentication_age_seconds",
            "Time in seconds since the last authentication of the device, or since its creation if Cognito reports no "
            "last authentication, computed at scrape time. Absent if Cognito reports neither date.",
        ),
        ValueFormat.AGE,
        attrgetter("active_ms"),
        attrgetter("dated_devices"),
    ),
    DetailMetric(
        _device(
            "created_timestamp_seconds",
            "Unix time of the creation of the device record. Absent if Cognito does not report it.",
        ),
        ValueFormat.TIMESTAMP,
        attrgetter("created_ms"),
        attrgetter("created_devices"),
    ),
    DetailMetric(
        _device(
            "last_modified_timestamp_seconds",
            "Unix time of the last modification of the device record, which does not indicate use of the device. "
            "Absent if Cognito does not report it.",
        ),
        ValueFormat.TIMESTAMP,
        attrgetter("modified_ms"),
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
        lambda _device: 1,
        attrgetter("devices"),
        _info_labels,
    ),
)


DETAIL_METRICS: tuple[DetailMetric[Any], ...] = (*USER_METRICS, *DEVICE_METRICS)


def is_enabled(spec: Spec, settings: PoolSettings) -> bool:
    """Return True if pools with these settings have series of this detail metric."""
    if spec.section is DocSection.USER:
        return settings.detail is not Detail.POOL
    return settings.detail is Detail.DEVICE and (settings.device_age_series or spec.name != AGE_NAME)
