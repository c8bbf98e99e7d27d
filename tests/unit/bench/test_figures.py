from __future__ import annotations

import pytest

from bench.figures import STRICT_UNIT, Comparison, Figure, Missing, Row, Target, TargetResult
from bench.numbers import samples
from bench.report import ALL_MET, MISSED, NOT_MEASURED, exit_code, format_number, table


def figure(ours: list[float], *targets: Target, naive: float | None = None, unit: str = "ms") -> Figure:
    return Figure("a scrape", unit, samples(ours), None if naive is None else samples([naive]), targets=targets)


@pytest.mark.parametrize(
    ("target", "value", "result"),
    [
        (Target(20), 20, TargetResult.MET),
        (Target(20), 20.1, TargetResult.MISSED),
        (Target(300, stretch=100), 100, TargetResult.STRETCH),
        (Target(300, stretch=100), 101, TargetResult.MET),
        (Target(98, stretch=99, at_least=True), 97.9, TargetResult.MISSED),
        (Target(98, stretch=99, at_least=True), 98, TargetResult.MET),
        (Target(98, stretch=99, at_least=True), 99.5, TargetResult.STRETCH),
    ],
)
def test_value_is_compared_with_its_bound(target: Target, value: float, result: TargetResult) -> None:
    assert figure([value], target).results() == (result,)


@pytest.mark.parametrize(
    ("naive", "result"), [(149.0, TargetResult.MISSED), (150.0, TargetResult.MET), (400.0, TargetResult.STRETCH)]
)
def test_ratio_is_peer_divided_by_own_value(naive: float, result: TargetResult) -> None:
    target = Target(15, Comparison.UNDER_NAIVE, stretch=40)
    assert figure([10], target, naive=naive).results() == (result,)


def test_ratio_compares_medians() -> None:
    assert figure([1, 10, 1000], naive=50).ratio(samples([10, 50, 60])) == 5


def test_target_without_measured_peer_raises() -> None:
    with pytest.raises(ValueError, match="not measured"):
        figure([1], Target(4, Comparison.UNDER_GO)).results()


def test_strict_limit_uses_the_worst_measurement() -> None:
    assert figure([49, 50, 51], Target(50), unit=STRICT_UNIT).results() == (TargetResult.MISSED,)
    assert figure([49, 50, 51], Target(50)).results() == (TargetResult.MET,)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([figure([1], Target(2))], ALL_MET),
        ([figure([1])], ALL_MET),
        ([figure([1], Target(2)), figure([3], Target(2))], MISSED),
        ([figure([3], Target(2)), Missing("memory", "the machine is too busy")], NOT_MEASURED),
        ([], NOT_MEASURED),
    ],
)
def test_exit_code_distinguishes_missed_and_not_measured(rows: list[Row], code: int) -> None:
    assert exit_code(rows) == code


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1, "1.00"), (98.64, "98.6"), (123.4, "123"), (23494.2, "23,494"), (99.97, "100")],
)
def test_numbers_have_three_significant_digits(number: float, text: str) -> None:
    assert format_number(number) == text


def test_table_shows_median_spread_ratio_target_and_result() -> None:
    row = figure([2, 1, 4], Target(3), Target(10, Comparison.UNDER_NAIVE, stretch=20), naive=30)
    line = table([row]).splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "a scrape",
        "ms",
        "2.00 (1.00…4.00)",
        "30.0, 15.0 ×",
        "–",
        "≤ 3; ≥ 10 × (20 ×) under naive",
        "2.00: met; 15.0 ×: met",
    ]


def test_table_shows_missing_measurements() -> None:
    assert "| not measured: the machine is too busy |" in table([Missing("memory", "the machine is too busy")])


def test_table_lines_have_the_same_columns() -> None:
    lines = table([figure([1]), Missing("x", "y")]).splitlines()
    assert {line.count("|") for line in lines} == {8}
    assert len(set(map(len, lines))) == 1
