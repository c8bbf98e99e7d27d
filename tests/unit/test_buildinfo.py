"""Where the revision comes from."""

from __future__ import annotations

import pytest

from exporter.buildinfo import recorded_revision


@pytest.mark.parametrize(
    ("direct_url", "revision"),
    [
        ('{"url": "https://example.com/x.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}', "0a1b2c"),
        ('{"url": "file:///x", "dir_info": {"editable": true}}', "unknown"),
        (None, "unknown"),
    ],
)
def test_the_revision_is_what_the_installer_recorded(direct_url: str | None, revision: str) -> None:
    assert recorded_revision(direct_url) == revision
