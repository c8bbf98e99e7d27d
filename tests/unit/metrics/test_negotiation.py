from __future__ import annotations

import pytest

from exporter.metrics.negotiation import TextFormat, accepts_gzip, negotiate_format

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + PROMETHEUS_3
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TextFormat.CLASSIC),
        ("", TextFormat.CLASSIC),
        ("*/*", TextFormat.CLASSIC),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TextFormat.CLASSIC),
        (PROMETHEUS_3, TextFormat.OPENMETRICS),
        (PROMETHEUS_2, TextFormat.OPENMETRICS),
        (PROTOBUF_FIRST, TextFormat.OPENMETRICS),
        ("application/openmetrics-text", TextFormat.OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", TextFormat.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TextFormat.OPENMETRICS_0_0_1),
        ("application/openmetrics-text;version=2.0.0", TextFormat.CLASSIC),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", TextFormat.CLASSIC),
        ("text/plain;q=0.2,application/openmetrics-text;q=0.9", TextFormat.OPENMETRICS),
        ("application/openmetrics-text;q=0", TextFormat.CLASSIC),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", TextFormat.CLASSIC),
        ("application/openmetrics-text;q=7", TextFormat.CLASSIC),
        ("text/plain;version=1.0.0", TextFormat.CLASSIC),
        (",;;=,;q", TextFormat.CLASSIC),
    ],
)
def test_text_format_follows_q_values(accept: str | None, expected: TextFormat) -> None:
    assert negotiate_format(accept) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.1", True),
        ("identity", False),
        ("br", False),
        ("gzip;q=much", False),
    ],
)
def test_gzip_follows_q_values(accept_encoding: str | None, expected: bool) -> None:
    assert accepts_gzip(accept_encoding) is expected
