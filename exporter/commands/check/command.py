"""`check-config --aws`: report of the AWS permissions that the configuration needs and lacks."""

from __future__ import annotations

import threading
from typing import TextIO

import click

from exporter.aws.permissions import Use, uses
from exporter.aws.sessions import ApiFactory, AwsApis
from exporter.clock import Clock, SystemClock
from exporter.collect.sweeping.workers import PATIENCE, Patience
from exporter.commands.check.preflight import Finding, Way, fault_of_target, preflight
from exporter.commands.discovery import discovered
from exporter.commands.pool_access import KeptApis, connections, of_each, patiently, plain_rates
from exporter.config.settings import PoolSettings, Settings
from exporter.errors import AwsError
from exporter.stdout import writing_to_stdout

COMPLETE, MISSING = 0, 1
"""Exit codes; an invalid configuration exits with 2."""


def check_aws(
    settings: Settings,
    err: TextIO,
    *,
    make_api: ApiFactory | None = None,
    clock: Clock | None = None,
    patience: Patience = PATIENCE,
) -> int:
    """Check what every pool needs, print each distinct finding once, and return the exit code."""
    apis = KeptApis(make_api or AwsApis())
    seen = discovered(settings, err, make_api=apis, clock=clock, patience=patience)
    settings = seen.settings
    found = _Checker(settings, apis, clock or SystemClock(), patience).findings(err)
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

    def __init__(self, settings: Settings, apis: KeptApis, clock: Clock, patience: Patience) -> None:
        self._settings = settings
        self._cancelled = threading.Event()
        self._apis = apis
        rates = plain_rates(settings.limits.rate)
        self._connections = connections(settings.targets, rates, clock, self._apis)
        self._ask = patiently(patience, self._cancelled)

    def findings(self, err: TextIO) -> list[list[Finding]]:
        """Return the findings of each pool, in configuration order."""
        pools = self._settings.pools
        first = {pool.target: pool.id for pool in reversed(pools)}
        looks = [
            (use, pool, first[pool.target] == pool.id) for use, pool in zip(uses(self._settings), pools, strict=True)
        ]
        return of_each(looks, self._look, self._cancelled, err)

    def _look(self, look: tuple[Use, PoolSettings, bool]) -> list[Finding]:
        use, pool, quotas = look
        try:
            reader = self._connections.reader(pool, self._cancelled.is_set)
            return preflight(use, Way(reader, self._apis(pool.target), self._ask), quotas=quotas)
        except AwsError as error:  # raised while the client is created
            return [Finding(fault_of_target(use, error))]
