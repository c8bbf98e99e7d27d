from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from exporter.aws.api import Page
from exporter.collect.pool_search import DiscoveryResult, assign_pools, find_pools
from exporter.config.settings import RuleSettings, Search, TargetSettings
from exporter.errors import AwsError, Denied, EndlessListing, ResourceNotFound, ServerError
from exporter.model import ListedPool
from tests.unit.collect.listed_pools import settings

T = TypeVar("T")

IRELAND, OHIO = TargetSettings("eu-west-1"), TargetSettings("us-east-2")
SHOP, BANK, TEST = "eu-west-1_Shop", "eu-west-1_Bank", "eu-west-1_Test"
NAMES = {SHOP: "prod-shop", BANK: "prod-bank", TEST: "test-shop"}
TEAM = (("team", "identity"),)


class Directory:
    """Pools by name, their tags, and errors of reading them."""

    def __init__(self, tags: Mapping[str, dict[str, str]] | None = None, **faults: AwsError) -> None:
        self.all_tags = tags or {}
        self.faults = faults
        self.tags_read: list[str] = []

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        assert token is None
        return Page(tuple(ListedPool(*pair) for pair in NAMES.items()), None)

    def tags(self, pool_id: str) -> Mapping[str, str]:
        self.tags_read.append(pool_id)
        fault = self.faults.get(pool_id.partition("_")[2])
        if fault is not None:
            raise fault
        return self.all_tags.get(pool_id, {})


def once(call: Any) -> Any:
    return call()


def found(search: Search, directory: Directory, before: Mapping[str, str] | None = None) -> DiscoveryResult:
    return find_pools(search, directory, once, before or {})


def denied() -> AwsError:
    return Denied("ListTagsForResource", "AccessDeniedException")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, {SHOP, BANK, TEST}),
        ("^prod-", {SHOP, BANK}),
        ("shop", {SHOP, TEST}),
        ("^shop", set()),
        ("(?i)BANK$", {BANK}),
    ],
)
def test_name_pattern_matches_anywhere_in_the_name(name: str | None, expected: set[str]) -> None:
    directory = Directory()
    assert set(found(Search(IRELAND, name, ()), directory).pools) == expected
    assert not directory.tags_read


def test_tags_of_pools_with_matching_names_must_all_match() -> None:
    both = {"team": "identity", "stage": "prod", "more": "x"}
    directory = Directory({SHOP: both, BANK: {"team": "identity"}, TEST: both})
    search = Search(IRELAND, "^prod-", (("stage", "prod"), ("team", "identity")))
    assert found(search, directory) == DiscoveryResult({SHOP: "prod-shop"})
    assert directory.tags_read == [SHOP, BANK]


def test_tag_with_another_value_does_not_match() -> None:
    assert found(Search(IRELAND, None, TEAM), Directory({SHOP: {"team": "identity2"}})).pools == {}


def test_denied_tags_keep_the_previous_result_of_that_pool() -> None:
    directory = Directory({TEST: {"team": "identity"}}, Shop=denied(), Bank=denied())
    result = found(Search(IRELAND, None, TEAM), directory, {SHOP: "prod-shop"})
    assert set(result.pools) == {SHOP, TEST}
    assert isinstance(result.error, Denied)
    assert directory.tags_read == [SHOP, BANK, TEST]


def test_failed_tags_keep_the_previous_result_of_the_rest() -> None:
    directory = Directory({TEST: {"team": "identity"}}, Bank=ServerError("ListTagsForResource", "HTTP 500"))
    result = found(Search(IRELAND, None, TEAM), directory, {BANK: "prod-bank"})
    assert set(result.pools) == {BANK}
    assert isinstance(result.error, ServerError)
    assert directory.tags_read == [SHOP, BANK]


def test_pool_deleted_after_the_listing_is_skipped() -> None:
    gone = ResourceNotFound("ListTagsForResource", "ResourceNotFoundException")
    assert found(Search(IRELAND, None, TEAM), Directory(Shop=gone), {SHOP: "prod-shop"}) == DiscoveryResult({})


def test_endless_listing_raises() -> None:
    class Circle(Directory):
        def pools(self, *, token: str | None) -> Page[ListedPool]:
            return Page((ListedPool(SHOP, "shop"),), token or "again")

    with pytest.raises(EndlessListing):
        found(Search(IRELAND, None, ()), Circle())


def test_each_pool_is_assigned_once_in_order() -> None:
    explicit = [settings(id=SHOP, refresh_interval=1.0)]
    rules = [RuleSettings((), 600.0, settings(id="", refresh_interval=interval)) for interval in (2.0, 3.0)]
    first, second = Search(IRELAND, "a", ()), Search(OHIO, None, ())
    assigned = assign_pools(explicit, [(rules[0], first, {SHOP, BANK}), (rules[1], second, {TEST, BANK, SHOP})])
    actual = [[(pool.id, pool.refresh_interval, pool.target) for pool in pools] for pools in assigned]
    assert actual == [[(BANK, 2.0, IRELAND)], [(TEST, 3.0, OHIO)]]
