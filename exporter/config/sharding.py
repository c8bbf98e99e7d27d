"""What the configuration must hold when several processes share the pools."""

from __future__ import annotations

from exporter.config.settings import Detail, IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError
from exporter.shard import Shard


def require_shared_keys(settings: Settings, shard: Shard) -> None:
    """Check that every shard gives a user the same label.

    A key kept beside the state file will not do, because each shard has a state file of its own. Raises
    `ConfigError` with a fault for each pool whose labels would not agree.
    """
    if shard.count == 1:
        return
    faults = [
        f"{pool.id or 'discovery'}: --shard {shard} with identity hmac and detail {pool.detail} needs a key that all "
        "shards share, expected identity_key_file"
        for pool in settings.all_pool_settings
        if _labels_differ(pool)
    ]
    if faults:
        raise ConfigError(faults)


def _labels_differ(pool: PoolSettings) -> bool:
    keyless = pool.identity is IdentityMode.HMAC and pool.identity_key_file is None
    return keyless and pool.detail is not Detail.POOL
