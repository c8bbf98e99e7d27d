"""Sources of the revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.buildinfo import built_revision, recorded_revision


@pytest.mark.parametrize(
    ("direct_url", "revision"),
    [
        ('{"url": "https://example.com/x.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}', "0a1b2c"),
        ('{"url": "file:///x", "dir_info": {"editable": true}}', "unknown"),
        (None, "unknown"),
    ],
)
def test_revision_is_the_one_the_installer_recorded(direct_url: str | None, revision: str) -> None:
    assert recorded_revision(direct_url) == revision


def test_revision_written_by_the_build_is_read(tmp_path: Path) -> None:
    (tmp_path / "revision").write_text("0a1b2c\n")
    assert built_revision(tmp_path) == "0a1b2c"


def test_revision_not_written_by_the_build_is_empty(tmp_path: Path) -> None:
    assert built_revision(tmp_path) == ""
