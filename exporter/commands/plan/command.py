"""`plan`: forecast of the sweeps of the configured pools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import click

from exporter.aws.api import Category
from exporter.aws.rate.quotas import LIMIT_MANAGEMENT_SECONDS
from exporter.commands.aws_access import AwsAccess, default_rates
from exporter.commands.discovery import resolve_discovery
from exporter.commands.plan.forecast import PoolSurvey, Quotas, forecast
from exporter.commands.plan.survey import SampleSize, survey
from exporter.commands.plan.table import text
from exporter.config.settings import PoolSettings, Settings, Share, TargetSettings
from exporter.errors import AwsError
from exporter.observers import Target
from exporter.shard import UNSHARDED, Shard
from exporter.stdout import writing_to_stdout

HOLDS, INCOMPLETE, DOES_NOT_HOLD = 0, 1, 3
"""Exit codes; DOES_NOT_HOLD takes precedence over INCOMPLETE."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of the forecast."""

    as_json: bool = False
    sample_size: SampleSize = field(default_factory=SampleSize)
    shard: Shard = UNSHARDED


def run_plan(settings: Settings, options: PlanOptions, access: AwsAccess) -> int:
    """Survey the pools, print the forecast, and return the exit code."""
    resolved = resolve_discovery(settings, access)
    for message in resolved.errors:
        click.echo(message, err=True)
    # The survey uses shares of the default quotas; the quotas themselves are read once, after it.
    rates = default_rates(settings.limits.rate)
    clients = access.clients(resolved.settings.targets, rates, shards=options.shard.count)

    def survey_pool(pool: PoolSettings) -> PoolSurvey | AwsError:
        try:
            reader = clients.reader(pool, access.cancelled.is_set)
            return survey(pool, reader, options.shard, options.sample_size, access.retry)
        except AwsError as error:
            return error

    pools = resolved.settings.pools
    results = access.map(survey_pool, pools)
    surveys = [result for result in results if isinstance(result, PoolSurvey)]
    failed = [
        {"user_pool_id": pool.id, "reason": result.reason.value, "error": str(result)}
        for pool, result in zip(pools, results, strict=True)
        if isinstance(result, AwsError)
    ]
    document = forecast(surveys, failed, settings, _read_quotas(settings, surveys, access), options.shard)
    if options.as_json:
        rounded = json.loads(json.dumps(document), parse_float=lambda number: round(float(number), 3))
        output = json.dumps(rounded, indent=2)
    else:
        output = text(document)
    with writing_to_stdout():
        click.echo(output)
    if not document["holds"]:
        return DOES_NOT_HOLD
    return INCOMPLETE if failed or resolved.errors else HOLDS


def _read_quotas(settings: Settings, surveys: Sequence[PoolSurvey], access: AwsAccess) -> Quotas:
    """Return the quotas of the categories whose rate is a share of the quota, as far as AWS returns them."""
    categories = [Category(name) for name, rate in settings.limits.rate.items() if isinstance(rate, Share)]
    targets = {survey.target: survey.settings.target for survey in surveys} if categories else {}

    def read(item: tuple[Target, TargetSettings]) -> dict[tuple[Target, Category], float]:
        quotas: dict[tuple[Target, Category], float] = {}
        for category in categories:
            try:
                quotas[item[0], category] = access.retry(partial(access.api(item[1]).provisioned_quota, category))
            except AwsError:  # the forecast uses the documented default and says so
                break
            access.cancelled.wait(LIMIT_MANAGEMENT_SECONDS)
        return quotas

    return {key: quota for quotas in access.map(read, list(targets.items())) for key, quota in quotas.items()}
