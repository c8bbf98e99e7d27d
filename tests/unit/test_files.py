from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.files import NotRegular, read_regular, same_file


def test_same_file_follows_links(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch()
    other.touch()
    assert same_file(one, tmp_path / "." / ".." / tmp_path.name / "one")
    assert not same_file(one, other)
    other.unlink()
    other.symlink_to(one)
    assert same_file(one, other)
    other.unlink()
    other.hardlink_to(one)
    assert same_file(one, other)


def test_same_file_compares_paths_of_missing_files(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    (tmp_path / "link").symlink_to("gone")
    assert same_file(tmp_path / "link", gone)
    assert not same_file(tmp_path / "other", gone)
    (tmp_path / "other").touch()
    assert not same_file(tmp_path / "other", gone)
    assert not same_file(gone, tmp_path / "other")


def test_same_file_accepts_circular_links(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert not same_file(tmp_path / "one", tmp_path / "three")


def test_read_regular_returns_limited_content_and_status(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    path.chmod(0o640)
    content, status = read_regular(path, 4)
    assert (content, status.st_mode & 0o777, status.st_size) == (b"0123", 0o640, 10)


@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_read_regular_rejects_other_files(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pipe" if what == "a pipe" else Path(os.devnull)
    with pytest.raises(NotRegular, match=f"^{what}, expected a regular file$"):
        read_regular(path, 4)
