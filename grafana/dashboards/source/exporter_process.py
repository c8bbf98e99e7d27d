"""The panels about what the exporter itself takes and where it fails."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import look, promql
from grafana.dashboards.source.look import colored, override
from grafana.dashboards.source.panels import Columns, Drawing, Frame, Query, Values, lines, rows


def scrapes() -> model.Panel:
    """What a scrape costs."""
    buckets = f"sum by (le) (rate({promql.own('cognito_exporter_scrape_duration_seconds_bucket')}[$__rate_interval]))"
    return lines(
        Frame(
            41,
            "Cost of a scrape",
            "How long the page takes to render and compress, and the longest scrape as Prometheus sees it.",
            8,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {buckets})", "median to render"),
            Query(f"histogram_quantile(0.99, {buckets})", "99th percentile to render"),
            Query(f"max(scrape_duration_seconds{{{promql.TARGETS}}})", "longest scrape"),
        ],
        Values(
            look.SECONDS,
            overrides=colored(
                {"median to render": "green", "99th percentile to render": "orange", "longest scrape": "blue"}
            ),
        ),
    )


def answers() -> model.Panel:
    """What those who ask over HTTP are told."""
    answered = promql.own("cognito_exporter_http_requests_total")
    return lines(
        Frame(
            47,
            "Answers by status",
            "HTTP requests that were answered, scrapes and probes included; only statuses that occurred are shown. "
            "401: without a right name and password; a browser asks so once, while many are a scrape job with an old "
            "password, or somebody who guesses. 429: above rate_limit. 503: too many ask at once, or a probe fails.",
            8,
            8,
        ),
        [Query(f"sum by (code) (rate({answered}[$__rate_interval])) > 0", "{{code}}")],
        Values(look.PER_SECOND, overrides=colored(look.ANSWER_COLORS)),
        Drawing(stacked=True),
    )


def samples() -> model.Panel:
    """Series on the page."""
    return lines(
        Frame(
            42,
            "Series on the page",
            "Samples in each scrape. detail: user and device make it grow with the number of users and devices, up to "
            "limits.series.",
            8,
            8,
        ),
        [Query(f"scrape_samples_scraped{{{promql.TARGETS}}}", "{{instance}}")],
        Values(),
        Drawing(fill=8),
    )


def memory() -> model.Panel:
    """Memory of each exporter."""
    return lines(
        Frame(43, "Memory", "Resident memory of each exporter.", 8, 8),
        [Query(f"process_resident_memory_bytes{{{promql.TARGETS}}}", "{{instance}}")],
        Values(look.BYTES),
        Drawing(fill=8),
    )


def cpu() -> model.Panel:
    """Cores of each exporter."""
    return lines(
        Frame(44, "CPU", "Cores that each exporter uses.", 8, 8),
        [Query(f"rate(process_cpu_seconds_total{{{promql.TARGETS}}}[$__rate_interval])", "{{instance}}")],
        Values(look.CORES, decimals=2),
        Drawing(fill=8),
    )


def faults() -> model.Panel:
    """What should not happen at all."""
    unexpected = promql.own("cognito_exporter_unexpected_failures_total")
    metrics = promql.own("cognito_exporter_metric_failures_total")
    state = promql.own("cognito_exporter_state_errors_total")
    return lines(
        Frame(
            45,
            "Faults of the exporter per $interval",
            "Errors that no part of the program foresaw, metrics left out of a scrape, and failures to read or write "
            "the state file. The log has the causes; the first two are worth a report.",
            8,
            8,
        ),
        [
            Query(f"sum by (component) (increase({unexpected}[$interval])) > 0", "unexpected: {{component}}"),
            Query(f"sum by (metric) (increase({metrics}[$interval])) > 0", "left out: {{metric}}"),
            Query(f"sum(increase({state}[$interval])) > 0", "state file"),
        ],
        Values(decimals=0, none="No faults"),
        Drawing(stacked=True),
    )


def versions() -> model.Panel:
    """What runs where."""
    return rows(
        Frame(
            46, "Versions and shards", "What runs where. Shards counts from 0; every one of them must be there.", 24, 6
        ),
        [
            f"max by (instance, version, revision, python_version) ({promql.own('cognito_exporter_build_info')})",
            f"max by (instance) ({promql.own('cognito_exporter_shard_ordinal')})",
            f"1000 * max by (instance) ({promql.own('process_start_time_seconds')})",
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
        Values(
            look.TEXT,
            overrides=[
                override("Version", custom__width=90),
                override("Revision", custom__width=110),
                override("Python", custom__width=80),
                override("Shard", unit=look.NONE, custom__width=70),
                override("Running since", unit=look.MOMENT, custom__width=170),
            ],
        ),
    )
