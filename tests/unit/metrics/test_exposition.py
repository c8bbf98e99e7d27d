from __future__ import annotations

import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Semaphore
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from structlog.testing import capture_logs

from exporter.collect.snapshot import PoolView, RuleState, SweepProgress
from exporter.metrics.catalog import CATALOG
from exporter.metrics.compression import SUPPORTS_CHUNKS
from exporter.metrics.detail_specs import DEVICE_METRICS, USER_METRICS
from exporter.metrics.exposition import SingleFlight
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.spec import DetailMetric, PoolMetric, Sample
from exporter.model import Device, Mfa, PoolDescription, Tracking
from exporter.observers import Target
from tests.unit.metrics.builders import (
    NOW_MS,
    OPENMETRICS,
    POOL,
    device,
    exposition,
    rate_limit,
    sample_lines,
    text,
    user,
    view,
)

TARGET = Target("123456789012", "eu-west-1")


def _full_view() -> PoolView:
    description = PoolDescription(
        POOL,
        "naïve \\ pool",
        TARGET.account_id,
        TARGET.region,
        Tracking.ALWAYS,
        Mfa.ON,
        mfa_bypass=True,
        estimated_users=3,
    )
    return replace(
        view(user('a"b\n', device("k1", 1, created_ms=NOW_MS, modified_ms=NOW_MS)), user("\ud800\x00", device("k2"))),
        description=description,
        progress=SweepProgress(1, 2, 3.0),
        last_sweep_seconds=4.0,
        last_success=5.0,
        oldest_observation=6.0,
    )


def full_page(accept: str | None = None) -> str:
    self_metrics = SelfMetrics(version="1.2.3")
    self_metrics.pool_added(POOL)
    self_metrics.target_added(TARGET)
    self_metrics.rules_changed([("0", "eu-west-1")])
    rule = RuleState("0", "eu-west-1", pools=1, up=True, last_success=NOW_MS / 1000, reason=None)
    page = exposition(lambda: [_full_view()], self_metrics=self_metrics, rate_limits=[rate_limit(TARGET)], rules=[rule])
    return text(page, accept=accept)


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_page_has_whole_catalog(accept: str | None) -> None:
    parse = parse_openmetrics if accept else parse_classic
    families = {family.name: family for family in parse(full_page(accept))}
    for spec in CATALOG:
        assert spec.family in families
        names = {name for family in families.values() for name in (sample.name for sample in family.samples)}
        assert spec.sample_names <= names
        assert families[spec.family].documentation == spec.help
        labels = set(families[spec.family].samples[0].labels) - {"le"}
        assert labels == set(spec.labels)
    assert {"process_cpu_seconds", "python_info"} <= set(families)


def test_openmetrics_has_gauge_histograms_and_one_eof() -> None:
    page = full_page(OPENMETRICS)
    assert "# TYPE cognito_user_pool_devices_per_user gaugehistogram\n" in page
    assert page.endswith("\n# EOF\n")
    assert page.count("# EOF") == 1
    assert "_created{" not in page
    assert "# EOF" not in full_page()


def _boom(_view: PoolView, _now_ms: int) -> Sequence[Sample]:
    raise ZeroDivisionError


def test_failing_metric_is_omitted_and_logged_once() -> None:
    broken = [
        PoolMetric(metric.spec, _boom) if metric.spec.name == "cognito_user_pool_users" else metric
        for metric in POOL_METRICS
    ]
    page = exposition(lambda: [view(user("a", device("k")))], pool_metrics=broken)
    with capture_logs() as logs:
        text(page)
        second = text(page)
    assert not sample_lines(second, "cognito_user_pool_users")
    assert sample_lines(second, "cognito_user_pool_devices")
    assert sample_lines(second, "cognito_device_info")
    failures = sample_lines(second, "cognito_exporter_metric_failures_total")
    assert 'cognito_exporter_metric_failures_total{metric="cognito_user_pool_users"} 2.0' in failures
    assert [(entry["event"], entry["metric"]) for entry in logs] == [
        ("cannot compute metric; omitting it from the page", "cognito_user_pool_users")
    ]


def _device_boom(_device: Device) -> int:
    raise ZeroDivisionError


def test_failing_device_metric_is_omitted_and_logged_once() -> None:
    first, second, *others = DEVICE_METRICS
    broken: tuple[DetailMetric[Any], ...] = (*USER_METRICS, first, replace(second, value=_device_boom), *others)
    pool_view = view(user("a", device("k")))
    page = exposition(lambda: [pool_view], detail_metrics=broken)
    with capture_logs() as logs:
        text(page)
        last = text(page)
    assert not sample_lines(last, second.spec.name)
    assert sample_lines(last, first.spec.name)
    assert f'cognito_exporter_metric_failures_total{{metric="{second.spec.name}"}} 2.0' in last
    assert len(logs) == 1


