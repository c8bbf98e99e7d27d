"""Panels on the resource usage and the errors of the exporter."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import promql, theme
from grafana.dashboards.source.panels import Columns, Frame, LineOptions, Query, ValueOptions, lines, rows
from grafana.dashboards.source.theme import colored, override


def scrapes() -> model.Panel:
    """Return the panel of the scrape duration."""
    duration = promql.exporter_series("cognito_exporter_scrape_duration_seconds_bucket")
    buckets = f"sum by (le) (rate({duration}[$__rate_interval]))"
    return lines(
        Frame(
            41,
            "Scrape duration",
            "Time to render and compress the page, and the longest scrape as measured by Prometheus.",
            8,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {buckets})", "median to render"),
            Query(f"histogram_quantile(0.99, {buckets})", "99th percentile to render"),
            Query(f"max(scrape_duration_seconds{{{promql.TARGETS}}})", "longest scrape"),
        ],
        ValueOptions(
            theme.SECONDS,
            overrides=colored(
                {"median to render": "green", "99th percentile to render": "orange", "longest scrape": "blue"}
            ),
        ),
    )


def http_statuses() -> model.Panel:
    """Return the panel of HTTP responses by status code."""
    responses = promql.exporter_series("cognito_exporter_http_requests_total")
    return lines(
        Frame(
            47,
            "HTTP responses by status",
            "HTTP responses, including scrapes and probes. Only status codes that occurred are shown. 401: user name "
            "or password missing or wrong. A browser causes one; many are a scrape job with an old password or an "
            "attempt to guess one. 429: above rate_limit. 503: too many concurrent requests, or a failed probe.",
            8,
            8,
        ),
        [Query(f"sum by (code) (rate({responses}[$__rate_interval])) > 0", "{{code}}")],
        ValueOptions(theme.PER_SECOND, overrides=colored(theme.HTTP_STATUS_COLORS)),
        LineOptions(stacked=True),
    )


def samples() -> model.Panel:
    """Return the panel of the series per scrape."""
    return lines(
        Frame(
            42,
            "Series per scrape",
            "Samples per scrape. With detail: user or device it grows with the number of users and devices, up to "
            "limits.series.",
            8,
            8,
        ),
        [Query(f"scrape_samples_scraped{{{promql.TARGETS}}}", "{{instance}}")],
        ValueOptions(),
        LineOptions(fill=8),
    )


def memory() -> model.Panel:
    """Return the panel of the memory per exporter."""
    return lines(
        Frame(43, "Memory", "Resident memory of each exporter.", 8, 8),
        [Query(f"process_resident_memory_bytes{{{promql.TARGETS}}}", "{{instance}}")],
        ValueOptions(theme.BYTES),
        LineOptions(fill=8),
    )


def cpu() -> model.Panel:
    """Return the panel of the CPU usage per exporter."""
    return lines(
        Frame(44, "CPU", "CPU cores used by each exporter.", 8, 8),
        [Query(f"rate(process_cpu_seconds_total{{{promql.TARGETS}}}[$__rate_interval])", "{{instance}}")],
        ValueOptions(theme.CORES, decimals=2),
        LineOptions(fill=8),
    )


def errors() -> model.Panel:
    """Return the panel of the exporter's own errors."""
    unexpected = promql.exporter_series("cognito_exporter_unexpected_failures_total")
    metrics = promql.exporter_series("cognito_exporter_metric_failures_total")
    state = promql.exporter_series("cognito_exporter_state_errors_total")
    return lines(
        Frame(
            45,
            "Errors of the exporter per $interval",
            "Unexpected errors, metrics omitted from a scrape, and failures to read or write the state file. The log "
            "has the causes. Please report the first two.",
            8,
            8,
        ),
        [
            Query(f"sum by (component) (increase({unexpected}[$interval])) > 0", "unexpected: {{component}}"),
            Query(f"sum by (metric) (increase({metrics}[$interval])) > 0", "omitted: {{metric}}"),
            Query(f"sum(increase({state}[$interval])) > 0", "state file"),
        ],
        ValueOptions(decimals=0, none="No errors"),
        LineOptions(stacked=True),
    )


def versions() -> model.Panel:
    """Return the table of versions and shards."""
    build_info = promql.exporter_series("cognito_exporter_build_info")
    return rows(
        Frame(
            46, "Versions and shards", "Version and shard of each instance. Every shard from 0 on must exist.", 24, 6
        ),
        [
            f"max by (instance, version, revision, python_version) ({build_info})",
            f"max by (instance) ({promql.exporter_series('cognito_exporter_shard_ordinal')})",
            f"1000 * max by (instance) ({promql.exporter_series('process_start_time_seconds')})",
        ],
        Columns(
            {
                "instance": "Instance",
                "version": "Version",
                "revision": "Revision",
                "python_version": "Python",
                "Value #B": "Shard",
                "Value #C": "Running since",
            },
            "instance",
        ),
        ValueOptions(
            theme.TEXT,
            overrides=[
                override("Version", custom__width=90),
                override("Revision", custom__width=110),
                override("Python", custom__width=80),
                override("Shard", unit=theme.NONE, custom__width=70),
                override("Running since", unit=theme.TIMESTAMP, custom__width=170),
            ],
        ),
    )
