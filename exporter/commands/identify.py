"""`identify`: labels of a user name."""

from __future__ import annotations

from collections.abc import Collection

from exporter.collect.identities import make_identity
from exporter.config.settings import PoolSettings, Settings
from exporter.errors import ConfigError
from exporter.model import region_of


def labels(settings: Settings, username: str, pool_ids: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return (pool id, label) pairs of a user name for `pool_ids`, by default for every configured pool.

    A pool that several discovery rules may find has one pair per distinct label. Raises `ConfigError` if a pool with
    identity hmac has no usable key, `ValueError` for an empty name and for a pool that is neither configured nor in the
    Region of a rule.
    """
    if not username:
        raise ValueError("USER is empty, expected a user name")
    pairs: list[tuple[str, str]] = []
    faults: list[str] = []
    for pool in _pools(settings, pool_ids):
        try:
            identity = make_identity(pool, settings.state_path, create_key=False)
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}")
        else:
            pairs.append((pool.id, identity.label(identity.of(pool.id, username))))
    if faults:
        raise ConfigError(faults)
    return list(dict.fromkeys(pairs))


def _pools(settings: Settings, pool_ids: Collection[str]) -> list[PoolSettings]:
    if not pool_ids:
        return list(settings.pools)
    explicit = {pool.id: pool for pool in settings.pools}
    selected: list[PoolSettings] = []
    for pool_id in pool_ids:
        candidates = [explicit[pool_id]] if pool_id in explicit else _by_rules(settings, pool_id)
        if not candidates:
            raise ValueError(f"--pool {pool_id}: not configured, and in no Region of a discovery rule")
        selected += candidates
    return selected


def _by_rules(settings: Settings, pool_id: str) -> list[PoolSettings]:
    """Return the pool as each rule of its Region would configure it; only AWS could tell which rule applies."""
    return [
        rule.pool(pool_id, search.target)
        for rule in settings.discovery
        for search in rule.searches
        if search.target.region == region_of(pool_id)
    ]
