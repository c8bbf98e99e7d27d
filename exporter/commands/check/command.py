"""`check-config --aws`: report of the AWS permissions that the configuration needs and lacks."""

from __future__ import annotations

import threading
from typing import TextIO

import click

from exporter.aws.permissions import AccessNeed, access_needs
from exporter.aws.sessions import AwsApis
from exporter.aws.targets import ApiFactory
from exporter.clock import Clock, SystemClock
from exporter.commands.check.preflight import Finding, PoolAccess, fault_of_target, preflight
from exporter.commands.discovery import resolve_discovery
from exporter.commands.pool_access import KeptApis, connections, map_concurrently, plain_rates, retrier
from exporter.config.settings import PoolSettings, Settings
from exporter.errors import AwsError
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.stdout import writing_to_stdout

COMPLETE, MISSING = 0, 1
"""Exit codes; an invalid configuration exits with 2."""


def check_aws(
    settings: Settings,
    err: TextIO,
    *,
    make_api: ApiFactory | None = None,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> int:
    """Check what every pool needs, print each distinct finding once, and return the exit code."""
    apis = KeptApis(make_api or AwsApis())
    seen = resolve_discovery(settings, err, make_api=apis, clock=clock, retry_policy=retry_policy)
    settings = seen.settings
    found = _Checker(settings, apis, clock or SystemClock(), retry_policy).findings(err)
    pools_of: dict[Finding, list[str]] = {}
    for pool, findings in zip(settings.pools, found, strict=True):
        for finding in findings:
            pools_of.setdefault(finding, []).append(pool.id)
    for finding, pool_ids in pools_of.items():
        click.echo(f"{', '.join(pool_ids)}: {finding.text}", file=err)
    for fault in seen.faults:
        click.echo(fault, file=err)
    if seen.faults or any(finding.is_fault for finding in pools_of):
        return MISSING
    with writing_to_stdout():
        click.echo(f"AWS: OK ({len(settings.pools)} of {len(settings.pools)} pools can be read)")
    return COMPLETE


class _Checker:
    """Concurrent check of all pools."""

    def __init__(self, settings: Settings, apis: KeptApis, clock: Clock, retry_policy: RetryPolicy) -> None:
        self._settings = settings
        self._cancelled = threading.Event()
        self._apis = apis
        rates = plain_rates(settings.limits.rate)
        self._connections = connections(settings.targets, rates, clock, self._apis)
        self._ask = retrier(retry_policy, self._cancelled)

    def findings(self, err: TextIO) -> list[list[Finding]]:
        """Return the findings of each pool, in configuration order."""
        pools = self._settings.pools
        first = {pool.target: pool.id for pool in reversed(pools)}
        looks = [
            (use, pool, first[pool.target] == pool.id)
            for use, pool in zip(access_needs(self._settings), pools, strict=True)
        ]
        return map_concurrently(looks, self._look, self._cancelled, err)

    def _look(self, look: tuple[AccessNeed, PoolSettings, bool]) -> list[Finding]:
        use, pool, quotas = look
        try:
            reader = self._connections.reader(pool, self._cancelled.is_set)
            return preflight(use, PoolAccess(reader, self._apis(pool.target), self._ask), quotas=quotas)
        except AwsError as error:  # raised while the client is created
            return [Finding(fault_of_target(use, error))]
