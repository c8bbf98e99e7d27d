"""Prometheus scrapes the exporter in both text formats, and PromQL matches the emulator."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from exporter.emulator import DeviceMix, Emulator, PoolTruth
from exporter.model import Tracking
from tests.acceptance.e2e.prometheus import Prometheus, RecordingProxy, prometheus
from tests.harness import CLASSIC, config, free_port, identity_key, pool, serving, wait_until
from tests.hostile_names import PUNCTUATION
from tests.tools import required_tool
from tests.truth import DAY, active_ms, activity_by_device, counts, native_users

JOBS = ("classic", "openmetrics")
AGES = "cognito_user_pool_device_last_authentication_age_seconds"
BOUNDS = (3600, DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY, 365 * DAY)
KEY = "the key of the e2e test"

SEED = 2
"""Seed with which no device has an age near a bound."""

MIXED = DeviceMix(unknown_share=0.1, unauthenticated_share=0.1, undated_share=0.05)


@dataclass(frozen=True, slots=True)
class Scene:
    """Three pools, an exporter that has read them, and a Prometheus that has scraped both formats."""

    asked: Prometheus
    moments: dict[str, float]
    """Time of the last scrape of each job."""
    truths: dict[str, PoolTruth]
    plain: str
    raw: str
    named: str


@pytest.fixture(scope="module", params=["prometheus", "prometheus3"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    program = required_tool(request.param)
    directory = tmp_path_factory.mktemp("prometheus")
    with Emulator() as emulator:
        plain = emulator.seed_pool("plain", users=400, devices=MIXED, federated_share=0.1, seed=SEED)
        raw = emulator.seed_pool("raw", users=PUNCTUATION, devices=MIXED, seed=SEED)
        named = emulator.seed_pool("named", users=120, tracking=Tracking.OPT_IN, devices=MIXED, seed=SEED)
        text = config(
            emulator.url,
            pool(plain, stale_after=["1h", "30d", "60d", "90d", "400d"]),
            pool(raw, detail="device", identity="raw"),
            pool(named, detail="user"),
            identity_key_file=identity_key(directory, KEY),
            refresh_interval="20s",
        )
        with (
            serving(text, directory, emulator.url) as exporter,
            RecordingProxy(exporter.url) as unchanged,
            RecordingProxy(exporter.url, accept=CLASSIC) as classic,
        ):
            exporter.after_first_sweep(plain, raw, named)
            targets = {"classic": classic.url, "openmetrics": unchanged.url}
            with prometheus(program, directory, free_port(), targets) as asked:
                assert wait_until(lambda: last_scrapes(asked, named).keys() == set(JOBS))
                assert classic.content_types == {"text/plain"}
                assert unchanged.content_types == {"application/openmetrics-text"}
                truths = {pool_id: emulator.truth(pool_id) for pool_id in (plain, raw, named)}
                yield Scene(asked, last_scrapes(asked, named), truths, plain, raw, named)


def last_scrapes(asked: Prometheus, pool_id: str) -> dict[str, float]:
    return asked.values(f'timestamp(cognito_user_pool_users{{user_pool_id="{pool_id}"}})', "job")


def selector(job: str, pool_id: str, **labels: str) -> str:
    pairs = {"job": job, "user_pool_id": pool_id, **labels}
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in pairs.items()) + "}"


def quoted(text: str) -> str:
    """Quote a string for PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def ages(truth: PoolTruth, now: float) -> list[float]:
    """Return the ages in seconds at a time; assert that none can cross a bound during the test."""
    found = [now - moment / 1000 for moment in active_ms(truth)]
    assert not [age for age in found for bound in (*BOUNDS, 400 * DAY) if abs(age - bound) < 120]
    return found


