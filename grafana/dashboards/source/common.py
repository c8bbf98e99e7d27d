"""The panels that Overview and Pool have in common."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import look
from grafana.dashboards.source.look import colored
from grafana.dashboards.source.panels import Drawing, Frame, Query, Values, lines
from grafana.dashboards.source.promql import select


def stale_by_threshold(panel_id: int) -> model.Panel:
    """Stale devices over time, a line for each threshold."""
    return lines(
        Frame(
            panel_id,
            "Stale devices by threshold",
            "Devices idle for longer than each configured threshold. Thresholds are cumulative: what is idle for 90 d "
            "is idle for 30 d too.",
            12,
            8,
        ),
        [Query(f"sum by (threshold) ({select('cognito_user_pool_stale_devices')})", "idle over {{threshold}}")],
        Values(overrides=colored({f"idle over {name}": color for name, color in look.THRESHOLD_COLORS.items()})),
    )


def by_status(panel_id: int) -> model.Panel:
    """Devices over time, a layer for each remembered status."""
    return lines(
        Frame(
            panel_id,
            "Devices by remembered status",
            "A device that is not remembered is tracked only and skips nothing; unknown is where Cognito does not say.",
            12,
            8,
        ),
        [
            Query(
                f"sum by (remembered_status) ({select('cognito_user_pool_devices')})",
                "{{remembered_status}}",
            )
        ],
        Values(overrides=colored(look.STATUS_COLORS)),
        Drawing(stacked=True),
    )
