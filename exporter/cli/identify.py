"""`identify`: which label a user name gets."""

from __future__ import annotations

from exporter.config.settings import IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError
from exporter.identity import HmacIdentity, Identity, RawIdentity, read_key


def labels(settings: Settings, username: str) -> list[tuple[str, str]]:
    """The label of a user name in each configured pool, beside the pool id.

    Raises `ConfigError` when pools with identity hmac have no usable key.
    """
    found: list[tuple[str, str]] = []
    faults: list[str] = []
    for pool in settings.pools:
        try:
            identity = _identity(pool)
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}")
        else:
            found.append((pool.id, identity.label(identity.of(pool.id, username))))
    if faults:
        raise ConfigError(faults)
    return found


def _identity(pool: PoolSettings) -> Identity:
    if pool.identity is IdentityMode.RAW:
        return RawIdentity()
    if pool.identity_key_file is None:
        raise ValueError("expected identity_key_file in the configuration")
    return HmacIdentity(read_key(pool.identity_key_file))
