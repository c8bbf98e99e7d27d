"""Colors, units and thresholds of all dashboards. The color names work in light and dark themes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.models import dashboard as model

COUNT = "locale"
"""Integer with separators: 12,345, not 12.3 K."""
SHARE = "percentunit"
SECONDS = "s"
PER_SECOND = "reqps"
BYTES = "bytes"
TIMESTAMP = "dateTimeAsIso"
"""Milliseconds since the epoch."""
MULTIPLE = "suffix:×"
NONE = "none"
DAYS = "suffix:d"
CORES = "suffix:cores"
TEXT = "string"
"""Text, and numbers without separators, such as the account id 123456789012."""

NEUTRAL, GOOD, WARNING, CRITICAL, OFF = "text", "green", "orange", "red", "#808080"

STATUS_COLORS = {"remembered": "blue", "not_remembered": "purple", "unknown": "yellow"}
THRESHOLD_COLORS = {"30d": "yellow", "60d": "orange", "90d": "red"}
STATE_COLORS = {
    "ok": GOOD,
    "unread": "blue",
    "tracking_off": OFF,
    "failing": WARNING,
    "denied": CRITICAL,
    "missing": "dark-red",
}
REASON_COLORS = {
    "throttled": "orange",
    "denied": "red",
    "credentials": "dark-red",
    "timeout": "yellow",
    "connection": "purple",
    "server_error": "blue",
}
HTTP_STATUS_COLORS = {"200": GOOD, "401": CRITICAL, "403": "purple", "429": WARNING, "500": "dark-red", "503": "yellow"}
TRACKING_COLORS = {"always": GOOD, "opt_in": "blue", "off": OFF}

AGE_COLORS = (
    "dark-green",
    "green",
    "light-green",
    "super-light-yellow",
    "yellow",
    "light-orange",
    "orange",
    "dark-orange",
    "red",
    "dark-red",
)
"""Colors from used within the last hour to idle for more than a year."""


def steps(base: str, *higher: tuple[float, str]) -> model.ThresholdsConfig:
    """Return colors by value. `base` applies below the first higher value."""
    return model.ThresholdsConfig(
        mode=model.ThresholdsMode.ABSOLUTE,
        steps=[model.Threshold(None, base), *(model.Threshold(value, color) for value, color in higher)],
    )


NO_THRESHOLDS = steps(NEUTRAL)
STALE_SHARE = steps(GOOD, (0.25, WARNING), (0.5, CRITICAL))
WARN_IF_ANY = steps(GOOD, (1, WARNING))
CRITICAL_IF_ANY = steps(GOOD, (1, CRITICAL))
INTERVALS_BEHIND = steps(GOOD, (1.5, WARNING), (2, CRITICAL))
INTERVAL_USED = steps(GOOD, (0.8, WARNING), (1, CRITICAL))


def value_mapping(texts: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    """Return a mapping from values to texts and colors."""
    return model.ValueMap(
        options={
            value: model.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )


BLANK_IF_NULL = model.SpecialValueMap(
    options=model.DashboardSpecialValueMapOptions(
        match=model.SpecialValueMatch.NULL_AND_NAN, result=model.ValueMappingResult(text="", index=0)
    )
)


def label_mapping(colors: Mapping[str, str]) -> model.ValueMap:
    """Return a mapping that colors label values and replaces underscores by spaces."""
    return value_mapping({value: (value.replace("_", " "), color) for value, color in colors.items()})


def override(field: str, **properties: Any) -> model.DashboardFieldConfigSourceOverrides:
    """Return options of the named field. `custom__width=80` means custom.width."""
    return model.DashboardFieldConfigSourceOverrides(
        matcher=model.MatcherConfig("byName", field),
        properties=[model.DynamicConfigValue(name.replace("__", "."), value) for name, value in properties.items()],
    )


def hidden(field: str) -> model.DashboardFieldConfigSourceOverrides:
    """Hide a column that only links use. The option has two names in different versions of Grafana."""
    return override(field, custom__hidden=True, custom__hideFrom={"viz": True, "legend": False, "tooltip": False})


def fixed(color: str) -> model.FieldColor:
    """Return a fixed color, independent of the value."""
    return model.FieldColor(mode=model.FieldColorModeId.FIXED, fixed_color=color)


def colored(colors: Mapping[str, str]) -> list[model.DashboardFieldConfigSourceOverrides]:
    """Return a fixed color for each series name."""
    return [override(name, color=fixed(color)) for name, color in colors.items()]
