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


def test_the_same_arguments_make_the_same_pool() -> None:
    made = []
    for _ in range(2):
        emulator = Emulator()
        pool_id = emulator.seed_pool("pool", users=50, federated_share=0.2, seed=7, now=NOW)
        made.append((pool_id, emulator.truth(pool_id)))
        emulator.close()
    assert made[0] == made[1]
    assert made[0][1].devices


def test_another_seed_makes_another_pool(emulator: Emulator) -> None:
    first, second = (emulator.seed_pool("pool", users=50, seed=seed, now=NOW) for seed in (1, 2))
    assert first != second
    assert emulator.truth(first) != emulator.truth(second)


def test_the_same_pool_twice_in_one_world_gets_two_ids(emulator: Emulator) -> None:
    assert emulator.seed_pool("pool", users=1) != emulator.seed_pool("pool", users=1)


def test_a_constant_age_is_exact_to_the_second(emulator: Emulator) -> None:
    truth = seeded(emulator, DeviceMix(ages=AgeDistribution.constant(30 * DAY)))
    assert {device.authenticated_ms for device in truth.devices} == {(int(NOW) - 30 * DAY) * 1000}


def test_ages_reach_from_minutes_to_years() -> None:
    random = Random(1)
    ages = [AgeDistribution().draw(random) for _ in range(2000)]
    assert min(ages) < 3600
    assert max(ages) > 2 * 365 * DAY
    assert sum(30 * DAY < age < 90 * DAY for age in ages) > 200


def test_devices_are_made_before_they_authenticate(emulator: Emulator) -> None:
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


def test_a_pool_that_tracks_no_devices_has_none(emulator: Emulator) -> None:
    assert not emulator.truth(emulator.seed_pool("pool", users=50, tracking=Tracking.OFF)).devices


def test_user_names_are_taken_as_they_are(emulator: Emulator) -> None:
    names = ('quo"te', "two\nlines", "back\\slash", " ", "漢字🙂")
    assert tuple(emulator.truth(emulator.seed_pool("pool", users=names)).users) == names


def test_a_closed_emulator_leaves_no_pool_behind() -> None:
    with Emulator() as first:
        pool_id = first.seed_pool("pool", users=1)
    with Emulator() as second, pytest.raises(KeyError):
        second.truth(pool_id)
