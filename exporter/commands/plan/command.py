"""`plan`: forecast of the sweeps of the configured pools."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TextIO

import click

from exporter.aws.api import Category, Operation
from exporter.aws.rate.quotas import LIMIT_MANAGEMENT_SECONDS
from exporter.aws.sessions import AwsApis
from exporter.aws.targets import ApiFactory
from exporter.clock import Clock, SystemClock
from exporter.commands.check.preflight import no_such_pool
from exporter.commands.discovery import resolve_discovery
from exporter.commands.plan.document import document
from exporter.commands.plan.forecast import Failed, Forecast, PoolSurvey, forecast
from exporter.commands.plan.survey import SampleSize, survey
from exporter.commands.plan.table import text
from exporter.commands.pool_access import KeptApis, connections, map_concurrently, plain_rates, retrier
from exporter.config.settings import PoolSettings, Settings, Share, TargetSettings
from exporter.errors import AwsError, CredentialsError, Denied, ResourceNotFound
from exporter.observers import Target
from exporter.retry import DEFAULT_RETRY_POLICY, Retrier, RetryPolicy
from exporter.shard import UNSHARDED, Shard
from exporter.stdout import writing_to_stdout

HOLDS, INCOMPLETE, DOES_NOT_HOLD = 0, 1, 3
"""Exit codes; DOES_NOT_HOLD takes precedence over INCOMPLETE."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of the forecast."""

    as_json: bool = False
    effort: SampleSize = field(default_factory=SampleSize)
    shard: Shard = UNSHARDED


def run_plan(
    settings: Settings,
    asked: PlanOptions,
    err: TextIO,
    *,
    make_api: ApiFactory | None = None,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> int:
    """Survey the pools, print the forecast, and return the exit code."""
    apis = KeptApis(make_api or AwsApis())
    seen = resolve_discovery(settings, err, make_api=apis, clock=clock, retry_policy=retry_policy)
    for fault in seen.faults:
        click.echo(fault, file=err)
    of_pools = _Planner(seen.settings, asked, err, apis, clock or SystemClock(), retry_policy).forecast()
    found = replace(of_pools, rules=settings.discovery)
    with writing_to_stdout():
        click.echo(json.dumps(document(found), indent=2) if asked.as_json else text(found))
    if not found.holds:
        return DOES_NOT_HOLD
    return INCOMPLETE if found.failed or seen.faults else HOLDS


class _Planner:
    """Concurrent survey of the pools, and the forecast from it."""

    def __init__(
        self,
        settings: Settings,
        asked: PlanOptions,
        err: TextIO,
        apis: KeptApis,
        clock: Clock,
        retry_policy: RetryPolicy,
    ) -> None:
        self._settings = settings
        self._asked = asked
        self._err = err
        self._cancelled = threading.Event()
        self._apis = apis
        # `_quotas` reads the quotas once, after the survey; the survey itself uses shares of the default quotas.
        rates = plain_rates(settings.limits.rate)
        self._connections = connections(settings.targets, rates, clock, self._apis, shards=asked.shard.count)
        self._ask: Retrier = retrier(retry_policy, self._cancelled)

    def forecast(self) -> Forecast:
        """Return the forecast for all pools that could be surveyed."""
        found = map_concurrently(self._settings.pools, self._look, self._cancelled, self._err)
        known = [one for one in found if isinstance(one, PoolSurvey)]
        failed = [one for one in found if isinstance(one, Failed)]
        return forecast(known, failed, self._settings.limits, self._quotas(known), self._asked.shard)

    def _look(self, pool: PoolSettings) -> PoolSurvey | Failed:
        try:
            reader = self._connections.reader(pool, self._cancelled.is_set)
            return survey(pool, reader, self._asked.shard, self._asked.effort, self._ask)
        except AwsError as error:
            return Failed(pool.id, error.reason, str(error), self._why(pool.target, error))

    def _why(self, target: TargetSettings, error: AwsError) -> str:
        if isinstance(error, ResourceNotFound) and error.operation == Operation.DESCRIBE_USER_POOL:
            return no_such_pool(target.region, self._account(target))
        if isinstance(error, Denied | CredentialsError):  # a forecast may be published, so it names no role
            return f"{error}; check-config --aws says what is missing"
        return str(error)

    def _account(self, target: TargetSettings) -> str | None:
        try:
            return self._ask(self._apis(target).account_id)
        except AwsError:
            return None

    def _quotas(self, known: list[PoolSurvey]) -> Mapping[tuple[Target, Category], float]:
        """Return the quotas of the categories whose rate is a share of the quota, as far as AWS returns them."""
        shared = [Category(name) for name, rate in self._settings.limits.rate.items() if isinstance(rate, Share)]
        ways = {one.target: one.settings.target for one in known} if shared else {}
        look = partial(self._quotas_of, shared)
        found = map_concurrently(list(ways.items()), look, self._cancelled, self._err)
        return {key: quota for quotas in found for key, quota in quotas.items()}

    def _quotas_of(
        self, shared: list[Category], way: tuple[Target, TargetSettings]
    ) -> dict[tuple[Target, Category], float]:
        target, settings = way
        found = {}
        for category in shared:
            try:
                found[target, category] = self._ask(self._asking(settings, category))
            except AwsError:  # the forecast uses AWS's default and says so
                break
            self._cancelled.wait(LIMIT_MANAGEMENT_SECONDS)
        return found

    def _asking(self, settings: TargetSettings, category: Category) -> Callable[[], float]:
        return lambda: self._apis(settings).provisioned_quota(category)
