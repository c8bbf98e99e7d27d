from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from exporter.collect.identities import make_identity, stored_identity_key
from exporter.config.settings import Detail, IdentityMode
from tests.unit.collect.listed_pools import POOL_ID, settings


def test_identity_key_is_created_once_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    before = os.umask(0)
    try:
        key = stored_identity_key(path)
    finally:
        os.umask(before)
    assert len(key) == 64
    assert stored_identity_key(path) == key
    assert (tmp_path / "state.db.key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["state.db.key"]


def test_concurrent_starts_share_one_identity_key(tmp_path: Path) -> None:
    path, keys = tmp_path / "state.db", set()
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait(10)
        keys.add(stored_identity_key(path))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert keys == {stored_identity_key(path)}
    assert [file.name for file in tmp_path.iterdir()] == ["state.db.key"]


def test_identity_key_is_not_written_through_links(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch(mode=0o644)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / f"state.db.key.{os.getpid()}").symlink_to(theirs)  # a name that could be known
    (kept / "state.db.key").symlink_to(theirs)
    with pytest.raises(ValueError, match=r"expected mode 0600|expected mode 0640|expected a key of"):
        stored_identity_key(kept / "state.db")
    assert theirs.read_bytes() == b""


def test_identity_key_accessible_to_others_raises(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    key = stored_identity_key(path)
    (tmp_path / "state.db.key").chmod(0o644)
    with pytest.raises(ValueError, match=r"found 0644: others could read the key$"):
        stored_identity_key(path)
    (tmp_path / "state.db.key").chmod(0o600)
    assert stored_identity_key(path) == key


def test_identity_key_in_missing_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        stored_identity_key(tmp_path / "nowhere" / "state.db")


def test_stored_key_without_create_raises_if_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        stored_identity_key(tmp_path / "state.db", create=False)
    assert not list(tmp_path.iterdir())


def test_make_identity_without_create_uses_the_stored_key(tmp_path: Path) -> None:
    pool, path = settings(identity=IdentityMode.HMAC), tmp_path / "state.db"
    created = make_identity(pool, path)
    assert make_identity(pool, path, create_key=False).of(POOL_ID, "ann") == created.of(POOL_ID, "ann")


@pytest.mark.parametrize("detail", Detail)
def test_make_identity_without_create_raises_without_key(tmp_path: Path, detail: Detail) -> None:
    pool = settings(identity=IdentityMode.HMAC, detail=detail)
    with pytest.raises(ValueError, match=r"expected identity_key_file or state\.path"):
        make_identity(pool, None, create_key=False)
    with pytest.raises(ValueError, match="does not exist"):
        make_identity(pool, tmp_path / "state.db", create_key=False)
