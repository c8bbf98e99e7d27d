"""Panels of both the Overview and the Pool dashboard."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import theme
from grafana.dashboards.source.panels import Frame, LineOptions, Query, ValueOptions, lines
from grafana.dashboards.source.promql import select
from grafana.dashboards.source.theme import colored


def stale_by_threshold(panel_id: int) -> model.Panel:
    """Return the panel of stale devices over time, one line per threshold."""
    return lines(
        Frame(
            panel_id,
            "Stale devices by threshold",
            "Devices idle for longer than each configured threshold. The counts are cumulative: a device idle for 90 d "
            "is also idle for 30 d.",
            12,
            8,
        ),
        [Query(f"sum by (threshold) ({select('cognito_user_pool_stale_devices')})", "idle over {{threshold}}")],
        ValueOptions(overrides=colored({f"idle over {name}": color for name, color in theme.THRESHOLD_COLORS.items()})),
    )


def by_status(panel_id: int) -> model.Panel:
    """Return the panel of devices over time, one layer per remembered status."""
    return lines(
        Frame(
            panel_id,
            "Devices by remembered status",
            "A device that is not remembered is only tracked and never skips the second factor. unknown: Cognito does "
            "not report the status.",
            12,
            8,
        ),
        [
            Query(
                f"sum by (remembered_status) ({select('cognito_user_pool_devices')})",
                "{{remembered_status}}",
            )
        ],
        ValueOptions(overrides=colored(theme.STATUS_COLORS)),
        LineOptions(stacked=True),
    )
