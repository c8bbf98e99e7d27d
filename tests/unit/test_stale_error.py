"""The simulation in the documentation: it is right where the answer is known, and the tables are what it prints."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tools.stale_error import Habits, Moment, main, simulate

CAPACITY = (Path(__file__).parents[2] / "docs" / "capacity.md").read_text(encoding="utf-8")

_ALIKE = 1e-6
"""A spread so small that all devices have the same rate."""


def between(begin: str, end: str) -> str:
    text = CAPACITY.partition(f"<!-- {begin}")[2].partition("-->\n")[2]
    assert f"<!-- {end} -->" in text
    return text.partition(f"<!-- {end} -->")[0]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def test_the_table_in_the_documentation_is_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert between("stale error", "end of stale error") == printed(capsys)


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines() if "%" in line]


HABITS = rows(between("habits", "end of habits"))


def test_the_documentation_compares_several_habits() -> None:
    assert len(HABITS) >= 3


@pytest.mark.parametrize("documented", HABITS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_row_of_habits_is_what_the_script_prints(documented: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    median, sigma, stale, *shares = documented
    out = printed(capsys, "--median-days", median, "--sigma", sigma, "--intervals", "1d", "7d", "21d")
    assert out.startswith(f"{stale} of the devices")
    assert [row[1] for row in rows(out.partition("\n")[2])] == shares


@pytest.mark.parametrize("interval", [1.0, 7.0, 21.0])
def test_devices_of_one_rate_come_out_as_computed(interval: float) -> None:
    days, threshold, devices = 12.0, 30.0, 100_000
    outcome = simulate(devices, 1, Habits(days, _ALIKE), threshold, [interval], seed=3)
    rate = 1 / days
    stale = math.exp(-rate * threshold)
    # Shown as stale: no authentication between the threshold and the last reading, u days ago, averaged over u.
    shown = stale * math.expm1(rate * interval) / (rate * interval)
    at_most = stale * math.exp(rate * interval)
    (tally,) = outcome.tallies
    assert outcome.stale / devices == pytest.approx(stale, abs=0.004)
    assert tally.on_average / devices == pytest.approx(shown - stale, abs=0.004)
    assert tally.at_most / devices == pytest.approx(at_most - stale, abs=0.004)


@pytest.mark.parametrize(
    ("since_read", "seems"),
    [
        pytest.param(1.0, 5.0, id="nothing-came-after-the-reading"),
        pytest.param(6.0, 16.0, id="what-came-after-the-reading-is-unknown"),
    ],
)
def test_a_device_seems_idle_since_what_the_last_reading_saw(since_read: float, seems: float) -> None:
    assert Moment(idle=5.0, idle_when_read=10.0, phase=0.0).idle_as_known(since_read) == seems


def test_the_same_seed_gives_the_same_and_another_seed_gives_another(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--devices", "500", "--rounds", "1")
    assert printed(capsys, *few, "--seed", "5") == printed(capsys, *few, "--seed", "5")
    assert printed(capsys, *few, "--seed", "5") != printed(capsys, *few, "--seed", "6")


def test_where_no_device_is_stale_there_is_no_share_of_the_stale_ones(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--devices", "50", "--rounds", "1", "--median-days", "0.01", "--sigma", "0.1")
    assert re.search(r"^\| 7d \| 0\.00 % \| 0\.00 % \| – \|$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--intervals", "soon"), "soon is not a duration such as 6h, 7d or 3w", id="interval"),
        pytest.param(("--median-days", "0"), "0 is not a number above zero", id="median"),
        pytest.param(("--sigma", "nan"), "nan is not a number above zero", id="sigma"),
        pytest.param(("--devices", "0"), "0 is not a whole number from 1", id="devices"),
    ],
)
def test_wrong_numbers_are_refused(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def duration(seconds: float) -> str:
    """Two digits and the unit in which they read best."""
    for unit, length, least in (("d", 86_400, 2), ("h", 3_600, 1), ("min", 60, 1)):
        value = seconds / length
        if value >= least:
            return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"


def test_the_table_of_sweeps_is_computed_as_the_page_says() -> None:
    lines = [line for line in between("sweeps", "end of sweeps").splitlines() if line[2:3].isdigit()]
    assert len(lines) == 5
    for line in lines:
        users, requests, *durations = [cell.strip() for cell in line.strip("| ").split("|")]
        count = int(users.replace(",", ""))
        assert requests == f"{1 + -(-count // 60) + count:,}"
        assert durations == [duration(count / rate) for rate in (10, 25, 50)]
