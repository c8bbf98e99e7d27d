"""The page that is kept: bench/RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from bench.figures import Figure, Missing, Row, TargetResult
from bench.table import table

ALL_MET, MISSED, NOT_MEASURED = 0, 1, 2

_TEXT = """\
# What it costs

Written by `make bench`; every figure comes from one run on one machine, exporter and peers in turns or side by side.
Compare the columns: the absolute figures are those of this machine.

Machine: {machine}. Libraries: boto3 {boto3}, prometheus_client {client}, {go}.
Medians; in brackets the smallest and the largest measurement. Other programs used at most {others:.2f} cores meanwhile.

{table}

* **This exporter** runs as its users start it, against a Cognito on loopback that answers after 80 ms from a process of
  its own. That notes arrivals by the kernel's timestamps, so that its own scheduling does not show in "any second".
* **Naive** is `bench/peers/naive.py`: boto3 in a thread pool, a lock and a sleep for the rate, `Gauge.labels().set()`,
  `start_http_server`. Where both sweep it shows the same series about devices.
* **Go** is `bench/peers/client_golang`: constant metrics from memory with client_golang. It only renders.
* CPU is user and system time of the process as the kernel counts it. At 1,000 calls/s the exporter reads four pools:
  the pages of one listing follow each other, so that one pool gives no more than 750 users per second at 80 ms.
* Scrapes of 100,000 devices are of two series for each device in all three. The exporter's users are then made up in
  memory, without AWS; everything behind that and its HTTP server are the real ones.
"""


def render(rows: Sequence[Row], *, machine: str, go: str, others: float) -> str:
    """The whole page."""
    return _TEXT.format(
        machine=machine,
        boto3=version("boto3"),
        client=version("prometheus_client"),
        go=go,
        others=others,
        table=table(rows),
    )


def exit_code(rows: Sequence[Row]) -> int:
    """0 when every target is met, 1 when one is missed, 2 when something could not be measured."""
    if not rows or any(isinstance(row, Missing) for row in rows):
        return NOT_MEASURED
    results = [result for row in rows if isinstance(row, Figure) for result in row.results()]
    return MISSED if TargetResult.MISSED in results else ALL_MET
