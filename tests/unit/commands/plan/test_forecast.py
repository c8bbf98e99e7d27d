"""Forecast of the sweeps of surveyed pools, as a JSON document and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from exporter.aws.api import Category, Operation
from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.collect.snapshot import DetailCounts
from exporter.commands.plan.forecast import AT_MOST, COUNTED, ESTIMATED, Document, PoolSurvey, Quotas, forecast
from exporter.commands.plan.table import text
from exporter.config.settings import Detail, Limits, RuleSettings, Search, Settings, Share, TargetSettings
from exporter.model import Tracking
from exporter.observers import Target
from exporter.shard import UNSHARDED, Shard
from tests.unit.collect.listed_pools import settings
from tests.unit.commands.plan.schema import schema

HERE = Target("123456789012", "eu-west-1")
THERE = Target("123456789012", "us-east-1")
ONE_DEVICE_EACH = DetailCounts(
    users=10, dated_users=10, devices=10, dated_devices=10, created_devices=0, modified_devices=0
)
RATES: dict[str, float | Share] = {
    "UserResourceRead": 10.0,
    "UserList": 5.0,
    "UserPoolRead": 2.0,
    "UserPoolResourceRead": 2.0,
}
FAILED = {"user_pool_id": "eu-west-1_x", "reason": "denied", "error": "DescribeUserPool: AccessDeniedException"}


def surveyed(users: int = 600, pool_id: str = "eu-west-1_AbCdEfGhI", **changes: Any) -> PoolSurvey:
    """Return a survey of a pool whose users have one device each; `changes` are of the survey or of the settings."""
    of_settings = {name: changes.pop(name) for name in ("refresh_interval", "detail") if name in changes}
    survey = PoolSurvey(
        settings=settings(id=pool_id, **of_settings),
        target=HERE,
        tracking=Tracking.ALWAYS,
        users=users,
        users_basis=COUNTED,
        listing_calls={Operation.LIST_USERS: -(-users // 60)},
        sample=ONE_DEVICE_EACH,
        sample_calls=10,
    )
    return replace(survey, **changes)


def forecast_of(
    *surveys: PoolSurvey,
    shard: Shard = UNSHARDED,
    failed: Sequence[Document] = (),
    quotas: Quotas | None = None,
    rules: Sequence[RuleSettings] = (),
    series: int = 10_000,
    **rates: float | Share,
) -> Document:
    all_settings = Settings(pools=(), limits=Limits({**RATES, **rates}, series), discovery=tuple(rules))
    document = forecast(surveys, failed, all_settings, quotas or {}, shard)
    jsonschema.validate(document, schema())
    return document


def seconds(document: Document) -> list[float]:
    return [pool["sweep_seconds"] / (1 + SPACING_MARGIN) for pool in document["pools"]]


def category_of(document: Document, category: Category) -> Document:
    (found,) = [one for one in document["categories"] if one["category"] == category.value]
    return dict(found)


def test_calls_of_a_pool_describe_list_and_read_every_user() -> None:
    assert surveyed(601).calls() == {"DescribeUserPool": 1, "ListUsers": 11, "AdminListDevices": 601}


def test_calls_of_users_with_many_devices_include_further_pages() -> None:
    assert surveyed(600, sample_calls=12).calls()[Operation.ADMIN_LIST_DEVICES] == 720


def test_pool_without_tracking_takes_one_call_and_no_series() -> None:
    off = surveyed(0, tracking=Tracking.OFF, detail=Detail.DEVICE)
    assert off.calls() == {"DescribeUserPool": 1}
    assert set(off.series().values()) == {0}


def test_duration_follows_from_the_rate() -> None:
    document = forecast_of(surveyed(600))
    assert seconds(document) == pytest.approx([60])
    assert document["pools"][0]["keeps_interval"]


def test_duration_is_that_of_listing_if_most_users_are_skipped() -> None:
    assert seconds(forecast_of(surveyed(6, listing_calls={Operation.LIST_USERS: 100}))) == pytest.approx([20])


def test_pools_of_one_account_and_region_share_the_rate() -> None:
    here = [surveyed(600, "eu-west-1_a"), surveyed(600, "eu-west-1_b")]
    there = surveyed(600, "us-east-1_c", target=THERE)
    assert seconds(forecast_of(*here, there)) == pytest.approx([120, 120, 60])


def test_interval_too_short_is_reported_with_the_needed_rate() -> None:
    document = forecast_of(surveyed(600, refresh_interval=30.0))
    assert not document["holds"]
    assert not document["pools"][0]["keeps_interval"]
    (category,) = [one for one in document["categories"] if not one["suffices"]]
    assert category["category"] == "UserResourceRead"
    assert category["needed_rate"] == pytest.approx(20 * (1 + SPACING_MARGIN))
    needed = "limits.rate.UserResourceRead of 20.3 is needed to keep every interval, 41% of the quota"
    assert f"{needed}: increase the rate." in text(document)
    assert forecast_of(surveyed(600, refresh_interval=30.0), UserResourceRead=20.3)["holds"]


def test_needed_rate_above_the_quota_requires_a_longer_interval() -> None:
    document = forecast_of(surveyed(6000, refresh_interval=60.0))
    assert "% of the quota: increase refresh_interval." in text(document)


def test_rate_above_the_default_quota_is_reported() -> None:
    document = forecast_of(surveyed(600), UserResourceRead=80.0)
    assert "UserResourceRead of 80 exceeds the default quota of 50" in text(document)


def test_share_is_of_the_provisioned_quota() -> None:
    share = Share(0.2)
    quotas = {(HERE, Category.USER_RESOURCE_READ): 200.0}
    document = forecast_of(surveyed(600), quotas=quotas, UserResourceRead=share)
    assert seconds(document) == pytest.approx([15])
    category = category_of(document, Category.USER_RESOURCE_READ)
    assert (category["rate"], category["quota"], category["quota_provisioned"]) == (40, 200, True)
    assert seconds(forecast_of(surveyed(600), UserResourceRead=share)) == pytest.approx([60])


def test_shard_has_its_part_of_the_rate() -> None:
    unsharded = forecast_of(surveyed(600))
    document = forecast_of(surveyed(200, listing_calls={Operation.LIST_USERS: 10}), shard=Shard(1, 3))
    assert seconds(document) == pytest.approx(seconds(unsharded))
    reads = Category.USER_RESOURCE_READ
    assert category_of(document, reads) == pytest.approx(category_of(unsharded, reads))
    assert "those of shard 1/3" in text(document)


def rule(*regions: str, interval: float = 600.0, **tags: str) -> RuleSettings:
    searches = tuple(Search(TargetSettings(region), "^prod-", tuple(tags.items())) for region in regions)
    return RuleSettings(searches, interval, settings())


def discovery_assumptions(*rules: RuleSettings, shard: Shard = UNSHARDED) -> list[str]:
    """Return the assumptions about discovery, which the document and the text have in common."""
    document = forecast_of(surveyed(600), shard=shard, rules=rules)
    found = [line for line in document["assumptions"] if "iscovery" in line]
    assert [line for line in text(document).splitlines() if "iscovery" in line] == [f"* {line}" for line in found]
    return found


def test_discovery_queries_are_an_assumption() -> None:
    assert discovery_assumptions() == []
    (assumption,) = discovery_assumptions(rule("eu-west-1", "us-east-1"))
    assert assumption == (
        "Discovery queries are not included: 2 every 10m. "
        "Each sends one ListUserPools (UserPoolRead) per 60 pools of its account and Region."
    )
    rules = (rule("eu-west-1", interval=3600.0), rule("eu-west-1", "us-east-1", team="a"), rule("x"))
    (assumption,) = discovery_assumptions(*rules)
    assert assumption.startswith("Discovery queries are not included: 3 every 10m, 1 every 1h. Each sends ")
    tagged = "; 2 also one ListTagsForResource (UserPoolResourceRead) per pool with a matching name."
    assert assumption.endswith(tagged)


def test_discovery_queries_of_shards_are_those_of_every_shard() -> None:
    (assumption,) = discovery_assumptions(rule("eu-west-1"), shard=Shard(1, 3))
    assert assumption.startswith("Discovery queries of every shard are not included: 1 every 10m. ")


def test_series_above_the_limit_do_not_hold() -> None:
    document = forecast_of(surveyed(600, detail=Detail.USER), series=1199)
    assert (document["total"]["series"], document["holds"]) == (1200, False)
    assert "1,200 series exceed limits.series (1,199)" in text(document)
    assert forecast_of(surveyed(600, detail=Detail.USER), series=1200)["holds"]


@pytest.mark.parametrize("age_series", [True, False])
def test_series_are_extrapolated_from_the_sample(age_series: bool) -> None:
    sample = DetailCounts(
        users=10, dated_users=8, devices=20, dated_devices=17, created_devices=19, modified_devices=13
    )
    survey = surveyed(100, sample=sample)
    survey = replace(survey, settings=replace(survey.settings, device_age_series=age_series))
    per_device = (170 + 190 + 130 + 200) + 170 * age_series
    assert survey.series() == {Detail.POOL: 0, Detail.USER: 100 + 80, Detail.DEVICE: 100 + 80 + per_device}


def test_failed_pools_are_listed() -> None:
    document = forecast_of(failed=[FAILED])
    hint = "DescribeUserPool: AccessDeniedException; run check-config --aws for details"
    assert f"\neu-west-1_x: could not be read: {hint}\n" in f"\n{text(document)}"
    assert document["failed"] == [FAILED]


def test_users_are_marked_by_their_basis() -> None:
    pools = [surveyed(600), surveyed(700, users_basis=ESTIMATED), surveyed(800, users_basis=AT_MOST)]
    shown = text(forecast_of(*pools))
    assert all(number in shown for number in (" 600 ", " ~700 ", " <=800 "))
    assert "--exact" in shown


def test_table_columns_are_aligned() -> None:
    lines = text(forecast_of(surveyed(6), surveyed(60_000, "eu-central-1_AbCdEfGhI"))).splitlines()[:4]
    assert len({line.index(" pool  ") for line in lines[1:3]}) == 1
    assert {len(line) for line in lines} == {len(lines[0])}


def test_verdict_is_about_the_pools_that_could_be_read() -> None:
    assert "\nAll pools keep refresh_interval, " in text(forecast_of(surveyed()))
    assert "\nAll pools in the table keep refresh_interval, " in text(forecast_of(surveyed(), failed=[FAILED]))
    for document in (forecast_of(), forecast_of(failed=[FAILED])):
        assert "no pool could be read." in text(document)
        assert "keep refresh_interval" not in text(document)
