"""What is learned of a pool, and in how many calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from exporter.aws.api import Operation
from exporter.commands.plan.forecast import PoolSurvey, Sample
from exporter.commands.plan.survey import PAGES, SampleSize, survey
from exporter.commands.pool_access import retrier
from exporter.config.settings import UserSelection
from exporter.errors import AwsError, Denied, ResourceNotFound, Throttled
from exporter.model import Device, Tracking
from exporter.shard import UNSHARDED, Shard
from tests.fakes import FakeCognito, FakePool, reader_of
from tests.harness import FAST_RETRIES
from tests.unit.collect.listed_pools import POOL_ID, device, settings

DEVICES_CALL, USERS_CALL = Operation.ADMIN_LIST_DEVICES, Operation.LIST_USERS


def cognito(users: int, *, federated: int = 0, devices: Iterable[Device] = (device(),), **changes: Any) -> FakeCognito:
    """A pool of so many users, of whom the first are federated, each with these devices."""
    names = [f"user-{number}" for number in range(users)]
    pool = FakePool(users=dict.fromkeys(names, tuple(devices)), federated=set(names[:federated]), **changes)
    return FakeCognito({POOL_ID: pool})


def surveyed(
    api: FakeCognito, *, shard: Shard = UNSHARDED, effort: SampleSize | None = None, **changes: Any
) -> PoolSurvey:
    ask = retrier(FAST_RETRIES, threading.Event())
    return survey(settings(**changes), reader_of(api, POOL_ID), shard, effort or SampleSize(), ask)


def test_a_small_pool_is_counted_user_by_user() -> None:
    found = surveyed(cognito(130, federated=10))
    assert (found.users, found.exact, found.listings) == (120, True, {USERS_CALL: 3})
    assert (found.target.account_id, found.target.region) == ("123456789012", "eu-west-1")


def test_federated_users_count_where_they_are_asked() -> None:
    assert surveyed(cognito(130, federated=10), skip_federated_users=False).users == 130


def test_an_empty_pool_still_takes_a_listing() -> None:
    found = surveyed(cognito(0))
    assert (found.users, found.exact, found.listings, found.sample) == (0, True, {USERS_CALL: 1}, Sample())


def test_of_a_large_pool_ten_pages_stand_for_the_rest() -> None:
    api = cognito(6000, federated=300)
    found = surveyed(api)
    assert api.calls[USERS_CALL] == PAGES
    assert (found.users, found.exact, found.at_most) == (3000, False, False)  # half of those listed were federated
    assert found.listings == {USERS_CALL: 100}


def test_every_user_is_listed_on_request() -> None:
    found = surveyed(cognito(6000, federated=300), effort=SampleSize(exact=True))
    assert (found.users, found.exact, found.listings) == (5700, True, {USERS_CALL: 100})


def test_the_users_of_a_shard_are_told_by_their_names_as_far_as_they_are_known() -> None:
    api = cognito(1000)
    parts = [surveyed(api, shard=Shard(ordinal, 3), effort=SampleSize(exact=True)) for ordinal in range(3)]
    assert sum(part.users for part in parts) == 1000
    assert {part.users for part in parts} != {333}
    assert surveyed(api, shard=Shard(0, 3)).users == 333
    assert all(part.listings == {USERS_CALL: 17} for part in parts)


def test_names_in_the_configuration_need_no_listing() -> None:
    api = cognito(10)
    found = surveyed(api, users=UserSelection(usernames=("user-1", "user-1", "nobody")))
    assert (found.users, found.exact, found.listings) == (2, True, {})
    assert found.sample.users == 1  # nobody has no devices to ask for
    assert not api.calls[USERS_CALL]


def test_members_of_several_groups_count_once_and_each_group_is_listed() -> None:
    names = [f"user-{number}" for number in range(100)]
    api = cognito(100, groups={"a": names[:70], "b": names[50:90]})
    found = surveyed(api, users=UserSelection(groups=("a", "b")))
    assert (found.users, found.exact) == (90, True)
    assert found.listings == {Operation.LIST_USERS_IN_GROUP: 3}


@pytest.mark.parametrize(
    ("selection", "listings"),
    [
        (UserSelection(filter='status = "Enabled"'), {USERS_CALL: 50}),
        (UserSelection(groups=("a", "b")), {Operation.LIST_USERS_IN_GROUP: 100}),
    ],
)
def test_of_a_large_selection_only_the_most_is_known(selection: UserSelection, listings: dict[Operation, int]) -> None:
    names = [f"user-{number}" for number in range(3000)]
    found = surveyed(cognito(3000, groups={"a": names[:1000], "b": names[1000:]}), users=selection)
    assert (found.users, found.exact, found.at_most, found.listings) == (3000, False, True, listings)


def test_devices_are_asked_of_a_few_users_always_the_same() -> None:
    api = cognito(400, devices=[device("a"), device("b", None, created_ms=5), device("c", None, modified_ms=6)])
    asked: list[list[str]] = [[], []]
    for names in asked:

        def note(operation: Operation, subject: str, names: list[str] = names) -> AwsError | None:
            if operation is DEVICES_CALL:
                names.append(subject)
            return None

        api.fault = note
        found = surveyed(api, effort=SampleSize(users=7))
    assert len(set(asked[0])) == 7
    assert asked[0] == asked[1]
    assert set(asked[0]) != {f"user-{number}" for number in range(7)}
    assert found.sample == Sample(
        users=7, pages=7, dated_users=7, devices=21, dated_devices=14, created_devices=7, modified_devices=7
    )


def test_users_with_more_devices_than_a_page_take_more_calls() -> None:
    found = surveyed(cognito(4, devices=[device(str(number)) for number in range(61)]))
    assert (found.sample.users, found.sample.pages) == (4, 8)


def test_a_pool_without_tracking_is_not_looked_at() -> None:
    api = cognito(100, tracking=Tracking.OFF)
    found = surveyed(api)
    assert (found.tracking, found.users, found.exact, found.listings) == (Tracking.OFF, 0, True, {})
    assert set(api.calls) == {Operation.DESCRIBE_USER_POOL}


def test_what_fails_for_a_moment_is_asked_again() -> None:
    api = cognito(5)
    failures = [Throttled(USERS_CALL, "TooManyRequestsException")]
    api.fault = lambda operation, _: failures.pop() if operation is USERS_CALL and failures else None
    assert surveyed(api).users == 5


@pytest.mark.parametrize("error", [Denied(USERS_CALL, "AccessDeniedException"), ResourceNotFound(USERS_CALL, "x")])
def test_what_fails_for_good_is_told(error: AwsError) -> None:
    api = cognito(5)
    api.fault = lambda operation, _: error if operation is USERS_CALL else None
    with pytest.raises(type(error)):
        surveyed(api)
