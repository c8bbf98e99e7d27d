"""Reload of a running exporter over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest

from exporter.emulator import Emulator
from exporter.shard import UNSHARDED, Shard
from tests.harness import FAST, Exporter, Log, Page, config, identity_key, pool, serving, wait_until
from tests.integration.test_exporter_bad_pools import DATA
from tests.truth import assert_correct

SLOW = {**FAST, "UserResourceRead": 40.0}
SUCCESSFUL = "cognito_exporter_config_last_reload_successful"
LOADED_AT = "cognito_exporter_config_last_reload_success_timestamp_seconds"
OLDEST = "cognito_exporter_oldest_observation_timestamp_seconds"
LAST_SUCCESS = "cognito_exporter_last_sweep_success_timestamp_seconds"
KEEPS, RELOADED = "configuration reload failed; keeping current configuration", "configuration reloaded"


class World:
    """Two seeded pools, and the configuration file."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self.directory = directory
        self.file = directory / "config.yaml"
        self.one, self.two = (emulator.seed_pool(name, users=60) for name in ("one", "two"))

    def text(self, *pools: dict[str, Any] | str, **settings: Any) -> str:
        return config(self.emulator.url, *pools, **{"refresh_interval": "1h", **settings})

    def asked(self, pool_id: str) -> int:
        """Count the requests for devices of a pool."""
        return sum(
            request.operation == "AdminListDevices" and request.pool_id == pool_id
            for request in self.emulator.requests()
        )

    @contextmanager
    def serving(
        self, text: str, *, lifecycle: bool = True, reload_interval: float = 0.0, shard: Shard = UNSHARDED
    ) -> Iterator[Reloadable]:
        self.file.write_text(text)
        with serving(
            text,
            self.directory,
            self.emulator.url,
            lifecycle=lifecycle,
            reload_interval=reload_interval,
            shard=shard,
        ) as running:
            yield Reloadable(running.url, self.file)


class Reloadable(Exporter):
    def __init__(self, url: str, file: Path) -> None:
        super().__init__(url)
        self._file = file

    def send(self, method: str) -> tuple[int, str]:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request(method, "/-/reload")
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def reload(self, text: str) -> Page:
        """Reload successfully and return the next page."""
        self._file.write_text(text)
        assert self.send("POST") == (200, "reloaded\n")
        return self.scrape()

    def refused(self, text: str) -> str:
        """Reload an invalid configuration and return the error; assert the metrics of the reload."""
        loaded_at = self.value(LOADED_AT)
        self._file.write_text(text)
        status, body = self.send("POST")
        assert status == 500
        page = self.scrape()
        assert (page.value(SUCCESSFUL), page.value(LOADED_AT)) == (0, loaded_at)
        return body.removeprefix("configuration reload failed: ").rstrip("\n")


@pytest.fixture
def world(emulator: Emulator, tmp_path: Path) -> World:
    return World(emulator, tmp_path)


def test_added_pool_is_swept_and_others_are_unchanged(world: World, log: Log) -> None:
    with world.serving(world.text(world.one)) as exporter:
        before = exporter.after_first_sweep(world.one)
        page = exporter.reload(world.text(world.one, world.two))
        assert page.value("cognito_user_pool_up", user_pool_id=world.two) is not None
        assert exporter.is_ready()
        page = exporter.after_first_sweep(world.two)
        for pool_id in (world.one, world.two):
            assert_correct(page, pool_id, world.emulator.truth(pool_id))
        for of_sweep in (OLDEST, LAST_SUCCESS, "cognito_exporter_sweeps_total"):
            value = before.value(of_sweep, user_pool_id=world.one)
            assert page.value(of_sweep, user_pool_id=world.one) == value is not None
        assert (page.value(LOADED_AT) or 0) > (before.value(LOADED_AT) or 0)
    assert world.asked(world.one) == 60
    assert len(log.events(RELOADED, cause="request")) == 1


def test_sweep_continues_over_a_small_change_of_its_pool(world: World) -> None:
    with world.serving(world.text(world.one, rate=SLOW)) as exporter:
        assert wait_until(lambda: 10 < world.asked(world.one) < 50)
        done = progress(exporter.scrape(), world.one)
        little = pool(world.one, stale_after=["7d"], max_staleness="2d", refresh_interval="2h")
        page = exporter.reload(world.text(little, world.two, rate=SLOW))
        assert (progress(page, world.one) or 0) >= (done or 1)
        page = exporter.after_first_sweep(world.one, world.two)
        assert set(page.series("cognito_user_pool_stale_devices", "threshold", user_pool_id=world.one)) == {"7d"}
        assert page.value("cognito_exporter_refresh_interval_seconds", user_pool_id=world.one) == 7200
        assert page.value("cognito_exporter_sweep_overruns_total", user_pool_id=world.one) == 0
    assert world.asked(world.one) == 60


def progress(page: Page, pool_id: str) -> float | None:
    return page.value("cognito_exporter_sweep_progress_ratio", user_pool_id=pool_id)


