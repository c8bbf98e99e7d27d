"""Behavior of all implementations of `exporter.aws.api.CognitoApi`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from exporter.aws.api import DEFAULT_QUOTAS, PAGE_SIZE, Category, Page
from exporter.errors import AwsError, InvalidRequest, ResourceNotFound, TrackingOff, UserNotFound
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking
from tests.contract.worlds import REGION, World
from tests.fakes import ACCOUNT, FakePool

T = TypeVar("T")

NO_POOL = f"{REGION}_NoSuchPool"
PHONE = Device(
    key=f"{REGION}_11111111-2222-3333-4444-555555555555",
    remembered=RememberedStatus.NOT_REMEMBERED,
    status="valid",
    created_ms=1_700_000_000_123,
    modified_ms=1_700_000_000_456,
    authenticated_ms=1_700_000_007_000,
    attributes=(("device_name", "Firefox"), ("last_ip_used", "192.0.2.77")),
)
ODD_NAMES = ('quo"te', "back\\slash", "line\nbreak", "tab\t", "sp ace", "Ünïcödé", "名前", "😀", "a" * 128)


def plain(device: Device) -> Device:
    """Return the device without attributes."""
    return replace(device, attributes=())


def devices(number: int) -> tuple[Device, ...]:
    return tuple(
        Device(f"{REGION}_{i}", RememberedStatus.REMEMBERED, "valid", 1_600_000_000_000 + i, None, None)
        for i in range(number)
    )


def all_pages(fetch: Callable[[str | None], Page[T]], *, most: int = 100) -> list[tuple[T, ...]]:
    """Return all pages of a listing."""
    pages = [fetch(None)]
    while pages[-1].token is not None:
        assert len(pages) < most
        pages.append(fetch(pages[-1].token))
    return [page.items for page in pages]


def listed(world: World, pool_id: str, user_filter: str | None = None) -> list[str]:
    """Return the names of all users that match a filter."""
    pages = all_pages(lambda token: world.api.list_users(pool_id, user_filter=user_filter, token=token))
    return [user.name for page in pages for user in page]


def devices_page(world: World, pool_id: str, username: str, token: str | None = None, *attributes: str) -> Page[Device]:
    return world.api.admin_list_devices(pool_id, username, token=token, attributes=frozenset(attributes))


@pytest.mark.parametrize("mfa", Mfa)
@pytest.mark.parametrize("tracking", Tracking)
@pytest.mark.parametrize("challenge", [True, False])
def test_describe_pool_in_each_mode(world: World, tracking: Tracking, mfa: Mfa, challenge: bool) -> None:
    pool_id = world.add(FakePool("shop", tracking, mfa, challenge, users={"ann": (), "bob": ()}))
    assert world.api.describe_user_pool(pool_id) == PoolDescription(
        pool_id=pool_id,
        name="shop",
        account_id=ACCOUNT,
        region=REGION,
        tracking=tracking,
        mfa=mfa,
        mfa_bypass=challenge and tracking is not Tracking.OFF and mfa is not Mfa.OFF,
        estimated_users=2,
    )


def listed_pools(world: World) -> list[tuple[ListedPool, ...]]:
    """Return the pages of all pools, including those of other tests."""
    return all_pages(lambda token: world.api.list_user_pools(token=token), most=1000)


def arn(pool_id: str) -> str:
    return f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{pool_id}"


def test_list_pools_returns_pages_of_sixty(world: World) -> None:
    pools = {ListedPool(world.add(FakePool(f"pool {number}")), f"pool {number}") for number in range(PAGE_SIZE + 1)}
    pages = listed_pools(world)
    everyone = [pool for page in pages for pool in page]
    assert pools <= set(everyone)
    assert len(set(everyone)) == len(everyone)
    assert {len(page) for page in pages[:-1]} == {PAGE_SIZE}


def test_list_pools_continues_after_short_and_empty_pages(world: World) -> None:
    pools = {ListedPool(world.add(FakePool(f"few {number}")), f"few {number}") for number in range(3)}
    world.cut_pages(2, blank=True)
    pages = listed_pools(world)
    assert pools <= {pool for page in pages for pool in page}
    assert {len(page) for page in pages[:-1]} == {0, 2}


def test_pool_tags_are_returned(world: World) -> None:
    tagged = world.add(FakePool("shop", tags={"team": "identity", "empty": "", "Ünïcödé": "名前"}))
    bare = world.add(FakePool("bank"))
    assert world.api.pool_tags(arn(tagged)) == {"team": "identity", "empty": "", "Ünïcödé": "名前"}
    assert world.api.pool_tags(arn(bare)) == {}
    with pytest.raises(ResourceNotFound):
        world.api.pool_tags(arn(NO_POOL))


def test_list_users_marks_federated_users(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": (), "google_bob": ()}, federated={"google_bob"}))
    page = world.api.list_users(pool_id, user_filter=None, token=None)
    assert page == Page((ListedUser("ann"), ListedUser("google_bob", federated=True)), None)


def test_list_users_of_an_empty_pool_is_empty(world: World) -> None:
    pool_id = world.add(FakePool())
    assert world.api.list_users(pool_id, user_filter=None, token=None) == Page((), None)


@pytest.mark.parametrize(
    ("user_filter", "names"),
    [
        ('username = "ann"', ["ann"]),
        ('username ^= "ann"', ["ann", "anna"]),
        ('username = "nobody"', []),
        ('status = "Enabled"', ["ann", "anna", "bob", 'quo"te']),
        ('status = "Disabled"', []),
        ('username = "quo\\"te"', ['quo"te']),
    ],
)
def test_list_users_applies_the_filter(world: World, user_filter: str, names: list[str]) -> None:
    pool_id = world.add(FakePool(users=dict.fromkeys(("ann", "anna", "bob", 'quo"te'), ())))
    assert listed(world, pool_id, user_filter) == names


@pytest.mark.parametrize("user_filter", ["ann", 'custom:team = "a"', "username = ann"])
def test_list_users_rejects_an_invalid_filter(world: World, user_filter: str) -> None:
    pool_id = world.add(FakePool(users={"ann": ()}))
    with pytest.raises(InvalidRequest):
        listed(world, pool_id, user_filter)


def test_list_users_in_group_returns_members(world: World) -> None:
    users: dict[str, tuple[Device, ...]] = dict.fromkeys(("ann", "bob", "google_carl"), ())
    groups = {"staff": ["bob", "google_carl"], "empty": []}
    pool_id = world.add(FakePool(users=users, groups=groups, federated={"google_carl"}))
    members = world.api.list_users_in_group(pool_id, "staff", token=None)
    assert members == Page((ListedUser("bob"), ListedUser("google_carl", federated=True)), None)
    assert world.api.list_users_in_group(pool_id, "empty", token=None) == Page((), None)


@pytest.mark.parametrize("size", [0, 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE, 150])
def test_list_users_returns_pages_of_sixty(world: World, size: int) -> None:
    names = [f"user-{i}" for i in range(size)]
    pool_id = world.add(FakePool(users=dict.fromkeys(names, ()), groups={"all": names}))
    expected = [min(PAGE_SIZE, size - start) for start in range(0, max(size, 1), PAGE_SIZE)]
    everyone = all_pages(lambda token: world.api.list_users(pool_id, user_filter=None, token=token))
    members = all_pages(lambda token: world.api.list_users_in_group(pool_id, "all", token=token))
    for pages in (everyone, members):
        assert [len(page) for page in pages] == expected
        assert [user.name for page in pages for user in page] == names


@pytest.mark.parametrize("blank", [False, True])
def test_list_users_continues_after_short_and_empty_pages(world: World, blank: bool) -> None:
    names = [f"user-{i}" for i in range(7)]
    pool_id = world.add(FakePool(users={**dict.fromkeys(names, ()), "rich": devices(5)}, groups={"all": names}))
    world.cut_pages(3, blank=blank)
    assert listed(world, pool_id) == [*names, "rich"]
    members = all_pages(lambda token: world.api.list_users_in_group(pool_id, "all", token=token))
    assert [len(page) for page in members] == ([0, 3, 0, 3, 0, 1] if blank else [3, 3, 1])
    owned = all_pages(lambda token: devices_page(world, pool_id, "rich", token))
    assert [len(page) for page in owned] == ([0, 3, 0, 2] if blank else [3, 2])


def test_list_devices_returns_several_pages(world: World) -> None:
    owned = devices(2 * PAGE_SIZE + 5)
    pool_id = world.add(FakePool(users={"rich": owned}))
    pages = all_pages(lambda token: devices_page(world, pool_id, "rich", token))
    assert [len(page) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 5]
    assert tuple(device for page in pages for device in page) == owned


def test_device_timestamps_have_milliseconds(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": (PHONE,), "bob": ()}))
    assert devices_page(world, pool_id, "ann") == Page((plain(PHONE),), None)
    assert devices_page(world, pool_id, "bob") == Page((), None)


def test_device_without_optional_fields_is_returned(world: World) -> None:
    bare = Device(f"{REGION}_bare", RememberedStatus.UNKNOWN, "valid", None, None, None)
    unused = Device(f"{REGION}_unused", RememberedStatus.REMEMBERED, "invalid", 1_700_000_000_001, None, None)
    pool_id = world.add(FakePool(users={"ann": (bare, unused)}))
    assert devices_page(world, pool_id, "ann").items == (bare, unused)


def test_devices_have_only_wanted_attributes(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": (PHONE,)}))
    (device,) = devices_page(world, pool_id, "ann", None, "device_name", "no_such_attribute").items
    assert device.attributes == (("device_name", "Firefox"),)
    (without,) = devices_page(world, pool_id, "ann").items
    assert without.attributes == ()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_user_name_is_passed_unchanged(world: World, name: str) -> None:
    pool_id = world.add(FakePool(users={"other": (), name: (PHONE,)}))
    assert listed(world, pool_id) == ["other", name]
    assert devices_page(world, pool_id, name).items == (plain(PHONE),)


def calls_for_pool(world: World, pool_id: str) -> list[Callable[[], object]]:
    return [
        lambda: world.api.describe_user_pool(pool_id),
        lambda: world.api.list_users(pool_id, user_filter=None, token=None),
        lambda: world.api.list_users_in_group(pool_id, "staff", token=None),
        lambda: devices_page(world, pool_id, "ann"),
    ]


def raises_exactly(kind: type[AwsError], call: Callable[[], object]) -> AwsError:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("number", range(4))
def test_unknown_pool_is_not_found(world: World, number: int) -> None:
    error = raises_exactly(ResourceNotFound, calls_for_pool(world, NO_POOL)[number])
    assert error.attempted


def test_unknown_group_is_not_found(world: World) -> None:
    pool_id = world.add(FakePool())
    error = raises_exactly(ResourceNotFound, lambda: world.api.list_users_in_group(pool_id, "nobody", token=None))
    assert error.operation == "ListUsersInGroup"


def test_unknown_user_is_not_found(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": ()}))
    error = raises_exactly(UserNotFound, lambda: devices_page(world, pool_id, "zoe"))
    assert "zoe" not in str(error)


def test_tracking_off_differs_from_no_devices(world: World) -> None:
    pool_id = world.add(FakePool(tracking=Tracking.OFF, users={"ann": ()}))
    assert listed(world, pool_id) == ["ann"]
    raises_exactly(TrackingOff, lambda: devices_page(world, pool_id, "ann"))


def test_unknown_token_is_invalid(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": (PHONE,)}, groups={"staff": ["ann"]}))
    raises_exactly(InvalidRequest, lambda: world.api.list_users(pool_id, user_filter=None, token="bogus"))
    raises_exactly(InvalidRequest, lambda: world.api.list_users_in_group(pool_id, "staff", token="bogus"))
    raises_exactly(InvalidRequest, lambda: devices_page(world, pool_id, "ann", "bogus"))


def test_token_is_valid_for_its_own_listing_only(world: World) -> None:
    pool_id = world.add(FakePool(users={"ann": devices(2), "anna": devices(2)}))
    world.cut_pages(1)
    of_users = world.api.list_users(pool_id, user_filter='username ^= "a"', token=None).token
    of_devices = devices_page(world, pool_id, "ann").token
    raises_exactly(InvalidRequest, lambda: world.api.list_users(pool_id, user_filter=None, token=of_users))
    raises_exactly(InvalidRequest, lambda: devices_page(world, pool_id, "anna", of_devices))


def test_account_id_is_returned(world: World) -> None:
    assert world.api.account_id() == ACCOUNT


@pytest.mark.parametrize("category", Category)
def test_provisioned_quota_is_returned(world: World, category: Category) -> None:
    assert world.api.provisioned_quota(category) == DEFAULT_QUOTAS[category]
