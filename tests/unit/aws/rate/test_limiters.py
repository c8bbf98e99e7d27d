from __future__ import annotations

import pytest

from exporter.aws.api import DEFAULT_QUOTAS, Category, RateLimiterState
from exporter.aws.rate.limiter import METER_SECONDS, THROTTLED_RATE_FACTOR
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.clock import SystemClock
from exporter.config.settings import Share
from exporter.observers import Target
from tests.fakes import ManualClock

TARGET = Target("123456789012", "eu-west-1")
READ, LIST = Category.USER_RESOURCE_READ, Category.USER_LIST


def rate_limiters(shards: int = 1, **changed: float | Share) -> RateLimiters:
    rates: Rates = {**dict.fromkeys(Category, 5.0), **changed}
    return RateLimiters(rates, SystemClock(), shards=shards)


def configured(limiters: RateLimiters, category: Category) -> tuple[float, float, bool]:
    (state,) = (state for state in limiters.states() if state.category is category)
    return state.configured, state.quota, state.provisioned


def test_share_uses_the_default_quota_until_it_is_known() -> None:
    limiters = rate_limiters(UserResourceRead=Share(0.2))
    limiters.use(TARGET)
    assert configured(limiters, READ) == (0.2 * DEFAULT_QUOTAS[READ], DEFAULT_QUOTAS[READ], False)
    limiters.set_quota(TARGET, READ, 400)
    assert configured(limiters, READ) == (80, 400, True)


def test_absolute_rate_does_not_follow_the_quota() -> None:
    limiters = rate_limiters()
    limiters.use(TARGET)
    limiters.set_quota(TARGET, READ, 400)
    assert configured(limiters, READ) == (5, 400, True)


def test_quota_share_categories_are_those_with_a_share() -> None:
    assert rate_limiters(UserList=Share(0.5)).quota_share_categories() == (LIST,)
    assert rate_limiters().quota_share_categories() == ()


def test_rates_and_shares_are_divided_between_shards() -> None:
    limiters = rate_limiters(4, UserResourceRead=Share(0.2))
    limiters.use(TARGET)
    limiters.set_quota(TARGET, READ, 400)
    assert configured(limiters, READ)[0] == 20
    assert configured(limiters, LIST)[0] == pytest.approx(5 / 4)


def test_configure_keeps_known_quotas() -> None:
    limiters = rate_limiters(UserResourceRead=Share(0.2))
    limiters.use(TARGET)
    limiters.set_quota(TARGET, READ, 400)
    limiters.configure({**dict.fromkeys(Category, 7.0), READ: Share(0.5)})
    assert configured(limiters, READ)[0] == 200
    assert configured(limiters, LIST)[0] == 7


def test_limiters_are_removed_with_the_last_client() -> None:
    limiters = rate_limiters()
    assert limiters.use(TARGET) is limiters.use(TARGET)
    limiters.release(TARGET)
    assert limiters.states()
    limiters.release(TARGET)
    assert not limiters.states()
    limiters.set_quota(TARGET, READ, 400)
    assert not limiters.states()


def test_rename_keeps_limiters_and_quotas() -> None:
    limiters = rate_limiters(UserResourceRead=Share(0.2))
    unknown = Target("unknown", "eu-west-1")
    before = limiters.use(unknown)
    limiters.set_quota(unknown, READ, 400)
    assert limiters.rename(unknown, TARGET) is before
    assert configured(limiters, READ) == (80, 400, True)
    assert {state.target for state in limiters.states()} == {TARGET}


def test_rename_to_a_known_account_shares_its_limiters() -> None:
    limiters = rate_limiters()
    known = limiters.use(TARGET)
    unknown = Target("unknown", "eu-west-1")
    limiters.use(unknown)
    assert limiters.rename(unknown, TARGET) is known
    assert {state.target for state in limiters.states()} == {TARGET}


def test_rename_of_one_of_two_clients_creates_limiters() -> None:
    limiters = rate_limiters()
    unknown = Target("unknown", "eu-west-1")
    shared = limiters.use(unknown)
    limiters.use(unknown)
    assert limiters.rename(unknown, TARGET) is not shared
    assert {state.target for state in limiters.states()} == {TARGET, unknown}


def test_configured_share_uses_the_default_quota() -> None:
    limiters = rate_limiters()
    limiters.use(TARGET)
    limiters.configure({**dict.fromkeys(Category, 7.0), READ: Share(0.5)})
    assert configured(limiters, READ) == (0.5 * DEFAULT_QUOTAS[READ], DEFAULT_QUOTAS[READ], False)


def test_states_have_current_and_used_rate() -> None:
    clock = ManualClock()
    limiters = RateLimiters(dict.fromkeys(Category, 10.0), clock)
    limiter = limiters.use(TARGET)[READ]
    limiter.acquire("pool", lambda: False)
    limiter.on_throttle()
    (state,) = (state for state in limiters.states() if state.category is READ)
    assert state.configured == 10
    assert state.current == 10 * THROTTLED_RATE_FACTOR
    assert state.used == 1 / METER_SECONDS


def test_configure_applies_to_existing_and_new_limiters() -> None:
    limiters = rate_limiters()
    ohio = Target("123456789012", "us-east-2")
    existing = limiters.use(TARGET)
    limiters.configure({**dict.fromkeys(Category, 5.0), LIST: 7.0})
    assert limiters.use(ohio)[LIST].configured == existing[LIST].configured == 7
    assert set(limiters.states()) == {
        RateLimiterState(target, category, rate, rate, DEFAULT_QUOTAS[category], provisioned=False)
        for target in (TARGET, ohio)
        for category in Category
        for rate in [7.0 if category is LIST else 5.0]
    }
