"""Content of a state file, actual and expected."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from exporter.collect.records import HEADER_SIZE, decode_devices
from exporter.emulator import Emulator
from exporter.identity import HmacIdentity, read_key
from exporter.model import Device


def in_file(path: Path) -> dict[bytes, tuple[Device, ...]]:
    """Return every user in the state file, by identity."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT identity, record FROM users").fetchall()
    return {identity: decode_devices(record[HEADER_SIZE:]) for identity, record in rows}


def expected(emulator: Emulator, pool_id: str, key: Path) -> Mapping[bytes, tuple[Device, ...]]:
    """Return every user of the emulator's pool, by identity under the key."""
    identity = HmacIdentity(read_key(key))
    return {identity.of(pool_id, name): devices for name, devices in emulator.truth(pool_id).users.items()}
