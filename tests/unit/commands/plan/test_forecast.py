"""What the sweeps of some pools take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from exporter.aws.api import Category, Operation
from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.commands.plan.document import document
from exporter.commands.plan.forecast import Failed, Forecast, PoolSurvey, Sample, calls_of, forecast, series_of
from exporter.commands.plan.table import text
from exporter.config.settings import Detail, Limits, RuleSettings, Search, Share, TargetSettings
from exporter.errors import Reason
from exporter.model import Tracking
from exporter.observers import Target
from exporter.shard import UNSHARDED, Shard
from tests.unit.collect.listed_pools import settings
from tests.unit.commands.plan.schema import schema

HERE = Target("123456789012", "eu-west-1")
THERE = Target("123456789012", "us-east-1")
ONE_DEVICE_EACH = Sample(users=10, pages=10, dated_users=10, devices=10, dated_devices=10)
LIMITS = Limits(
    {"UserResourceRead": 10.0, "UserList": 5.0, "UserPoolRead": 2.0, "UserPoolResourceRead": 2.0}, series=10_000
)


def known(users: int = 600, pool_id: str = "eu-west-1_AbCdEfGhI", **changes: Any) -> PoolSurvey:
    """A pool whose users have a device each; `changes` are of what is known or of the settings."""
    of_settings = {name: changes.pop(name) for name in ("refresh_interval", "detail") if name in changes}
    found = PoolSurvey(
        settings=settings(id=pool_id, **of_settings),
        target=HERE,
        tracking=Tracking.ALWAYS,
        users=users,
        exact=True,
        at_most=False,
        listings={Operation.LIST_USERS: -(-users // 60)},
        sample=ONE_DEVICE_EACH,
    )
    return replace(found, **changes)


def forecast_of(*pools: PoolSurvey, limits: Limits = LIMITS, shard: Shard = UNSHARDED, **rest: Any) -> Forecast:
    found = forecast(pools, rest.get("failed", ()), limits, rest.get("quotas", {}), shard)
    jsonschema.validate(document(found), schema())
    return found


def limits(series: int = 10_000, **rates: float | Share) -> Limits:
    return Limits({**LIMITS.rate, **rates}, series)


def test_a_sweep_describes_lists_and_asks_for_every_user() -> None:
    assert calls_of(known(601)) == {"DescribeUserPool": 1, "ListUsers": 11, "AdminListDevices": 601}


def test_users_with_many_devices_take_more_calls() -> None:
    assert calls_of(known(600, sample=replace(ONE_DEVICE_EACH, pages=12)))[Operation.ADMIN_LIST_DEVICES] == 720


def test_a_pool_without_tracking_takes_one_call_and_shows_nothing() -> None:
    off = known(0, tracking=Tracking.OFF, detail=Detail.DEVICE)
    assert calls_of(off) == {"DescribeUserPool": 1}
    assert set(series_of(off).values()) == {0}


def test_the_rate_decides_how_long_a_sweep_takes() -> None:
    (pool,) = forecast_of(known(600)).pools
    assert pool.seconds == pytest.approx(60 * (1 + SPACING_MARGIN))
    assert pool.keeps_interval


def test_listing_decides_where_most_users_are_skipped() -> None:
    (pool,) = forecast_of(known(6, listings={Operation.LIST_USERS: 100})).pools
    assert pool.seconds == pytest.approx(20 * (1 + SPACING_MARGIN))


def test_pools_of_one_account_and_region_share_and_others_do_not() -> None:
    pools = forecast_of(
        known(600, "eu-west-1_a"), known(600, "eu-west-1_b"), known(600, "us-east-1_c", target=THERE)
    ).pools
    assert [pool.seconds for pool in pools] == pytest.approx(
        [120 * (1 + SPACING_MARGIN), 120 * (1 + SPACING_MARGIN), 60 * (1 + SPACING_MARGIN)]
    )


def test_an_interval_that_is_too_short_shows_with_the_rate_that_would_do() -> None:
    found = forecast_of(known(600, refresh_interval=30.0))
    assert not found.holds
    assert not found.pools[0].keeps_interval
    (category,) = [one for one in found.categories if not one.suffices]
    assert category.category is Category.USER_RESOURCE_READ
    assert category.needed == pytest.approx(20 * (1 + SPACING_MARGIN))
    assert "limits.rate.UserResourceRead of 20.3 would keep every interval, 41% of the quota." in text(found)
    assert forecast_of(known(600, refresh_interval=30.0), limits=limits(UserResourceRead=20.3)).holds


def test_where_no_rate_within_the_quota_would_do_the_interval_must_be_longer() -> None:
    found = forecast_of(known(6000, refresh_interval=60.0))
    assert "that is more than the quota of 50: lengthen refresh_interval." in text(found)


def test_a_rate_beyond_the_quota_is_told() -> None:
    found = forecast_of(known(600), limits=limits(UserResourceRead=80.0))
    assert "UserResourceRead of 80 is more than AWS's default of 50" in text(found)


def test_a_share_follows_the_quota_that_aws_tells() -> None:
    shares = limits(UserResourceRead=Share(0.2))
    told = forecast_of(known(600), limits=shares, quotas={(HERE, Category.USER_RESOURCE_READ): 200.0})
    assert told.pools[0].seconds == pytest.approx(15 * (1 + SPACING_MARGIN))
    (category,) = [one for one in told.categories if one.provisioned]
    assert (category.rate, category.quota) == (40, 200)
    assert forecast_of(known(600), limits=shares).pools[0].seconds == pytest.approx(60 * (1 + SPACING_MARGIN))


def test_a_shard_has_its_part_of_the_rate_and_the_figures_of_a_quota_are_those_of_all() -> None:
    alone = forecast_of(known(600))
    found = forecast_of(known(200, listings={Operation.LIST_USERS: 10}), shard=Shard(1, 3))
    assert found.pools[0].seconds == pytest.approx(alone.pools[0].seconds)
    reads = [one for one in found.categories if one.category is Category.USER_RESOURCE_READ]
    assert reads == [one for one in alone.categories if one.category is Category.USER_RESOURCE_READ]
    assert "those of shard 1/3" in text(found)


def rule(*regions: str, interval: float = 600.0, **tags: str) -> RuleSettings:
    searches = tuple(Search(TargetSettings(region), "^prod-", tuple(tags.items())) for region in regions)
    return RuleSettings(searches, interval, settings())


def discovering(*rules: RuleSettings, shard: Shard = UNSHARDED) -> list[str]:
    """What a forecast says of discovery, in text and JSON alike."""
    found = replace(forecast_of(known(600), shard=shard), rules=rules)
    said = [line for line in document(found)["assumptions"] if "discovery" in line]
    assert [line for line in text(found).splitlines() if "discovery" in line] == [f"* {line}" for line in said]
    return said


def test_that_the_looks_of_rules_are_not_counted_is_told_with_what_they_take() -> None:
    assert discovering() == []
    (said,) = discovering(rule("eu-west-1", "us-east-1"))
    assert said == (
        "Looks of discovery are not counted: 2 every 10m. "
        "Each asks one ListUserPools (UserPoolRead) per 60 pools of its account and Region."
    )
    (said,) = discovering(rule("eu-west-1", interval=3600.0), rule("eu-west-1", "us-east-1", team="a"), rule("x"))
    assert said.startswith("Looks of discovery are not counted: 3 every 10m, 1 every 1h. Each asks ")
    assert said.endswith(", 2 of them also one ListTagsForResource (UserPoolResourceRead) per pool whose name fits.")


def test_every_shard_looks_for_pools() -> None:
    (said,) = discovering(rule("eu-west-1"), shard=Shard(1, 3))
    assert said.startswith("Looks of discovery, by every shard, are not counted: 1 every 10m. ")


def test_series_beyond_the_limit_do_not_hold() -> None:
    found = forecast_of(known(600, detail=Detail.USER), limits=limits(series=1199))
    assert (found.series, found.holds) == (1200, False)
    assert "1,200 series are more than limits.series, 1,199" in text(found)
    assert forecast_of(known(600, detail=Detail.USER), limits=limits(series=1200)).holds


@pytest.mark.parametrize("age_series", [True, False])
def test_series_are_those_of_the_page(age_series: bool) -> None:
    pool = known(100, sample=Sample(10, 10, 8, 20, 17, 19, 13))
    pool = replace(pool, settings=replace(pool.settings, device_age_series=age_series))
    per_device = (170 + 190 + 130 + 200) + 170 * age_series
    assert series_of(pool) == {Detail.POOL: 0, Detail.USER: 100 + 80, Detail.DEVICE: 100 + 80 + per_device}


def test_pools_of_which_nothing_is_known_are_named() -> None:
    why = "DescribeUserPool: AccessDeniedException; check-config --aws says what is missing"
    found = forecast_of(failed=[Failed("eu-west-1_x", Reason.DENIED, "DescribeUserPool: AccessDeniedException", why)])
    assert f"eu-west-1_x: nothing is known of it: {why}\n" in text(found)
    assert document(found)["failed"] == [
        {"user_pool_id": "eu-west-1_x", "reason": "denied", "error": "DescribeUserPool: AccessDeniedException"}
    ]


def test_numbers_are_marked_by_how_they_are_known() -> None:
    shown = text(forecast_of(known(600), known(700, exact=False), known(800, exact=False, at_most=True)))
    assert all(number in shown for number in (" 600 ", " ~700 ", " <=800 "))
    assert "--exact counts" in shown


def test_the_columns_are_aligned() -> None:
    lines = text(forecast_of(known(6), known(60_000, "eu-central-1_AbCdEfGhI"))).splitlines()[:4]
    assert len({line.index(" pool  ") for line in lines[1:3]}) == 1
    assert {len(line) for line in lines} == {len(lines[0])}


def test_a_verdict_is_about_the_pools_of_which_something_is_known() -> None:
    failed = [Failed("eu-west-1_Denied", Reason.DENIED, "DescribeUserPool: AccessDeniedException", "not allowed")]
    assert "\nEvery interval is kept; " in text(forecast_of(known()))
    assert "\nEvery interval of the pools above is kept; " in text(forecast_of(known(), failed=failed))
    for nothing in (forecast_of(), forecast_of(failed=failed)):
        assert "nothing is known of any pool." in text(nothing)
        assert "is kept" not in text(nothing)
