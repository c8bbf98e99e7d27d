"""How long calls take that share one rate, against a simulation of turns given out one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.commands.plan.queueing import Load, duration, least_rate, left_over, turns

SPEED = 10.0

loads = st.builds(Load, st.integers(1, 60), st.sampled_from([20.0, 60.0, 240.0]))


def others_of(loads: Sequence[Load], place: int) -> list[Load]:
    return [*loads[:place], *loads[place + 1 :]]


def simulated(loads: Sequence[Load], speed: float, horizon: float) -> list[float]:
    """The longest sweep of each pool until the horizon: equal turns for all that wait, sweeps start to start."""
    left = [load.calls for load in loads]
    started = [0.0] * len(loads)
    longest = [0.0] * len(loads)
    now, last = 0.0, -1
    while now < horizon:
        for place, load in enumerate(loads):
            if not left[place] and now >= started[place] + load.interval:
                left[place], started[place] = load.calls, now
        waiting = [place for place in range(len(loads)) if left[place]]
        now += 1 / speed
        if not waiting:
            continue
        last = next((place for place in waiting if place > last), waiting[0])
        left[last] -= 1
        longest[last] = max(longest[last], now - started[last])
    return longest


def test_a_pool_alone_has_every_turn() -> None:
    assert duration(Load(600, 3600), [], SPEED) == 60


def test_equal_pools_share_the_turns_and_end_together() -> None:
    assert duration(Load(600, 3600), [Load(600, 3600), Load(600, 3600)], SPEED) == 180


def test_a_small_pool_beside_a_large_one_waits_for_no_more_than_its_own_size() -> None:
    assert duration(Load(60, 3600), [Load(6000, 3600)], SPEED) == 12


def test_a_large_pool_beside_a_small_one_that_is_seldom_due_waits_for_it_once() -> None:
    assert duration(Load(6000, 36_000), [Load(60, 3600)], SPEED) == 606


def test_a_large_pool_beside_one_that_is_always_due_has_the_turns_that_are_left() -> None:
    assert duration(Load(3600, 36_000), [Load(300, 60)], SPEED) == 720


def test_nobody_gets_less_than_an_equal_part() -> None:
    assert left_over([Load(1000, 1), Load(1000, 1)], 9.0) == 3
    assert left_over([Load(1, 1), Load(1000, 1)], 9.0) == 4
    assert left_over([Load(1, 1), Load(2, 1)], 9.0) == 6


def test_turns_are_further_apart_than_the_rate_says() -> None:
    assert turns(10.13) == pytest.approx(10.0)


@given(st.lists(loads, min_size=1, max_size=5))
@example([Load(2, 20), Load(30, 20), Load(56, 20), Load(56, 60), Load(60, 60)])
def test_sweeps_that_keep_their_interval_are_hardly_slower_than_forecast(pools: list[Load]) -> None:
    forecast = [duration(load, others_of(pools, place), SPEED) for place, load in enumerate(pools)]
    if any(seconds > load.interval for seconds, load in zip(forecast, pools, strict=True)):
        return  # what overruns piles up: the forecast is that it does not hold
    longest = simulated(pools, SPEED, 300)
    # A tenth: what is little left of one when the others are due again is in neither case of the forecast.
    assert all(seen <= 1.1 * told + 1 for seen, told in zip(longest, forecast, strict=True)), (longest, forecast)


@given(st.lists(loads, min_size=1, max_size=5))
def test_the_least_rate_is_enough_and_a_hundredth_less_is_not(pools: list[Load]) -> None:
    def holds(rate: float) -> bool:
        return all(
            duration(load, others_of(pools, place), turns(rate)) <= load.interval * (1 + 1e-9)
            for place, load in enumerate(pools)
        )

    assert holds(least_rate(pools))
    assert not holds(0.99 * least_rate(pools))


def test_without_calls_no_rate_is_needed() -> None:
    assert least_rate([]) == 0
    assert least_rate([Load(0, 60)]) == 0
    assert least_rate([Load(60, 60)]) == pytest.approx(1 + SPACING_MARGIN)
