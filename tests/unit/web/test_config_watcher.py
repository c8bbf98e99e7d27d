from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from exporter.config.web.load import load_web_settings, stamp_at
from exporter.config.web.settings import Stamp, WebSettings
from exporter.errors import ConfigError
from exporter.web.config_watcher import LOOK_SECONDS, SETTLE_SECONDS, WebConfig
from tests.fakes import ManualClock

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
PACED = "rate_limit: {{interval: 1s, burst: {}}}\n"


class Scene:
    """A file, its configuration and a clock; changes are counted."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.file = directory / "web.yml"
        self.changes = 0
        self.write(1, age=7200.0)  # another age than what is written next, or that would pass for the same file
        self.config = WebConfig(self.file, self.clock, on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def write(self, burst: int | str, age: float = 3600.0) -> None:
        self.file.write_text(PACED.format(burst))
        os.utime(self.file, (0, self.clock.wall() - age))

    @property
    def burst(self) -> int:
        limit = self.config.current().rate_limit
        assert limit is not None
        return limit.burst


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_files_are_looked_at_once_a_second(scene: Scene) -> None:
    scene.write(20)
    assert scene.burst == 1
    scene.clock.advance(LOOK_SECONDS - 0.01)
    assert scene.burst == 1
    scene.clock.advance(0.01)
    assert scene.burst == 20
    assert scene.config.in_force.rate_limit == scene.config.current().rate_limit
    assert scene.changes == 1


def test_an_unchanged_file_is_not_read_again(scene: Scene) -> None:
    before = scene.config.current()
    scene.clock.advance(10 * LOOK_SECONDS)
    assert scene.config.current() is before
    assert scene.changes == 0


def test_a_file_that_was_just_written_may_be_incomplete_and_is_waited_for(scene: Scene) -> None:
    scene.clock.advance(LOOK_SECONDS)
    scene.write(20, age=SETTLE_SECONDS / 2)
    assert scene.burst == 1
    scene.clock.advance(LOOK_SECONDS)
    assert scene.burst == 20


def test_a_file_from_the_future_is_not_waited_for(scene: Scene) -> None:
    scene.clock.advance(LOOK_SECONDS)
    scene.write(20, age=-3600)
    assert scene.burst == 20


def test_a_file_that_goes_away_leaves_what_was_in_force_and_is_told_once(scene: Scene) -> None:
    scene.file.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            scene.clock.advance(LOOK_SECONDS)
            assert scene.burst == 1
        scene.write(20)
        scene.clock.advance(LOOK_SECONDS)
        assert scene.burst == 20
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert scene.changes == 1


def test_a_trouble_that_comes_again_is_told_again(scene: Scene) -> None:
    with capture_logs() as logs:
        for burst in ("x", "x", 2, "x"):
            scene.write(burst)
            scene.clock.advance(LOOK_SECONDS)
            scene.config.current()
    assert [entry["log_level"] for entry in logs] == ["error", "info", "error"]


def test_a_reload_reads_at_once_and_puts_in_force_when_told(scene: Scene) -> None:
    scene.write(20, age=0)
    put_in_force = scene.config.read()
    assert scene.burst == 1
    put_in_force()
    assert scene.burst == 20
    assert scene.changes == 1
    assert scene.config.files() == (scene.file,)


def test_a_reload_of_a_wrong_file_says_why_and_changes_nothing(scene: Scene) -> None:
    scene.write("x")
    with pytest.raises(ConfigError, match=r"web\.yml:1: rate_limit\.burst: wrong type"):
        scene.config.read()
    assert scene.config.in_force.rate_limit is not None
    assert scene.changes == 0


def test_what_a_reload_was_refused_for_is_not_told_again_by_a_request(scene: Scene) -> None:
    scene.write("x")
    with pytest.raises(ConfigError):
        scene.config.read()
    with capture_logs() as logs:
        for burst in ("x", "x", "y", 2, "x"):
            scene.write(burst)
            scene.clock.advance(LOOK_SECONDS)
            scene.config.current()
    assert [entry["log_level"] for entry in logs] == ["error", "info", "error"]


def test_a_wrong_file_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        WebConfig(tmp_path / "none.yml", ManualClock())


def test_a_file_that_comes_back_as_it_was_ends_the_trouble(scene: Scene) -> None:
    away = scene.file.with_suffix(".away")
    with capture_logs() as logs:
        for come, go in ((scene.file, away), (away, scene.file), (scene.file, away)):
            come.rename(go)
            scene.clock.advance(LOOK_SECONDS)
            scene.config.current()
    assert [entry["log_level"] for entry in logs] == ["error", "info", "error"]


def test_a_file_of_this_very_moment_is_waited_for_and_one_that_has_settled_is_not(scene: Scene) -> None:
    scene.clock.advance(LOOK_SECONDS)
    scene.write(20, age=0)
    assert scene.burst == 1
    scene.clock.advance(max(LOOK_SECONDS, SETTLE_SECONDS))
    scene.write(20, age=SETTLE_SECONDS)
    assert scene.burst == 20


def test_after_a_change_too_an_unchanged_file_is_not_read_again(scene: Scene) -> None:
    scene.write(20)
    for _ in range(5):
        scene.clock.advance(LOOK_SECONDS)
        assert scene.burst == 20
    assert scene.changes == 1


@pytest.mark.timeout(20)
def test_while_the_files_are_read_everybody_else_goes_by_what_is_in_force(tmp_path: Path) -> None:
    file, clock = tmp_path / "web.yml", ManualClock()
    file.write_text("{}\n")
    meanwhile: list[WebSettings] = []
    config = WebConfig(file, clock, on_change=lambda: meanwhile.append(config.current()))
    file.write_text("{} # changed\n")
    os.utime(file, (0, 0))
    clock.advance(LOOK_SECONDS)
    assert config.current() is meanwhile[0]


def test_the_log_says_what_is_in_force_and_what_is_doubtful_and_names_no_user(tmp_path: Path) -> None:
    file, clock = tmp_path / "web.yml", ManualClock()
    ca = trustme.CA()
    expired = ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    (tmp_path / "server.pem").write_bytes(expired.private_key_and_cert_chain_pem.bytes())
    certificate = "cert_file: server.pem, key_file: server.pem"
    said = {"log_level": "info", "path": str(file)}
    with capture_logs() as logs:
        file.write_text("{}\n")
        config = WebConfig(file, clock)
        for client in ("", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"):
            file.write_text(f"tls_server_config: {{{certificate}{client}}}\nbasic_auth_users: {{alice: {HASH}}}\n")
            config.read()()
    expected = [
        {"event": "web configuration read", "tls": False, "client_certificates": False, "users": 0, **said},
        {"event": "web configuration read again", "tls": True, "client_certificates": False, "users": 1, **said},
        {"event": "web configuration read again", "tls": True, "client_certificates": True, "users": 1, **said},
    ]
    doubtful = {
        "event": "web configuration is doubtful",
        "reason": "clients will not accept the certificate: certificate has expired",
        "log_level": "warning",
        "path": str(file),
    }
    assert logs == [expected[0], expected[1], doubtful, expected[2], doubtful]


def test_the_log_says_why_a_file_is_not_put_in_force(scene: Scene) -> None:
    scene.clock.advance(LOOK_SECONDS)
    scene.write("x")
    with capture_logs() as logs:
        scene.config.current()
    with pytest.raises(ConfigError) as caught:
        scene.config.read()
    assert logs == [
        {
            "event": "web configuration is wrong, what was in force stays",
            "log_level": "error",
            "path": str(scene.file),
            "error": str(caught.value),
        }
    ]


def test_another_file_of_the_same_size_and_time_is_a_change(scene: Scene) -> None:
    before = scene.file.stat()
    other = scene.file.with_suffix(".new")
    other.write_text(PACED.format(2))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(scene.file)
    assert scene.file.stat().st_size == before.st_size
    scene.clock.advance(LOOK_SECONDS)
    assert scene.burst == 2


def test_a_stamp_names_the_file_system_and_who_may_read_too(scene: Scene) -> None:
    status = scene.file.stat()
    assert stamp_at(scene.file) == Stamp(
        modified_ns=status.st_mtime_ns,
        size=status.st_size,
        inode=status.st_ino,
        device=status.st_dev,
        mode=status.st_mode,
        owner=status.st_uid,
        group=status.st_gid,
    )
    assert stamp_at(scene.file.with_name("none")) is None


class Counted(WebConfig):
    """Counts how often the files are read, changed or not."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.readings = 0
        super().__init__(path, clock, load=self._counted)

    def _counted(self, path: Path) -> WebSettings:
        self.readings += 1
        return load_web_settings(path)