def test_names_restrict_whole_page() -> None:
    names = ["cognito_user_pool_devices_per_user", "cognito_device_info", "cognito_exporter_shards"]
    page = text(exposition(lambda: [_full_view()]), names=names)
    types = [line for line in page.splitlines() if line.startswith("# TYPE ")]
    assert types == [
        "# TYPE cognito_user_pool_devices_per_user histogram",
        "# TYPE cognito_user_pool_devices_per_user_gcount gauge",
        "# TYPE cognito_user_pool_devices_per_user_gsum gauge",
        "# TYPE cognito_exporter_shards gauge",
        "# TYPE cognito_device_info gauge",
    ]
    assert text(exposition(lambda: [_full_view()]), names=["nothing"], accept=OPENMETRICS) == "# EOF\n"


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_compressed_page_equals_plain_page(accept: str | None, chunked: bool) -> None:
    users = [user(f"u{number}", device(f"k{number}", number / 7)) for number in range(100)]
    page = exposition(lambda: [replace(_full_view(), data=view(*users).data)], chunked=chunked)
    # In both orders, because lines are stored in the form that was last requested.
    texts = [
        gzip.decompress(page.page(accept=accept, accept_encoding="gzip").body).decode(),
        text(page, accept=accept),
        gzip.decompress(page.page(accept=accept, accept_encoding="gzip").body).decode(),
    ]
    details = [[line for line in one.splitlines() if line.startswith("cognito_")] for one in texts]
    details = [[line for line in lines if not line.startswith("cognito_exporter_")] for lines in details]
    assert details[0] == details[1] == details[2]
    response = page.page(accept=accept, accept_encoding="gzip")
    assert response.gzipped
    assert response.content_type == page.page(accept=accept, accept_encoding=None).content_type


def test_views_are_read_once_per_page() -> None:
    taken: list[int] = []

    def views() -> list[PoolView]:
        taken.append(1)
        return [_full_view()]

    text(exposition(views))
    assert len(taken) == 1


def test_self_metrics_change_between_scrapes() -> None:
    self_metrics = SelfMetrics(version="1.2.3")
    self_metrics.pool_added(POOL)
    page = exposition(lambda: [_full_view()], self_metrics=self_metrics)
    assert f'cognito_exporter_sweeps_total{{user_pool_id="{POOL}"}} 0.0' in text(page)
    self_metrics.sweep_finished(POOL, None)
    assert f'cognito_exporter_sweeps_total{{user_pool_id="{POOL}"}} 1.0' in text(page)


class CountedKey(str):
    """Key that counts its lookups."""

    __slots__ = ("lookups",)

    def __init__(self, _value: str) -> None:
        self.lookups = Semaphore(0)

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        self.lookups.release()
        return hash(str(self))


def test_single_flight_concurrent_calls_share_result() -> None:
    single_flight = SingleFlight[str, object]()
    started, proceed = Event(), Event()

    def compute() -> object:
        started.set()
        proceed.wait(10)
        return object()

    key = CountedKey("page")
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(single_flight.run, "page", compute)
        assert started.wait(10)
        others = [pool.submit(single_flight.run, key, object) for _ in range(3)]
        assert all(key.lookups.acquire(timeout=10) for _ in others)
        assert single_flight.run("other page", lambda: "own") == "own"
        proceed.set()
        answers = {id(one.result(10)) for one in (first, *others)}
    assert len(answers) == 1
    assert single_flight.run("page", lambda: "new") == "new"


def test_single_flight_failure_is_not_cached() -> None:
    single_flight = SingleFlight[str, int]()
    with pytest.raises(ZeroDivisionError):
        single_flight.run("page", lambda: 1 // 0)
    assert single_flight.run("page", lambda: 1) == 1


class BlockingViews:
    """Source of views that blocks until `proceed` is set, and returns the pools at the time of the call."""

    def __init__(self, *pools: PoolView) -> None:
        self.pools = pools
        self.calls = Semaphore(0)
        self.proceed = Event()
        self.concurrent = self.max_concurrent = 0

    def __call__(self) -> Sequence[PoolView]:
        self.concurrent += 1
        self.max_concurrent = max(self.concurrent, self.max_concurrent)
        pools = self.pools
        self.calls.release()
        self.proceed.wait(10)
        self.concurrent -= 1
        return pools


def test_page_is_not_shared_across_generations() -> None:
    views = BlockingViews(view(user("alice", device("k1"))))
    lookups, generations = Semaphore(0), [1]

    def generation() -> int:
        lookups.release()
        return generations[-1]

    page = exposition(views, generation=generation)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(text, page)
        assert views.calls.acquire(timeout=10)
        views.pools = ()
        generations.append(2)
        after = pool.submit(text, page)
        assert all(lookups.acquire(timeout=10) for _ in range(2))
        views.proceed.set()
        assert sample_lines(before.result(10), "cognito_device_info")
        assert not sample_lines(after.result(10), "cognito_device_info")


@pytest.mark.parametrize("chunked", [True, False])
def test_pages_are_rendered_one_at_a_time(chunked: bool) -> None:
    views = BlockingViews(view(user("alice", device("k1"))))
    page = exposition(views, chunked=chunked and SUPPORTS_CHUNKS)
    names = [(), ("cognito_device_info",), ("cognito_user_pool_users",)]
    with ThreadPoolExecutor(6) as pool:
        scrapes = [
            pool.submit(page.page, accept=None, accept_encoding=coding, names=wanted)
            for wanted in names
            for coding in (None, "gzip")
        ]
        assert views.calls.acquire(timeout=10)
        assert not views.calls.acquire(timeout=0.1)
        views.proceed.set()
        assert all(scrape.result(10).body for scrape in scrapes)
    assert views.max_concurrent == 1


def test_concurrent_scrapes_get_whole_pages() -> None:
    users = [user(f"u{number}", device(f"k{number}")) for number in range(50)]
    current = [view(*users)]
    page = exposition(lambda: current)
    with ThreadPoolExecutor(4) as pool:
        scrapes = [pool.submit(text, page, accept=accept) for accept in (None, OPENMETRICS) * 10]
        for scrape in scrapes:
            assert len(sample_lines(scrape.result(30), "cognito_device_info")) == 50
