"""One look, and who has the say: pure but for the directory, which is a fake."""

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
    """Pools by name, their tags, and what is wrong with the tags of some."""

    def __init__(self, tags: Mapping[str, dict[str, str]] | None = None, **faults: AwsError) -> None:
        self.all_tags = tags or {}
        self.faults = faults
        self.asked: list[str] = []

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        assert token is None
        return Page(tuple(ListedPool(*pair) for pair in NAMES.items()), None)

    def tags(self, pool_id: str) -> Mapping[str, str]:
        self.asked.append(pool_id)
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
def test_a_name_is_searched_anywhere(name: str | None, expected: set[str]) -> None:
    directory = Directory()
    assert set(found(Search(IRELAND, name, ()), directory).pools) == expected
    assert not directory.asked, "without tags nobody is asked for tags"


def test_all_tags_must_be_there_and_only_names_that_fit_are_asked() -> None:
    both = {"team": "identity", "stage": "prod", "more": "x"}
    directory = Directory({SHOP: both, BANK: {"team": "identity"}, TEST: both})
    search = Search(IRELAND, "^prod-", (("stage", "prod"), ("team", "identity")))
    assert found(search, directory) == DiscoveryResult({SHOP: "prod-shop"})
    assert directory.asked == [SHOP, BANK]


def test_a_tag_of_another_value_is_no_match() -> None:
    assert found(Search(IRELAND, None, TEAM), Directory({SHOP: {"team": "identity2"}})).pools == {}


def test_denied_tags_leave_each_pool_as_it_was_and_the_next_is_asked() -> None:
    directory = Directory({TEST: {"team": "identity"}}, Shop=denied(), Bank=denied())
    seen = found(Search(IRELAND, None, TEAM), directory, {SHOP: "prod-shop"})
    assert set(seen.pools) == {SHOP, TEST}
    assert isinstance(seen.fault, Denied)
    assert directory.asked == [SHOP, BANK, TEST]


def test_any_other_failure_leaves_all_that_follow_as_they_were() -> None:
    directory = Directory({TEST: {"team": "identity"}}, Bank=ServerError("ListTagsForResource", "HTTP 500"))
    seen = found(Search(IRELAND, None, TEAM), directory, {BANK: "prod-bank"})
    assert set(seen.pools) == {BANK}
    assert isinstance(seen.fault, ServerError)
    assert directory.asked == [SHOP, BANK]


def test_a_pool_that_was_deleted_since_it_was_listed_is_no_failure() -> None:
    gone = ResourceNotFound("ListTagsForResource", "ResourceNotFoundException")
    assert found(Search(IRELAND, None, TEAM), Directory(Shop=gone), {SHOP: "prod-shop"}) == DiscoveryResult({})


def test_a_listing_without_an_end_is_a_failure() -> None:
    class Circle(Directory):
        def pools(self, *, token: str | None) -> Page[ListedPool]:
            return Page((ListedPool(SHOP, "shop"),), token or "again")

    with pytest.raises(EndlessListing):
        found(Search(IRELAND, None, ()), Circle())


def test_a_pool_is_read_once_by_the_first_that_has_it() -> None:
    explicit = [settings(id=SHOP, refresh_interval=1.0)]
    rules = [RuleSettings((), 600.0, settings(id="", refresh_interval=interval)) for interval in (2.0, 3.0)]
    first, second = Search(IRELAND, "a", ()), Search(OHIO, None, ())
    shares = assign_pools(explicit, [(rules[0], first, {SHOP, BANK}), (rules[1], second, {TEST, BANK, SHOP})])
    read = [[(pool.id, pool.refresh_interval, pool.target) for pool in share] for share in shares]
    assert read == [[(BANK, 2.0, IRELAND)], [(TEST, 3.0, OHIO)]]
