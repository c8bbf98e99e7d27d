"""World of the demo: initial content and changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import time

import pytest
import yaml

from exporter.config.values import parse_share
from exporter.emulator.demo import ACCESS_KEY_ID, POOLS, QUOTA, RATES, DemoWorld, PoolActivity
from exporter.emulator.emulator import PoolTruth
from exporter.model import RememberedStatus
from tests.integration.emulator_client import cognito


@pytest.fixture(scope="module")
def world() -> Iterator[DemoWorld]:
    with DemoWorld() as world:
        yield world


def truth(world: DemoWorld, name: str) -> PoolTruth:
    return world.emulator.truth(world.pool_ids[name])


def life(world: DemoWorld, name: str) -> PoolActivity:
    return PoolActivity(world.emulator, world.pool_ids[name], Random(3))


def test_demo_has_three_pools(world: DemoWorld) -> None:
    client = cognito(world.emulator.url, access_key=ACCESS_KEY_ID)
    for name, pool_id in world.pool_ids.items():
        assert client.describe_user_pool(UserPoolId=pool_id)["UserPool"]["Name"] == name
    assert sum(len(truth(world, pool.name).users) for pool in POOLS) == pytest.approx(3000, abs=10)


def test_devices_are_minutes_to_years_old(world: DemoWorld) -> None:
    ages = [time() - (device.authenticated_ms or 0) / 1000 for device in truth(world, "shop-prod").devices]
    assert min(ages) < 3600
    assert max(ages) > 2 * 365 * 86_400
    assert truth(world, "shop-prod").federated


def test_sweep_of_the_demo_takes_less_than_30_seconds(world: DemoWorld) -> None:
    tracked = sum(len(truth(world, name).users) for name in ("shop-prod", "workforce"))
    rate = QUOTA * parse_share(str(RATES["UserResourceRead"]))
    assert 20 < tracked / rate < 30


@pytest.mark.parametrize("name", ["shop-prod", "workforce"])
def test_devices_appear_sign_in_and_vanish(world: DemoWorld, name: str) -> None:
    living = life(world, name)
    before = truth(world, name)
    for _ in range(5):
        living.add_device()
    assert len(truth(world, name).devices) >= len(before.devices) + 4
    newest = max(device.authenticated_ms or 0 for device in truth(world, name).devices)
    assert newest > (time() - 60) * 1000
    changes = changes_of(world, name, living.forget_device)
    assert changes < 0


def changes_of(world: DemoWorld, name: str, event: Callable[[], None], times: int = 15) -> int:
    before = len(truth(world, name).devices)
    for _ in range(times):
        event()
    return len(truth(world, name).devices) - before


def test_some_devices_are_not_remembered_with_opt_in(world: DemoWorld) -> None:
    living = life(world, "workforce")
    known = {device.key for device in truth(world, "workforce").devices}
    for _ in range(20):
        living.add_device()
    statuses = {device.remembered for device in truth(world, "workforce").devices if device.key not in known}
    assert statuses == {RememberedStatus.REMEMBERED, RememberedStatus.NOT_REMEMBERED}


def test_users_are_added_and_removed(world: DemoWorld) -> None:
    living = life(world, "workforce")
    living.create_user()
    assert "newcomer-000001" in truth(world, "workforce").users
    before = len(truth(world, "workforce").users)
    living.delete_user()
    assert len(truth(world, "workforce").users) <= before - 1


def test_event_of_a_deleted_user_is_ignored(world: DemoWorld) -> None:
    living = life(world, "workforce")
    living._names = ["gone"]
    for _ in range(10):
        living.run_random_event()


def test_configuration_names_every_pool(world: DemoWorld) -> None:
    settings = yaml.safe_load(world.settings_yaml(Path("identity.key")))
    assert settings["defaults"] == {
        "refresh_interval": "1m",
        "endpoint_url": world.emulator.url,
        "identity_key_file": "identity.key",
    }
    assert [pool["id"] for pool in settings["pools"]] == list(world.pool_ids.values())
    assert [pool["detail"] for pool in settings["pools"]] == ["pool", "device", "pool"]
    assert settings["limits"]["rate"] == dict(RATES)


def test_world_changes_in_the_background() -> None:
    lived = DemoWorld(seed=1)
    before = {name: lived.emulator.truth(pool_id) for name, pool_id in lived.pool_ids.items()}
    lived.start()
    try:
        client = cognito(lived.emulator.url, access_key=ACCESS_KEY_ID)
        deadline = time() + 20
        while time() < deadline and truth(lived, "shop-prod") == before["shop-prod"]:
            client.describe_user_pool(UserPoolId=lived.pool_ids["legacy-app"])
        assert truth(lived, "shop-prod") != before["shop-prod"]
    finally:
        lived.stop()
