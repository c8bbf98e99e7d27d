"""Colours, units and thresholds, the same on every dashboard; all colours are names that suit light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.models import dashboard as model

COUNT = "locale"
"""A whole number with separators: 12,345 rather than 12.3 K."""
SHARE = "percentunit"
SECONDS = "s"
PER_SECOND = "reqps"
BYTES = "bytes"
MOMENT = "dateTimeAsIso"
"""Milliseconds since the epoch."""
TIMES = "suffix:×"
NONE = "none"
DAYS = "suffix:d"
CORES = "suffix:cores"
TEXT = "string"
"""Words and numbers that are names: an account's 123456789012 takes no separators."""

NEUTRAL, CALM, WARNING, ALARM, OFF = "text", "green", "orange", "red", "#808080"

STATUS_COLORS = {"remembered": "blue", "not_remembered": "purple", "unknown": "yellow"}
THRESHOLD_COLORS = {"30d": "yellow", "60d": "orange", "90d": "red"}
STATE_COLORS = {
    "ok": CALM,
    "unread": "blue",
    "tracking_off": OFF,
    "failing": WARNING,
    "denied": ALARM,
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
ANSWER_COLORS = {"200": CALM, "401": ALARM, "403": "purple", "429": WARNING, "500": "dark-red", "503": "yellow"}
TRACKING_COLORS = {"always": CALM, "opt_in": "blue", "off": OFF}

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
"""From used within the hour to idle for more than a year."""


def steps(base: str, *higher: tuple[float, str]) -> model.ThresholdsConfig:
    """Colours by value: `base` below the first of the higher ones."""
    return model.ThresholdsConfig(
        mode=model.ThresholdsMode.ABSOLUTE,
        steps=[model.Threshold(None, base), *(model.Threshold(value, color) for value, color in higher)],
    )


PLAIN = steps(NEUTRAL)
STALE_SHARE = steps(CALM, (0.25, WARNING), (0.5, ALARM))
NONE_IS_BEST = steps(CALM, (1, WARNING))
NONE_IS_A_MUST = steps(CALM, (1, ALARM))
INTERVALS_BEHIND = steps(CALM, (1.5, WARNING), (2, ALARM))
BUDGET_USED = steps(CALM, (0.8, WARNING), (1, ALARM))


def mapping(texts: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    """Value → (text, colour)."""
    return model.ValueMap(
        options={
            value: model.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )


BLANK_IF_NONE = model.SpecialValueMap(
    options=model.DashboardSpecialValueMapOptions(
        match=model.SpecialValueMatch.NULL_AND_NAN, result=model.ValueMappingResult(text="", index=0)
    )
)


def words(colors: Mapping[str, str]) -> model.ValueMap:
    """Label values in their colours, with spaces for underscores."""
    return mapping({value: (value.replace("_", " "), color) for value, color in colors.items()})


def override(field: str, **properties: Any) -> model.DashboardFieldConfigSourceOverrides:
    """Options of the field of that name; `custom__width=80` stands for custom.width."""
    return model.DashboardFieldConfigSourceOverrides(
        matcher=model.MatcherConfig("byName", field),
        properties=[model.DynamicConfigValue(name.replace("__", "."), value) for name, value in properties.items()],
    )


def hidden(field: str) -> model.DashboardFieldConfigSourceOverrides:
    """A column that only links make use of; Grafana has called the option by two names."""
    return override(field, custom__hidden=True, custom__hideFrom={"viz": True, "legend": False, "tooltip": False})


def fixed(color: str) -> model.FieldColor:
    """One colour, whatever the value."""
    return model.FieldColor(mode=model.FieldColorModeId.FIXED, fixed_color=color)


def colored(colors: Mapping[str, str]) -> list[model.DashboardFieldConfigSourceOverrides]:
    """A colour for each series of that name."""
    return [override(name, color=fixed(color)) for name, color in colors.items()]
