"""`identify`: which label a user name gets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from exporter.config.settings import IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError
from exporter.identity import HmacIdentity, Identity, RawIdentity, read_key
from exporter.model import region_of


def labels(settings: Settings, username: str, pool_ids: Collection[str] = ()) -> list[tuple[str, str]]:
    """The label of a user name in each configured pool, or in those that are asked for, beside the pool id.

    Of a pool that several rules may find and show in different ways, each label. Raises `ConfigError` when pools with
    identity hmac have no usable key, `ValueError` for an empty name and for a pool that the configuration cannot be
    about.
    """
    if not username:
        raise ValueError("the name of the user is empty, expected one as Cognito has it")
    found: list[tuple[str, str]] = []
    faults: list[str] = []
    for pool in _pools(settings, pool_ids):
        try:
            identity = identity_for(pool, settings.state_path)
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}")
        else:
            found.append((pool.id, identity.label(identity.of(pool.id, username))))
    if faults:
        raise ConfigError(faults)
    return list(dict.fromkeys(found))


def _pools(settings: Settings, pool_ids: Collection[str]) -> list[PoolSettings]:
    if not pool_ids:
        return list(settings.pools)
    explicit = {pool.id: pool for pool in settings.pools}
    chosen: list[PoolSettings] = []
    for pool_id in pool_ids:
        possible = [explicit[pool_id]] if pool_id in explicit else _by_rules(settings, pool_id)
        if not possible:
            raise ValueError(f"--pool {pool_id}: neither in the configuration nor in the Region of one of its rules")
        chosen += possible
    return chosen


def _by_rules(settings: Settings, pool_id: str) -> list[PoolSettings]:
    """The pool as each rule of its Region would have it; only AWS could tell by which of them it is found."""
    return [
        rule.pool(pool_id, search.target)
        for rule in settings.discovery
        for search in rule.searches
        if search.target.region == region_of(pool_id)
    ]


def identity_for(pool: PoolSettings, state_path: Path | None) -> Identity:
    """What the exporter shows for the users of a pool.

    Raises `OSError` or `ValueError`, whose text says what was expected, where identity hmac has no usable key.
    """
    if pool.identity is IdentityMode.RAW:
        return RawIdentity()
    if pool.identity_key_file is not None:
        return HmacIdentity(read_key(pool.identity_key_file))
    if state_path is not None:
        return HmacIdentity(_kept_key(state_path))
    raise ValueError("expected identity_key_file or state.path in the configuration")


def _kept_key(state_path: Path) -> bytes:
    """Return the key that the daemon keeps next to the state file; a new key would match no label."""
    path = state_path.with_name(f"{state_path.name}.key")
    if not path.exists():
        raise ValueError(
            f"expected {path}, which the exporter makes at its first start (found none): start it, "
            "then ask again where its state file is"
        )
    return read_key(path)
