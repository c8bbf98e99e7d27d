"""`identify`: labels of a user name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from exporter.config.settings import IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError
from exporter.identity import HmacIdentity, Identity, RawIdentity, read_key
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
            identity = label_identity(pool, settings.state_path)
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


def label_identity(pool: PoolSettings, state_path: Path | None) -> Identity:
    """Return the identity that labels the users of a pool.

    Raises `OSError` or `ValueError`, whose text says what was expected, if identity hmac has no usable key.
    """
    if pool.identity is IdentityMode.RAW:
        return RawIdentity()
    if pool.identity_key_file is not None:
        return HmacIdentity(read_key(pool.identity_key_file))
    if state_path is None:
        raise ValueError("expected identity_key_file or state.path in the configuration")
    # A new key would make labels that match none of the daemon's.
    path = state_path.with_name(f"{state_path.name}.key")
    if not path.exists():
        raise ValueError(f"{path} does not exist; the exporter creates it next to its state file at its first start")
    return HmacIdentity(read_key(path))
