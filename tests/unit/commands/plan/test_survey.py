"""Survey of a pool, and the number of its calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from exporter.aws.api import Operation
from exporter.collect.snapshot import DetailCounts
from exporter.commands.aws_access import retrier
from exporter.commands.plan.forecast import AT_MOST, COUNTED, ESTIMATED, PoolSurvey
from exporter.commands.plan.survey import MAX_PAGES, SampleSize, survey
from exporter.config.settings import UserSelection
from exporter.errors import AwsError, Denied, ResourceNotFound, Throttled
from exporter.model import Device, Tracking
from exporter.shard import UNSHARDED, Shard
from tests.fakes import FakeCognito, FakePool, reader_of
from tests.harness import FAST_RETRIES
from tests.unit.collect.listed_pools import POOL_ID, device, settings

DEVICES_CALL, USERS_CALL = Operation.ADMIN_LIST_DEVICES, Operation.LIST_USERS


def cognito(users: int, *, federated: int = 0, devices: Iterable[Device] = (device(),), **changes: Any) -> FakeCognito:
    """Return a pool whose first users are federated; each user has these devices."""
    names = [f"user-{number}" for number in range(users)]
    pool = FakePool(users=dict.fromkeys(names, tuple(devices)), federated=set(names[:federated]), **changes)
    return FakeCognito({POOL_ID: pool})


def surveyed(
    api: FakeCognito, *, shard: Shard = UNSHARDED, size: SampleSize | None = None, **changes: Any
) -> PoolSurvey:
    retry = retrier(FAST_RETRIES, threading.Event())
    return survey(settings(**changes), reader_of(api, POOL_ID), shard, size or SampleSize(), retry)


def test_small_pool_is_counted() -> None:
    found = surveyed(cognito(130, federated=10))
    assert (found.users, found.users_basis, found.listing_calls) == (120, COUNTED, {USERS_CALL: 3})
    assert (found.target.account_id, found.target.region) == ("123456789012", "eu-west-1")


def test_federated_users_count_unless_skipped() -> None:
    assert surveyed(cognito(130, federated=10), skip_federated_users=False).users == 130


def test_empty_pool_takes_one_listing_call() -> None:
    found = surveyed(cognito(0))
    assert (found.users, found.users_basis, found.listing_calls) == (0, COUNTED, {USERS_CALL: 1})
    assert (found.sample.users, found.sample_calls) == (0, 0)


def test_large_pool_is_estimated_from_ten_pages() -> None:
    api = cognito(6000, federated=300)
    found = surveyed(api)
    assert api.calls[USERS_CALL] == MAX_PAGES
    assert (found.users, found.users_basis) == (3000, ESTIMATED)  # half of the listed users are federated
    assert found.listing_calls == {USERS_CALL: 100}


def test_exact_survey_lists_every_user() -> None:
    found = surveyed(cognito(6000, federated=300), size=SampleSize(exact=True))
    assert (found.users, found.users_basis, found.listing_calls) == (5700, COUNTED, {USERS_CALL: 100})


def test_shard_users_are_counted_by_name_or_estimated() -> None:
    api = cognito(1000)
    parts = [surveyed(api, shard=Shard(ordinal, 3), size=SampleSize(exact=True)) for ordinal in range(3)]
    assert sum(part.users for part in parts) == 1000
    assert {part.users for part in parts} != {333}
    assert surveyed(api, shard=Shard(0, 3)).users == 333
    assert all(part.listing_calls == {USERS_CALL: 17} for part in parts)


def test_configured_usernames_need_no_listing() -> None:
    api = cognito(10)
    found = surveyed(api, users=UserSelection(usernames=("user-1", "user-1", "nobody")))
    assert (found.users, found.users_basis, found.listing_calls) == (2, COUNTED, {})
    assert found.sample.users == 1  # the other user does not exist
    assert not api.calls[USERS_CALL]


def test_members_of_several_groups_count_once() -> None:
    names = [f"user-{number}" for number in range(100)]
    api = cognito(100, groups={"a": names[:70], "b": names[50:90]})
    found = surveyed(api, users=UserSelection(groups=("a", "b")))
    assert (found.users, found.users_basis) == (90, COUNTED)
    assert found.listing_calls == {Operation.LIST_USERS_IN_GROUP: 3}


@pytest.mark.parametrize(
    ("selection", "listing_calls"),
    [
        (UserSelection(filter='status = "Enabled"'), {USERS_CALL: 50}),
        (UserSelection(groups=("a", "b")), {Operation.LIST_USERS_IN_GROUP: 100}),
    ],
)
def test_large_selection_has_an_upper_bound(selection: UserSelection, listing_calls: dict[Operation, int]) -> None:
    names = [f"user-{number}" for number in range(3000)]
    found = surveyed(cognito(3000, groups={"a": names[:1000], "b": names[1000:]}), users=selection)
    assert (found.users, found.users_basis, found.listing_calls) == (3000, AT_MOST, listing_calls)


def test_sample_is_random_and_reproducible() -> None:
    api = cognito(400, devices=[device("a"), device("b", None, created_ms=5), device("c", None, modified_ms=6)])
    asked: list[list[str]] = [[], []]
    for names in asked:

        def note(operation: Operation, subject: str, names: list[str] = names) -> AwsError | None:
            if operation is DEVICES_CALL:
                names.append(subject)
            return None

        api.fault = note
        found = surveyed(api, size=SampleSize(users=7))
    assert len(set(asked[0])) == 7
    assert asked[0] == asked[1]
    assert set(asked[0]) != {f"user-{number}" for number in range(7)}
    assert found.sample == DetailCounts(
        users=7, dated_users=7, devices=21, dated_devices=14, created_devices=7, modified_devices=7
    )
    assert found.sample_calls == 7


def test_users_with_more_than_a_page_take_more_calls() -> None:
    found = surveyed(cognito(4, devices=[device(str(number)) for number in range(61)]))
    assert (found.sample.users, found.sample_calls) == (4, 8)


def test_pool_without_tracking_takes_one_call() -> None:
    api = cognito(100, tracking=Tracking.OFF)
    found = surveyed(api)
    assert (found.tracking, found.users, found.listing_calls) == (Tracking.OFF, 0, {})
    assert set(api.calls) == {Operation.DESCRIBE_USER_POOL}


def test_retryable_error_is_retried() -> None:
    api = cognito(5)
    failures = [Throttled(USERS_CALL, "TooManyRequestsException")]
    api.fault = lambda operation, _: failures.pop() if operation is USERS_CALL and failures else None
    assert surveyed(api).users == 5


@pytest.mark.parametrize("error", [Denied(USERS_CALL, "AccessDeniedException"), ResourceNotFound(USERS_CALL, "x")])
def test_permanent_error_is_raised(error: AwsError) -> None:
    api = cognito(5)
    api.fault = lambda operation, _: error if operation is USERS_CALL else None
    with pytest.raises(type(error)):
        surveyed(api)
