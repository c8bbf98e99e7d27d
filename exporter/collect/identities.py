"""Identity of each pool's users, and the key that is stored next to the state file."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

import structlog

from exporter.config.settings import Detail, IdentityMode, PoolSettings
from exporter.identity import HmacIdentity, Identity, RawIdentity, read_key

KEY_BYTES = 32

log = structlog.get_logger()


def make_identity(settings: PoolSettings, state_path: Path | None, *, create_key: bool = True) -> Identity:
    """Return the identity for a pool's settings.

    Without a key file, the key is stored next to the state file. Without a state file, the key is random and kept in
    memory only. At detail level `pool`, a random key also replaces a stored key that cannot be read or created.

    With `create_key` False, only a key that the daemon uses, too, is accepted: a new key would make labels that match
    none of the daemon's.

    Raises `OSError` or `ValueError`, whose text says what was expected, if there is no usable key.
    """
    if settings.identity is IdentityMode.RAW:
        return RawIdentity()
    if settings.identity_key_file is not None:
        return HmacIdentity(read_key(settings.identity_key_file))
    if state_path is None:
        if not create_key:
            raise ValueError("expected identity_key_file or state.path in the configuration")
        return HmacIdentity(secrets.token_bytes(KEY_BYTES))
    try:
        return HmacIdentity(stored_identity_key(state_path, create=create_key))
    except (OSError, ValueError) as error:
        if not create_key or settings.detail is not Detail.POOL:
            raise
        log.error("cannot store identity key; the next start cannot restore the state of these users", error=str(error))
        return HmacIdentity(secrets.token_bytes(KEY_BYTES))


def stored_identity_key(state_path: Path, *, create: bool = True) -> bytes:
    """Return the identity key that is stored next to the state file, after creating it if `create` is True.

    Raises `OSError` or `ValueError` if it does not exist or cannot be created or read.
    """
    path = state_path.with_name(f"{state_path.name}.key")
    if not path.exists():
        if not create:
            raise ValueError(
                f"{path} does not exist; the exporter creates it next to its state file at its first start"
            )
        _create_key(path)
    return read_key(path)


def _create_key(path: Path) -> None:
    """Create the key file atomically. A key that another process has just created is kept."""
    # An unpredictable name prevents others from placing a file or link there in advance.
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(number, "wb") as file:  # noqa: PTH123 - opens a descriptor
            file.write(secrets.token_hex(KEY_BYTES).encode())
            file.flush()
            os.fsync(number)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
