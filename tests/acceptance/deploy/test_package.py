"""Wheel and sdist: content, reproducibility, and that tests run on the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

import exporter
from exporter.buildinfo import built_revision
from tests.tools import required_tool

ROOT = Path(__file__).parents[3]
RULES = "cognito-device-exporter.rules.yaml"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def build(source: Path, into: Path, *, revision: str = REVISION, epoch: str | None = None) -> tuple[Path, Path]:
    """Build wheel and sdist of a copy of a source tree, and return their paths."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SOURCE_DATE_EPOCH"}}
    told = {"BUILD_REVISION": revision} | ({"SOURCE_DATE_EPOCH": epoch} if epoch else {})
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(into)]
    done = subprocess.run(command, cwd=source, env=kept | told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return wheel, sdist


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def unpacked(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the sdist and return the source tree."""
    directory = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built[1]) as archive:
        archive.extractall(directory, filter="data")
    (tree,) = directory.iterdir()
    return tree


def test_wheel_has_only_the_program(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        rules = wheel.read(f"exporter/bundled/{RULES}")
        licenses = [name for name in names if name.endswith("licenses/LICENSE")]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"exporter", "cognito_device_exporter"}
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exporter").rglob("*") if path.is_file()}
    source = {name for name in source if "/__pycache__/" not in name}
    assert "exporter/py.typed" in source
    assert {name for name in names if name.startswith("exporter/")} == source | {
        "exporter/revision",
        f"exporter/bundled/{RULES}",
    }
    assert rules == (ROOT / "grafana/prometheus" / RULES).read_bytes()
    assert licenses


def test_wheel_has_the_rules_for_the_demo(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - a zip, and our own
    where = "from exporter.commands.demo.prometheus import rules_file; print(rules_file().read_text())"
    done = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    rules = (ROOT / "grafana/prometheus" / RULES).read_text(encoding="utf-8")
    assert done.stdout.rstrip("\n") == rules.rstrip("\n")


def test_sdist_has_the_files_under_version_control(unpacked: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, so it is unknown which files belong to the repository")
    command = [required_tool("git"), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    committed = {name for name in listed if name and (ROOT / name).is_file()}
    packed = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert packed == committed | {"PKG-INFO", "exporter/revision"}


def test_build_is_reproducible(built: tuple[Path, Path], tmp_path: Path) -> None:
    again = build(ROOT, tmp_path)
    assert [digest(path) for path in again] == [digest(path) for path in built]
    assert [path.name for path in again] == [path.name for path in built]


def test_sdist_builds_the_same_wheel_as_the_checkout(built: tuple[Path, Path], unpacked: Path, tmp_path: Path) -> None:
    wheel, _ = build(unpacked, tmp_path, revision="")
    assert digest(wheel) == digest(built[0])


def test_build_uses_source_date_epoch(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = build(ROOT, tmp_path, epoch="1700000000")
    assert digest(wheel) != digest(built[0])
    with zipfile.ZipFile(wheel) as archive:
        assert {entry.date_time[:3] for entry in archive.infolist()} == {(2023, 11, 14)}
    with tarfile.open(sdist) as archive:
        assert {entry.mtime for entry in archive} == {1700000000}


def test_build_uses_the_given_revision(built: tuple[Path, Path], tmp_path: Path) -> None:
    assert built_revision(zipfile.Path(built[0], "exporter/")) == REVISION
    untold, _ = build(ROOT, tmp_path, revision="")
    assert built_revision(zipfile.Path(untold, "exporter/")) == ""


# Code under test


@pytest.fixture
def wheel_under_test() -> Path:
    """Return where `make acceptance` has installed the wheel."""
    path = os.environ.get("WHEEL_UNDER_TEST")
    if path:
        return Path(path)
    if os.environ.get("CI") == "true":
        pytest.fail("tests run on the source tree, expected on the wheel as `make acceptance` runs them")
    pytest.skip("tests run on the source tree: `make acceptance` runs them on the wheel")


def test_tests_import_the_wheel(wheel_under_test: Path) -> None:
    assert Path(exporter.__file__).is_relative_to(wheel_under_test)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param([sys.executable, "-m", "exporter"], id="python -m exporter"),
        pytest.param([str(Path(sys.executable).with_name("cognito-device-exporter"))], id="console script"),
    ],
)
def test_programs_of_tests_run_from_the_wheel(wheel_under_test: Path, program: list[str]) -> None:
    told = subprocess.run(
        [*program, "--version"],
        env={**os.environ, "PYTHONVERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [line for line in told.stderr.splitlines() if "exporter/cli.py" in line]
    assert loaded
    assert all(str(wheel_under_test) in line for line in loaded)