@pytest.mark.parametrize("job", JOBS)
class TestAnswers:
    def test_it_is_up_and_nothing_is_dropped(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        assert scene.asked.value(f'up{{job="{job}"}}', at) == 1
        scraped = scene.asked.value(f'scrape_samples_scraped{{job="{job}"}}', at)
        assert scraped == scene.asked.value(f'scrape_samples_post_metric_relabeling{{job="{job}"}}', at)

    def test_devices_and_users_per_pool(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        query = f'sum by (user_pool_id) (cognito_user_pool_devices{{job="{job}"}})'
        devices = {pool_id: len(truth.devices) for pool_id, truth in scene.truths.items()}
        assert scene.asked.values(query, "user_pool_id", at=at) == devices
        users = {pool_id: native_users(truth) for pool_id, truth in scene.truths.items()}
        assert scene.asked.values(f'cognito_user_pool_users{{job="{job}"}}', "user_pool_id", at=at) == users
        for pool_id, truth in scene.truths.items():
            query = f"cognito_user_pool_devices{selector(job, pool_id)}"
            assert scene.asked.values(query, "remembered_status", at=at) == counts(truth)

    def test_stale_devices_per_threshold(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        query = f"sum by (threshold) (cognito_user_pool_stale_devices{selector(job, scene.plain)})"
        found = ages(scene.truths[scene.plain], at)
        thresholds = {"1h": 3600, "30d": 30 * DAY, "60d": 60 * DAY, "90d": 90 * DAY, "400d": 400 * DAY}
        assert scene.asked.values(query, "threshold", at=at) == {
            label: sum(age > seconds for age in found) for label, seconds in thresholds.items()
        }

    @pytest.mark.parametrize("quantile", [0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.99, 1])
    def test_quantiles_over_the_age_histogram(self, scene: Scene, job: str, quantile: float) -> None:
        at = scene.moments[job]
        for pool_id, truth in scene.truths.items():
            query = f"histogram_quantile({quantile}, {AGES}_bucket{selector(job, pool_id)})"
            assert scene.asked.value(query, at) == interpolated(quantile, ages(truth, at))

    def test_the_histogram_adds_up(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        for pool_id, truth in scene.truths.items():
            labels = selector(job, pool_id)
            found = ages(truth, at)
            assert scene.asked.value(f"{AGES}_gcount{labels}", at) == len(found)
            # The page is slightly newer than the start of the scrape.
            delay = (scene.asked.value(f"{AGES}_gsum{labels}", at) - sum(found)) / len(found)
            assert -0.01 < delay < 1

    def test_the_age_of_every_device(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        labels = selector(job, scene.raw)
        moments = activity_by_device(scene.truths[scene.raw])
        name = "cognito_device_last_authentication"
        by = ("user", "device_key")
        assert scene.asked.values(f"{name}_timestamp_seconds{labels}", *by, at=at) == moments
        shown_ages = scene.asked.values(f"{name}_age_seconds{labels}", *by, at=at)
        # All ages on a page refer to the same millisecond, which is during the scrape.
        rendered = {round((age + moments[device]) * 1000) for device, age in shown_ages.items()}
        assert shown_ages.keys() == moments.keys()
        assert len(rendered) == 1
        assert at - 0.01 <= rendered.pop() / 1000 < at + 1

    def test_the_age_of_every_user(self, scene: Scene, job: str) -> None:
        at = scene.moments[job]
        for pool_id in (scene.raw, scene.named):
            newest: dict[str, float] = {}
            for (name, _), moment in activity_by_device(scene.truths[pool_id]).items():
                user = name if pool_id == scene.raw else fingerprint(pool_id, name)
                newest[user] = max(moment, newest.get(user, 0))
            metric = f"cognito_user_newest_device_authentication_timestamp_seconds{selector(job, pool_id)}"
            assert scene.asked.values(metric, "user", at=at) == newest
            found = scene.asked.values(f"timestamp({metric}) - {metric}", "user", at=at)
            assert found == pytest.approx({user: at - moment for user, moment in newest.items()}, abs=0.001)

    @pytest.mark.parametrize("name", PUNCTUATION, ids=range(len(PUNCTUATION)))
    def test_a_hostile_name_is_found_by_a_query(self, scene: Scene, job: str, name: str) -> None:
        query = f"cognito_user_devices{selector(job, scene.raw, user=name)}"
        (sample,) = scene.asked.query(query, scene.moments[job])
        assert sample.labels["user"] == name
        assert sample.value == len(scene.truths[scene.raw].users[name])


def fingerprint(pool_id: str, name: str) -> str:
    return hmac.new(KEY.encode(), f"{pool_id}\0{name}".encode(), hashlib.sha256).hexdigest()[:32]


def interpolated(quantile: float, found: list[float]) -> float:
    """Interpolate linearly in the bucket of the rank, as Prometheus does for classic buckets."""
    cumulative = [sum(age <= bound for age in found) for bound in BOUNDS]
    rank = quantile * len(found)
    for place, count in enumerate(cumulative):
        if count >= rank:
            below, start = (cumulative[place - 1], BOUNDS[place - 1]) if place else (0, 0)
            inside = count - below
            return start + (BOUNDS[place] - start) * ((rank - below) / inside) if inside else float("nan")
    return BOUNDS[-1]