def test_removed_pool_is_absent_from_the_next_scrape(world: World) -> None:
    with world.serving(world.text(world.one, world.two, rate=SLOW)) as exporter:
        assert wait_until(lambda: world.asked(world.one) > 5)
        assert exporter.reload(world.text(world.two)).about(world.one) == set()
        page = exporter.after_first_sweep(world.two)
        assert page.about(world.one) == set()
        assert_correct(page, world.two, world.emulator.truth(world.two))
    assert world.asked(world.one) < 60


def test_scrape_after_a_reload_gets_a_new_page(world: World) -> None:
    many = world.emulator.seed_pool("many", users=400)
    labels = {"identity_key_file": identity_key(world.directory)}
    both = world.text(world.one, pool(many, detail="device"), **labels)
    with world.serving(both) as exporter, ThreadPoolExecutor(3) as pool_of_scrapers:
        exporter.after_first_sweep(many)
        stopped = Event()

        def scrape() -> None:
            while not stopped.is_set():
                exporter.get("/metrics")

        scrapers = [pool_of_scrapers.submit(scrape) for _ in range(3)]
        try:
            for _ in range(10):
                assert exporter.reload(world.text(world.one, **labels)).about(many) == set()
                assert exporter.reload(both).about(many)
        finally:
            stopped.set()
        for scraper in scrapers:
            scraper.result(20)


def test_removed_target_is_absent_despite_calls_in_flight(world: World) -> None:
    far = world.emulator.seed_pool("far", users=30, region="eu-central-1")
    world.emulator.faults.latency = {"AdminListDevices": 0.5}
    with world.serving(world.text(world.one, far)) as exporter:
        assert wait_until(lambda: world.asked(far) > 5)
        assert "eu-central-1" in exporter.get("/metrics").text
        exporter.reload(world.text(world.one))
        exporter.after_first_sweep(world.one)
        assert wait_until(lambda: "eu-central-1" not in exporter.get("/metrics").text, within=3)


@pytest.mark.parametrize("state", [None, "state.db"])
def test_changed_detail_applies_to_known_data(world: World, state: str | None) -> None:
    key = identity_key(world.directory)
    with world.serving(world.text(world.one, detail="device", identity_key_file=key, state=state)) as exporter:
        exporter.after_first_sweep(world.one)
        for detail in ("user", "pool"):
            page = exporter.reload(world.text(world.one, detail=detail, identity_key_file=key, state=state))
            assert page.state(world.one) == "ok"
            assert_correct(page, world.one, world.emulator.truth(world.one))
            assert ("cognito_user_devices" in page.names) is (detail == "user")
            assert "cognito_device_info" not in page.names
    assert world.asked(world.one) == 60


def test_changed_selection_has_no_data_until_swept(world: World) -> None:
    names = list(world.emulator.truth(world.one).users)[:5]
    with world.serving(world.text(world.one)) as exporter:
        exporter.after_first_sweep(world.one)
        world.emulator.faults.latency = {"DescribeUserPool": 1.0}
        page = exporter.reload(world.text(pool(world.one, users={"usernames": names})))
        assert page.state(world.one) == "unread"
        assert not page.about(world.one) & DATA
        assert wait_until(lambda: exporter.state(world.one) == "ok")
        assert exporter.value("cognito_user_pool_users", user_pool_id=world.one) == 5


def test_changed_limits_apply_to_a_sweep_in_progress(world: World) -> None:
    key = identity_key(world.directory)
    settings: dict[str, Any] = {"detail": "user", "identity_key_file": key}
    crawling = {**FAST, "UserResourceRead": 1.0}
    with world.serving(world.text(world.one, rate=crawling, series=10, **settings)) as exporter:
        assert wait_until(lambda: world.asked(world.one) > 0)
        exporter.reload(world.text(world.one, rate=FAST, series=10, **settings))
        page = exporter.after_first_sweep(world.one)
        assert len(page.series("cognito_user_devices", "user")) <= 10
        page = exporter.reload(world.text(world.one, rate=FAST, series=1000, **settings))
        assert len(page.series("cognito_user_devices", "user")) == 60
    assert world.asked(world.one) == 60


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("pools: [", ":1:9: not YAML: "),
        ("pools:\n  - id: nowhere\nlimits: 7\n", ":3: limits: wrong type, expected a mapping"),
        ("", ":1: empty, expected a mapping with the key pools"),
    ],
    ids=["no YAML", "several faults", "empty"],
)
def test_invalid_configuration_is_rejected_as_a_whole(world: World, log: Log, change: str, reason: str) -> None:
    with world.serving(world.text(world.one)) as exporter:
        exporter.after_first_sweep(world.one)
        assert reason in exporter.refused(change)
        assert_correct(exporter.scrape(), world.one, world.emulator.truth(world.one))
        assert len(log.events(KEEPS, level="error")) == 1
        assert exporter.reload(world.text(world.one)).value(SUCCESSFUL) == 1
    assert world.asked(world.one) == 60


