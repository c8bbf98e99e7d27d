"""Deleted users are in no state file, while the program runs and after it was killed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.emulator import Emulator
from tests.fakes import eventually
from tests.harness import Program, config, serving_program

USERS = 30
ERASED_WITHIN = 20.0
"""Timeout in seconds: a sweep, the next batch, and a margin for a busy machine."""


class Lab:
    """Two pools with raw user names, and the state of the program that reads them."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self.directory = directory
        self.stays, self.goes = self._pool("stays"), self._pool("goes")
        self.names = {pool_id: set(emulator.truth(pool_id).users) for pool_id in (self.stays, self.goes)}

    def _pool(self, name: str) -> str:
        return self.emulator.seed_pool(
            name, users=[f"canary-{name}-{number:02d}@example.com" for number in range(USERS)]
        )

    def config(self, *pool_ids: str, identity: str = "raw") -> str:
        return config(
            self.emulator.url, *pool_ids, state="state.db", detail="user", refresh_interval="1s", identity=identity
        )

    def in_files(self, names: Collection[str]) -> set[str]:
        """Return the names in any state file, including free pages and the WAL."""
        content = b"".join(file.read_bytes() for file in self.directory.glob("state.db*") if file.exists())
        return {name for name in names if name.encode() in content}

    def has_read_all(self) -> bool:
        everybody = self.names[self.stays] | self.names[self.goes]
        return self.in_files(everybody) == everybody

    def put_in_force(self, running: Program, text: str) -> None:
        (self.directory / "config.yaml").write_text(text)
        connection = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        try:
            connection.request("POST", "/-/reload")
            assert connection.getresponse().status == 200
        finally:
            connection.close()


def a_user_is_deleted(lab: Lab, running: Program) -> set[str]:
    name = min(lab.names[lab.goes])
    lab.emulator.call("AdminDeleteUser", {"UserPoolId": lab.goes, "Username": name})
    running.after_sweep(lab.goes)
    return {name}


def a_pool_is_removed(lab: Lab, running: Program) -> set[str]:
    lab.put_in_force(running, lab.config(lab.stays))
    return lab.names[lab.goes]


def names_are_hidden(lab: Lab, running: Program) -> set[str]:
    lab.put_in_force(running, lab.config(lab.stays, lab.goes, identity="hmac"))
    running.after_sweep(lab.stays, lab.goes)
    return lab.names[lab.stays] | lab.names[lab.goes]


@pytest.mark.parametrize("erase", [a_user_is_deleted, a_pool_is_removed, names_are_hidden])
def test_deleted_names_are_in_no_state_file(
    emulator: Emulator, tmp_path: Path, erase: Callable[[Lab, Program], set[str]]
) -> None:
    lab = Lab(emulator, tmp_path)
    with serving_program(lab.config(lab.stays, lab.goes), tmp_path, emulator.url, "--web.enable-lifecycle") as running:
        running.after_first_sweep(lab.stays, lab.goes)
        assert eventually(lab.has_read_all, within=10)
        erased = erase(lab, running)
        assert erased
        assert eventually(lambda: not lab.in_files(erased), within=ERASED_WITHIN), lab.in_files(erased)
    assert running.process.returncode == -9  # killed at the end of the context
    assert not lab.in_files(erased)
    with serving_program(running_config(lab), tmp_path, emulator.url) as again:
        again.after_first_sweep(lab.stays)
        assert not lab.in_files(erased)
        assert not again.scrape().value("cognito_exporter_state_errors_total")


def running_config(lab: Lab) -> str:
    return (lab.directory / "config.yaml").read_text()


def test_state_file_becomes_private_before_names_are_written(emulator: Emulator, tmp_path: Path) -> None:
    lab = Lab(emulator, tmp_path)
    (tmp_path / "state.db").touch(mode=0o644)
    with serving_program(lab.config(lab.stays, lab.goes), tmp_path, emulator.url) as running:
        running.after_first_sweep(lab.stays, lab.goes)
        assert eventually(lab.has_read_all, within=10)
        assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("state.db*")} == {0o600}
        assert running.events("tightened state file permissions to owner-only", mode="0644")
