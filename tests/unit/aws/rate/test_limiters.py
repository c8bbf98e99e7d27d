from __future__ import annotations

import pytest

from exporter.aws.api import DEFAULT_QUOTAS, Category
from exporter.aws.rate.limiter import BACKOFF_FACTOR, METER_SECONDS
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


def configured(of: RateLimiters, category: Category) -> tuple[float, float, bool]:
    (state,) = (state for state in of.states() if state.category is category)
    return state.configured, state.quota, state.provisioned


def test_a_share_is_of_the_documented_default_until_aws_tells_the_quota() -> None:
    some = rate_limiters(UserResourceRead=Share(0.2))
    some.use(TARGET)
    assert configured(some, READ) == (0.2 * DEFAULT_QUOTAS[READ], DEFAULT_QUOTAS[READ], False)
    some.set_quota(TARGET, READ, 400)
    assert configured(some, READ) == (80, 400, True)


def test_a_plain_rate_does_not_follow_the_quota() -> None:
    some = rate_limiters()
    some.use(TARGET)
    some.set_quota(TARGET, READ, 400)
    assert configured(some, READ) == (5, 400, True)


def test_only_categories_whose_rate_is_a_share_need_their_quota() -> None:
    assert rate_limiters(UserList=Share(0.5)).shared_categories() == (LIST,)
    assert rate_limiters().shared_categories() == ()


def test_each_shard_takes_its_part_of_rates_and_of_shares() -> None:
    some = rate_limiters(4, UserResourceRead=Share(0.2))
    some.use(TARGET)
    some.set_quota(TARGET, READ, 400)
    assert configured(some, READ)[0] == 20
    assert configured(some, LIST)[0] == pytest.approx(5 / 4)


def test_other_rates_keep_the_quota_that_was_told() -> None:
    some = rate_limiters(UserResourceRead=Share(0.2))
    some.use(TARGET)
    some.set_quota(TARGET, READ, 400)
    some.configure({**dict.fromkeys(Category, 7.0), READ: Share(0.5)})
    assert configured(some, READ)[0] == 200
    assert configured(some, LIST)[0] == 7


def test_budgets_go_with_the_last_connection() -> None:
    some = rate_limiters()
    assert some.use(TARGET) is some.use(TARGET)
    some.release(TARGET)
    assert some.states()
    some.release(TARGET)
    assert not some.states()
    some.set_quota(TARGET, READ, 400)
    assert not some.states()


def test_an_account_that_gets_its_name_keeps_its_budgets_and_what_aws_told() -> None:
    some = rate_limiters(UserResourceRead=Share(0.2))
    unnamed = Target("unknown", "eu-west-1")
    before = some.use(unnamed)
    some.set_quota(unnamed, READ, 400)
    assert some.rename(unnamed, TARGET) is before
    assert configured(some, READ) == (80, 400, True)
    assert {state.target for state in some.states()} == {TARGET}


def test_an_account_that_turns_out_to_be_known_shares_its_budgets() -> None:
    some = rate_limiters()
    known = some.use(TARGET)
    unnamed = Target("unknown", "eu-west-1")
    some.use(unnamed)
    assert some.rename(unnamed, TARGET) is known
    assert {state.target for state in some.states()} == {TARGET}


def test_one_of_two_unnamed_accounts_gets_budgets_of_its_own() -> None:
    some = rate_limiters()
    unnamed = Target("unknown", "eu-west-1")
    shared = some.use(unnamed)
    some.use(unnamed)
    assert some.rename(unnamed, TARGET) is not shared
    assert {state.target for state in some.states()} == {TARGET, unnamed}


def test_other_shares_are_of_the_documented_default_until_aws_tells_the_quota() -> None:
    some = rate_limiters()
    some.use(TARGET)
    some.configure({**dict.fromkeys(Category, 7.0), READ: Share(0.5)})
    assert configured(some, READ) == (0.5 * DEFAULT_QUOTAS[READ], DEFAULT_QUOTAS[READ], False)


def test_what_throttling_has_left_and_what_is_used_are_told() -> None:
    clock = ManualClock()
    some = RateLimiters(dict.fromkeys(Category, 10.0), clock)
    limiter = some.use(TARGET)[READ]
    limiter.acquire("pool", lambda: False)
    limiter.throttled()
    (state,) = (state for state in some.states() if state.category is READ)
    assert state.configured == 10
    assert state.current == 10 * BACKOFF_FACTOR
    assert state.used == 1 / METER_SECONDS
