"""The figures as a table in Markdown, which is readable on a terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figures import Basis, Figure, Missing, Row
from bench.numbers import Samples

HEAD = ("what", "unit", "this exporter", "naive", "Go", "target (stretch)", "reached")


def table(rows: Sequence[Row]) -> str:
    """One line per figure; medians, with the smallest and the largest measurement in brackets."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    ruler = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (cells[0], ruler, *cells[1:]))


def line(row: Row) -> str:
    """One figure as a line of its own, for whoever waits for the table."""
    return " | ".join(cell for cell in _cells(row) if cell not in {"", "–"})


def shown(number: float) -> str:
    """A number with three digits that count."""
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".")


def _cells(row: Row) -> tuple[str, ...]:
    if isinstance(row, Missing):
        return (row.what, "", f"not measured: {row.why}", "", "", "", "")
    reached = "; ".join(f"{_value(row, index)}: {verdict.value}" for index, verdict in enumerate(row.verdicts()))
    return (
        row.what,
        row.unit,
        _samples(row.ours),
        _beside(row, row.naive),
        _beside(row, row.go),
        "; ".join(map(str, row.targets)) or "–",
        reached or "–",
    )


def _value(row: Figure, index: int) -> str:
    target = row.targets[index]
    times = "" if target.basis is Basis.VALUE else " ×"
    return f"{shown(row.reached(target))}{times}"


def _beside(row: Figure, peer: Samples | None) -> str:
    ratio = row.ratio(peer)
    if peer is None:
        return "–"
    return _samples(peer) + ("" if ratio is None else f", {shown(ratio)} ×")


def _samples(samples: Samples) -> str:
    if len(samples.values) == 1:
        return shown(samples.median)
    return f"{shown(samples.median)} ({shown(samples.low)}…{shown(samples.high)})"


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
