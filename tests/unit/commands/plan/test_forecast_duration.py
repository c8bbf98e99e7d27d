"""Duration of calls that share a rate, compared with a simulated round-robin rate limiter."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.commands.plan.forecast import Load, duration, effective_rate, least_rate, left_over

RATE = 10.0

loads = st.builds(Load, st.integers(1, 60), st.sampled_from([20.0, 60.0, 240.0]))


def simulated(loads: Sequence[Load], rate: float, horizon: float) -> list[float]:
    """Return the longest sweep of each pool until `horizon`; a sweep starts one interval after its last start."""
    left = [load.calls for load in loads]
    started = [0.0] * len(loads)
    longest = [0.0] * len(loads)
    now, last = 0.0, -1
    while now < horizon:
        for index, load in enumerate(loads):
            if not left[index] and now >= started[index] + load.interval:
                left[index], started[index] = load.calls, now
        waiting = [index for index in range(len(loads)) if left[index]]
        now += 1 / rate
        if not waiting:
            continue
        last = next((index for index in waiting if index > last), waiting[0])
        left[last] -= 1
        longest[last] = max(longest[last], now - started[last])
    return longest


@pytest.mark.parametrize(
    ("load", "others", "seconds"),
    [
        pytest.param(Load(600, 3600), [], 60, id="alone"),
        pytest.param(Load(600, 3600), [Load(600, 3600), Load(600, 3600)], 180, id="equal pools"),
        pytest.param(Load(60, 3600), [Load(6000, 3600)], 12, id="small next to large"),
        pytest.param(Load(6000, 36_000), [Load(60, 3600)], 606, id="large next to small"),
        pytest.param(Load(3600, 36_000), [Load(300, 60)], 720, id="large next to often due"),
    ],
)
def test_duration_with_other_pools(load: Load, others: list[Load], seconds: float) -> None:
    assert duration(load, [load, *others], RATE) == seconds


def test_left_over_rate_is_at_least_an_equal_share() -> None:
    assert left_over([Load(1000, 1), Load(1000, 1)], 9.0) == 3
    assert left_over([Load(1, 1), Load(1000, 1)], 9.0) == 4
    assert left_over([Load(1, 1), Load(2, 1)], 9.0) == 6


def test_effective_rate_includes_the_spacing_margin() -> None:
    assert effective_rate(10.13) == pytest.approx(10.0)


@given(st.lists(loads, min_size=1, max_size=5))
@example([Load(2, 20), Load(30, 20), Load(56, 20), Load(56, 60), Load(60, 60)])
def test_duration_bounds_the_simulated_sweeps(pools: list[Load]) -> None:
    forecast = [duration(load, pools, RATE) for load in pools]
    if any(seconds > load.interval for seconds, load in zip(forecast, pools, strict=True)):
        return  # overruns accumulate: the forecast is that the interval is not kept
    longest = simulated(pools, RATE, 300)
    # 10 % more: neither case of the forecast covers a sweep that is nearly finished when the others are due again.
    limits = [1.1 * seconds + 1 for seconds in forecast]
    assert all(seconds <= limit for seconds, limit in zip(longest, limits, strict=True)), (longest, forecast)


@given(st.lists(loads, min_size=1, max_size=5))
def test_least_rate_is_sufficient_and_minimal(pools: list[Load]) -> None:
    def holds(rate: float) -> bool:
        return all(duration(load, pools, effective_rate(rate)) <= load.interval * (1 + 1e-9) for load in pools)

    assert holds(least_rate(pools))
    assert not holds(0.99 * least_rate(pools))


def test_least_rate_without_calls_is_zero() -> None:
    assert least_rate([]) == 0
    assert least_rate([Load(0, 60)]) == 0
    assert least_rate([Load(60, 60)]) == pytest.approx(1 + SPACING_MARGIN)
