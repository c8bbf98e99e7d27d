from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from exporter.emulator import AgeDistribution, DeviceMix, Emulator, PoolTruth
from exporter.model import DateSource, RememberedStatus, Tracking

NOW = 1_800_000_000.25
DAY = 86_400


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    yield emulator
    emulator.close()


def seeded(emulator: Emulator, devices: DeviceMix, users: int = 500) -> PoolTruth:
    return emulator.truth(emulator.seed_pool("pool", users=users, devices=devices, now=NOW))


def test_same_arguments_give_same_pool() -> None:
    pools = []
    for _ in range(2):
        emulator = Emulator()
        pool_id = emulator.seed_pool("pool", users=50, federated_share=0.2, seed=7, now=NOW)
        pools.append((pool_id, emulator.truth(pool_id)))
        emulator.close()
    assert pools[0] == pools[1]
    assert pools[0][1].devices


def test_other_seed_gives_other_pool(emulator: Emulator) -> None:
    first, second = (emulator.seed_pool("pool", users=50, seed=seed, now=NOW) for seed in (1, 2))
    assert first != second
    assert emulator.truth(first) != emulator.truth(second)


def test_same_pool_twice_has_two_ids(emulator: Emulator) -> None:
    assert emulator.seed_pool("pool", users=1) != emulator.seed_pool("pool", users=1)


def test_constant_age_is_exact(emulator: Emulator) -> None:
    truth = seeded(emulator, DeviceMix(ages=AgeDistribution.constant(30 * DAY)))
    assert {device.authenticated_ms for device in truth.devices} == {(int(NOW) - 30 * DAY) * 1000}


def test_ages_range_from_minutes_to_years() -> None:
    random = Random(1)
    ages = [AgeDistribution().draw(random) for _ in range(2000)]
    assert min(ages) < 3600
    assert max(ages) > 2 * 365 * DAY
    assert sum(30 * DAY < age < 90 * DAY for age in ages) > 200


def test_devices_are_created_before_authentication(emulator: Emulator) -> None:
    for device in seeded(emulator, DeviceMix()).devices:
        assert device.created_ms is not None
        assert device.modified_ms is not None
        assert device.authenticated_ms is not None
        assert device.created_ms < device.modified_ms
        assert device.created_ms < device.authenticated_ms + 1000
        assert device.authenticated_ms < NOW * 1000


def test_shares_of_missing_dates_and_statuses(emulator: Emulator) -> None:
    mix = DeviceMix(per_user={1: 1}, unauthenticated_share=0.3, undated_share=0.2, unknown_share=0.4)
    devices = seeded(emulator, mix, users=2000).devices
    sources = [device.date_source for device in devices]
    assert sources.count(DateSource.NONE) == pytest.approx(400, abs=80)
    assert sources.count(DateSource.CREATED) == pytest.approx(0.3 * 1600, abs=80)
    unknown = [device for device in devices if device.remembered is RememberedStatus.UNKNOWN]
    assert len(unknown) == pytest.approx(800, abs=80)


def test_devices_per_user_follow_their_weights(emulator: Emulator) -> None:
    users = seeded(emulator, DeviceMix(per_user={0: 1, 3: 1}), users=1000).users
    counts = [len(devices) for devices in users.values()]
    assert set(counts) == {0, 3}
    assert counts.count(3) == pytest.approx(500, abs=80)


def test_federated_users_have_no_devices(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("pool", users=400, federated_share=0.25, devices=DeviceMix(per_user={1: 1}))
    truth = emulator.truth(pool_id)
    assert len(truth.federated) == pytest.approx(100, abs=40)
    assert {name for name, devices in truth.users.items() if not devices} == truth.federated


def test_pool_without_tracking_has_no_devices(emulator: Emulator) -> None:
    assert not emulator.truth(emulator.seed_pool("pool", users=50, tracking=Tracking.OFF)).devices


def test_given_user_names_are_used_unchanged(emulator: Emulator) -> None:
    names = ('quo"te', "two\nlines", "back\\slash", " ", "漢字🙂")
    assert tuple(emulator.truth(emulator.seed_pool("pool", users=names)).users) == names


def test_close_deletes_pools() -> None:
    with Emulator() as first:
        pool_id = first.seed_pool("pool", users=1)
    with Emulator() as second, pytest.raises(KeyError):
        second.truth(pool_id)
