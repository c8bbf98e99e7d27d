"""Rendering of the figures: bench/RESULTS.md, its table, and single lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from bench.figures import Comparison, Figure, Missing, Row, TargetResult
from bench.numbers import Samples

ALL_MET, MISSED, NOT_MEASURED = 0, 1, 2

HEADER = ("what", "unit", "this exporter", "naive", "Go", "target (stretch)", "reached")

_TEXT = """\
# Benchmark results

`make bench` writes this file. All figures come from one run on one machine, with exporter and peers
in turns or at the same time. Compare the columns: the absolute figures are specific to the machine.

Machine: {machine}.
Libraries: boto3 {boto3}, prometheus_client {client}, {go}.
Figures are medians, with the smallest and largest measurement in brackets.
Other programs used at most {others:.2f} cores.

{table}

* **This exporter** runs as users start it, against a loopback Cognito in a separate process that
  responds after 80 ms. The server uses the kernel's arrival timestamps, so that its own scheduling
  does not affect "any second".
* **Naive** is `bench/peers/naive.py`: boto3 in a thread pool, a lock and a sleep for the rate,
  `Gauge.labels().set()`, `start_http_server`. When both sweep, it exports the same device series.
* **Go** is `bench/peers/client_golang`: constant metrics from memory with client_golang. It only
  renders.
* CPU is user and system time of the process as reported by the kernel. At 1,000 calls/s, the
  exporter reads four pools: the pages of one listing are sequential, so one pool has at most 750
  users per second at 80 ms.
* Scrapes of 100,000 devices have two series per device in all three programs. The exporter's users
  are then generated in memory, without AWS. Everything else, including the HTTP server, is real.
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


def table(rows: Sequence[Row]) -> str:
    """Render one line per figure: medians, with the smallest and largest measurement in brackets."""
    cells = [HEADER, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    ruler = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (cells[0], ruler, *cells[1:]))


def line(row: Row) -> str:
    """Render one figure as a line for the terminal."""
    return " | ".join(cell for cell in _cells(row) if cell not in {"", "–"})


def format_number(number: float) -> str:
    """Format a number with three significant digits."""
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".")


def _cells(row: Row) -> tuple[str, ...]:
    if isinstance(row, Missing):
        return (row.what, "", f"not measured: {row.why}", "", "", "", "")
    reached = "; ".join(f"{_value(row, index)}: {result.value}" for index, result in enumerate(row.results()))
    return (
        row.what,
        row.unit,
        _samples(row.ours),
        _compare(row, row.naive),
        _compare(row, row.go),
        "; ".join(map(str, row.targets)) or "–",
        reached or "–",
    )


def _value(row: Figure, index: int) -> str:
    target = row.targets[index]
    times = "" if target.comparison is Comparison.VALUE else " ×"
    return f"{format_number(row.measured_value(target))}{times}"


def _compare(row: Figure, peer: Samples | None) -> str:
    ratio = row.ratio(peer)
    if peer is None:
        return "–"
    return _samples(peer) + ("" if ratio is None else f", {format_number(ratio)} ×")


def _samples(samples: Samples) -> str:
    if len(samples.values) == 1:
        return format_number(samples.median)
    return f"{format_number(samples.median)} ({format_number(samples.low)}…{format_number(samples.high)})"


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
