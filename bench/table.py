"""Markdown table of the figures, which is readable on a terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figures import Comparison, Figure, Missing, Row
from bench.numbers import Samples

HEADER = ("what", "unit", "this exporter", "naive", "Go", "target (stretch)", "reached")


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
