"""Change of the identity key: no user appears under both keys, and old hashes are removed."""

from __future__ import annotations

from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.emulator import Emulator
from exporter.identity import HmacIdentity
from tests.harness import Exporter, Page, config, identity_key, serving, wait_until

OLD, NEW = "the key of last year", "the key of this year"
USERS = 40


def identities(key: str, pool_id: str, names: list[str]) -> set[bytes]:
    return {HmacIdentity(key.encode()).of(pool_id, name) for name in names}


def labels(page: Page, pool_id: str) -> set[bytes]:
    return {bytes.fromhex(user) for user in page.series("cognito_user_devices", "user", user_pool_id=pool_id)}


def reload(exporter: Exporter) -> int:
    connection = HTTPConnection(urlsplit(exporter.url).netloc, timeout=10)
    try:
        connection.request("POST", "/-/reload")
        return connection.getresponse().status
    finally:
        connection.close()


def in_files(directory: Path, wanted: set[bytes]) -> set[bytes]:
    """Return the identities in any state file, including free pages."""
    content = b"".join(file.read_bytes() for file in directory.glob("state.db*"))
    return {identity for identity in wanted if identity in content}


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_new_key_starts_users_anew_and_removes_old_hashes(emulator: Emulator, tmp_path: Path, how: str) -> None:
    pool_id = emulator.seed_pool("pool", users=USERS)
    names = list(emulator.truth(pool_id).users)
    old, new = identities(OLD, pool_id, names), identities(NEW, pool_id, names)
    key_file = identity_key(tmp_path, OLD)
    text = config(
        emulator.url, pool_id, state="state.db", detail="user", identity_key_file=key_file, refresh_interval="2s"
    )
    with serving(text, tmp_path, emulator.url, lifecycle=True) as exporter:
        assert labels(exporter.after_first_sweep(pool_id), pool_id) == old
        if how == "reload":
            (tmp_path / "config.yaml").write_text(text)
            Path(key_file).write_text(NEW)
            assert reload(exporter) == 200
            assert not labels(exporter.scrape(), pool_id) & old
            assert wait_until(lambda: labels(exporter.scrape(), pool_id) == new)
    if how == "restart":
        assert in_files(tmp_path, old) == old
        Path(key_file).write_text(NEW)
        with serving(text, tmp_path, emulator.url) as exporter:
            assert not labels(exporter.scrape(), pool_id) & old
            assert labels(exporter.after_first_sweep(pool_id), pool_id) == new
    assert in_files(tmp_path, old | new) == new


def test_key_readable_by_others_is_rejected(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=3)
    names = list(emulator.truth(pool_id).users)
    key_file = identity_key(tmp_path, OLD)
    text = config(emulator.url, pool_id, detail="user", identity_key_file=key_file)
    with serving(text, tmp_path, emulator.url, lifecycle=True) as exporter:
        exporter.after_first_sweep(pool_id)
        (tmp_path / "config.yaml").write_text(text)
        Path(key_file).write_text(NEW)
        Path(key_file).chmod(0o644)
        assert reload(exporter) == 500
        assert labels(exporter.scrape(), pool_id) == identities(OLD, pool_id, names)