LACKING = "tls_server_config: {cert_file: server.pem, key_file: server.pem}\n"


@pytest.fixture
def lacking(tmp_path: Path) -> tuple[Counted, ManualClock, Path]:
    """A configuration whose file has begun to name a file that is not there, as it was found out a second later."""
    file, clock = tmp_path / "web.yml", ManualClock()
    file.write_text("{}\n")
    config = Counted(file, clock)
    file.write_text(LACKING)
    look(config, clock, file)
    assert config.readings == 2
    return config, clock, tmp_path / "server.pem"


def look(config: WebConfig, clock: ManualClock, changed: Path | None = None) -> WebSettings:
    """The settings after a look; a file that was changed has settled by then."""
    if changed is not None:
        os.utime(changed, (0, clock.wall() - 3600))
    clock.advance(LOOK_SECONDS)
    return config.current()


def test_a_wrong_file_is_not_read_again_before_it_or_what_it_names_has_changed(
    lacking: tuple[Counted, ManualClock, Path],
) -> None:
    config, clock, _ = lacking
    for _ in range(10):
        assert look(config, clock).tls is None
    assert config.readings == 2


def test_a_file_that_is_named_and_comes_later_is_read_when_it_is_there(
    lacking: tuple[Counted, ManualClock, Path],
) -> None:
    config, clock, missing = lacking
    missing.write_text("no certificate")
    assert look(config, clock, missing).tls is None
    assert config.readings == 3
    missing.write_bytes(trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
    assert look(config, clock, missing).tls is not None
    assert config.readings == 4
    look(config, clock)
    assert config.readings == 4


def test_another_mode_of_a_file_may_mend_it(lacking: tuple[Counted, ManualClock, Path]) -> None:
    config, clock, missing = lacking
    missing.write_text("no certificate")
    look(config, clock, missing)
    missing.chmod(0o600)
    look(config, clock)
    assert config.readings == 4


def test_what_a_reload_was_refused_for_is_not_read_again_by_a_request(tmp_path: Path) -> None:
    file, clock = tmp_path / "web.yml", ManualClock()
    file.write_text("{}\n")
    config = Counted(file, clock)
    file.write_text(LACKING)
    os.utime(file, (0, 0))
    with pytest.raises(ConfigError):
        config.read()
    assert config.files() == (file, tmp_path / "server.pem")
    for _ in range(3):
        look(config, clock)
    assert config.readings == 2
    file.write_text("{}\n")
    look(config, clock, file)
    assert config.readings == 3
    assert config.files() == (file,)
