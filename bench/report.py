"""Rendering of bench/RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from bench.figures import Figure, Missing, Row, TargetResult
from bench.table import table

ALL_MET, MISSED, NOT_MEASURED = 0, 1, 2

_TEXT = """\
# Benchmark results

`make bench` writes this file. All figures come from one run on one machine, with exporter and peers in turns or at the
same time. Compare the columns: the absolute figures are specific to the machine.

Machine: {machine}. Libraries: boto3 {boto3}, prometheus_client {client}, {go}.
Figures are medians, with the smallest and largest measurement in brackets. Other programs used at most {others:.2f}
cores.

{table}

* **This exporter** runs as users start it, against a loopback Cognito in a separate process that responds after 80 ms.
  The server uses the kernel's arrival timestamps, so that its own scheduling does not affect "any second".
* **Naive** is `bench/peers/naive.py`: boto3 in a thread pool, a lock and a sleep for the rate, `Gauge.labels().set()`,
  `start_http_server`. When both sweep, it exports the same device series.
* **Go** is `bench/peers/client_golang`: constant metrics from memory with client_golang. It only renders.
* CPU is user and system time of the process as reported by the kernel. At 1,000 calls/s, the exporter reads four pools:
  the pages of one listing are sequential, so one pool has at most 750 users per second at 80 ms.
* Scrapes of 100,000 devices have two series per device in all three programs. The exporter's users are then generated
  in memory, without AWS. Everything else, including the HTTP server, is real.
"""


def render(rows: Sequence[Row], *, machine: str, go: str, others: float) -> str:
    """Render the page."""
    return _TEXT.format(
        machine=machine,
        boto3=version("boto3"),
        client=version("prometheus_client"),
        go=go,
        others=others,
        table=table(rows),
    )


def exit_code(rows: Sequence[Row]) -> int:
    """Return 0 if every target is met, 1 if one is missed, 2 if something could not be measured."""
    if not rows or any(isinstance(row, Missing) for row in rows):
        return NOT_MEASURED
    results = [result for row in rows if isinstance(row, Figure) for result in row.results()]
    return MISSED if TargetResult.MISSED in results else ALL_MET
