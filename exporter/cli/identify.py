"""`identify`: which label a user name gets."""

from __future__ import annotations

from pathlib import Path

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
            identity = _identity(pool, settings.state_path)
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}")
        else:
            found.append((pool.id, identity.label(identity.of(pool.id, username))))
    if faults:
        raise ConfigError(faults)
    return found


def _identity(pool: PoolSettings, state_path: Path | None) -> Identity:
    if pool.identity is IdentityMode.RAW:
        return RawIdentity()
    if pool.identity_key_file is not None:
        return HmacIdentity(read_key(pool.identity_key_file))
    if state_path is not None:
        return HmacIdentity(_kept_key(state_path))
    raise ValueError("expected identity_key_file or state.path in the configuration")


def _kept_key(state_path: Path) -> bytes:
    """The key that `exporter.collect.recovery` keeps beside the state file; a key made here would fit no label."""
    path = state_path.with_name(f"{state_path.name}.key")
    if not path.exists():
        raise ValueError(
            f"expected {path}, which the exporter makes at its first start (found none): start it, "
            "then ask again where its state file is"
        )
    return read_key(path)