def test_error_is_reported_for_a_file_name_not_in_utf_8(emulator: Emulator, tmp_path: Path) -> None:
    directory = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    directory.mkdir()
    world = World(emulator, directory)
    with world.serving(world.text(world.one, state="state.db")) as exporter:
        assert exporter.refused("").endswith("/\\udcff/config.yaml:1: empty, expected a mapping with the key pools")
        refused = exporter.refused(world.text(world.one, state="other.db"))
        assert refused.endswith("/\\udcff/state.db (found " + f"{tmp_path}/\\udcff/other.db)")


def test_changed_state_file_requires_a_restart(world: World) -> None:
    with world.serving(world.text(world.one)) as exporter:
        refused = exporter.refused(world.text(world.two, state="state.db"))
        assert refused.startswith(f"{world.file}: state.path: cannot change without a restart, expected null (found ")
        assert exporter.scrape().about(world.two) == set()


def test_shard_rejects_labels_that_differ_from_other_shards(world: World) -> None:
    with world.serving(world.text(world.one, state="state.db"), shard=Shard(0, 2)) as exporter:
        exporter.after_first_sweep(world.one)
        refused = exporter.refused(world.text(world.one, detail="user", state="state.db"))
        assert "needs a key that all shards share" in refused


def test_unusable_key_keeps_every_client(world: World) -> None:
    far = world.emulator.seed_pool("far", users=10, region="eu-central-1")
    key = Path(identity_key(world.directory))
    with world.serving(world.text(world.one, refresh_interval="1s")) as exporter:
        exporter.after_first_sweep(world.one)
        key.chmod(0o644)
        assert "others could read the key" in exporter.refused(
            world.text(far, detail="user", identity_key_file=str(key))
        )
        page = exporter.after_sweep(world.one)
        assert page.state(world.one) == "ok"
        assert page.about(far) == set()
        assert "eu-central-1" not in exporter.get("/metrics").text


def test_reload_over_http_requires_the_flag(world: World) -> None:
    with world.serving(world.text(world.one), lifecycle=False) as exporter:
        world.file.write_text(world.text(world.two))
        assert exporter.send("POST")[0] == exporter.send("PUT")[0] == 403
        assert exporter.scrape().about(world.two) == set()


def test_only_post_and_put_reload(world: World) -> None:
    with world.serving(world.text(world.one)) as exporter:
        assert [exporter.send(method)[0] for method in ("GET", "DELETE", "PUT", "POST")] == [405, 405, 200, 200]


def test_changed_content_is_applied_and_an_error_logged_once(world: World, log: Log) -> None:
    with world.serving(world.text(world.one), reload_interval=0.1) as exporter:
        exporter.after_first_sweep(world.one)
        world.file.write_text("pools: [")
        assert wait_until(lambda: exporter.value(SUCCESSFUL) == 0)
        world.file.write_text(world.text(world.one, world.two))
        assert wait_until(lambda: exporter.value(SUCCESSFUL) == 1)
        exporter.after_first_sweep(world.two)
    assert [len(log.events(line, cause="file change")) for line in (KEEPS, RELOADED)] == [1, 1]
    assert world.asked(world.one) == 60


def test_configuration_is_applied_once_its_key_exists(world: World, log: Log) -> None:
    key = world.directory / "late.key"
    with world.serving(world.text(world.one), reload_interval=0.1) as exporter:
        exporter.after_first_sweep(world.one)
        world.file.write_text(world.text(world.one, detail="user", identity_key_file=str(key)))
        assert wait_until(lambda: exporter.value(SUCCESSFUL) == 0)
        key.touch(0o644)
        key.write_text("the key that comes with a Secret")
        assert wait_until(lambda: len(log.events(KEEPS, cause="file change")) == 2)
        key.chmod(0o600)
        assert wait_until(lambda: exporter.value(SUCCESSFUL) == 1)
        assert wait_until(lambda: len(exporter.scrape().series("cognito_user_devices", "user")) == 60)
    first, second = (entry["error"] for entry in log.events(KEEPS, cause="file change"))
    assert "No such file" in first
    assert "others could read the key" in second


def test_replaced_key_file_changes_the_labels(world: World) -> None:
    key = identity_key(world.directory)
    with world.serving(world.text(world.one, detail="user", identity_key_file=key), reload_interval=0.1) as exporter:
        before = exporter.after_first_sweep(world.one).series("cognito_user_devices", "user")
        identity_key(world.directory, "another key of the same tests")
        assert wait_until(lambda: (exporter.sweeps(world.one)) >= 2)
        after = exporter.scrape().series("cognito_user_devices", "user")
    assert len(before) == len(after) == 60
    assert not set(before) & set(after)


def test_scrapes_during_many_reloads_are_correct(world: World) -> None:
    one, both = world.text(world.one), world.text(world.one, world.two)
    with world.serving(one) as exporter:
        exporter.after_first_sweep(world.one)
        truth = world.emulator.truth(world.one)
        for turn in range(12):
            page = exporter.reload(both if turn % 2 == 0 else one)
            assert_correct(page, world.one, truth)
            assert bool(page.about(world.two)) is (turn % 2 == 0)
    assert world.asked(world.one) == 60
