"""The locks install the same packages at any time, with any pip, at each place that installs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.locks import (
    Index,
    Pip,
    build_index,
    development_packages,
    expected,
    installed,
    locked,
    normalized,
    pyproject,
    recorded,
    shipped,
    unpack_pip,
)
from tests.tools import required_tool
from tools.lock_metadata import LOCKS, ROOT, parse_lock

PRODUCTION, DEMO, EVERYTHING = "requirements.lock", "requirements-demo.lock", "requirements-dev.lock"
BUILD, CHECKERS = "requirements-build.lock", "requirements-tools.lock"
ALL_LOCKS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.lock"), *ROOT.glob("tools/*.lock")))

MAKE_RULES = {
    "DEPENDENCIES": (EVERYTHING, ".venv"),
    "DEMO": (DEMO, ".venv-demo"),
    "CHECKERS": (CHECKERS, ".tools/checkers"),
}
"""Variables of the Makefile that name the stamp of an installed lock, with the lock and the environment."""

INCOMPLETE = {EVERYTHING: "pytest-cov", DEMO: "boto3", CHECKERS: "checkov", PRODUCTION: "boto3", BUILD: "hatchling"}
"""A package of each lock that requires others."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build_index(tmp_path_factory.mktemp("index") / "wheels")


@pytest.fixture(scope="module", params=["oldest", "current"])
def pip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pip:
    if request.param == "oldest" and sys.version_info >= (3, 12):
        pytest.skip("the oldest pip runs on Python 3.11 only")
    return unpack_pip(request.param, tmp_path_factory.mktemp("pip") / "unpacked")


def environment(index: Index, lock: str) -> dict[str, str]:
    """Return the variables for pip to find the wheels for a lock and nothing else."""
    # Python's variables are dropped: one of them disables writing bytecode, so pip would be compiled at each start.
    foreign = ("MAKE", "MFLAGS", "PIP_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(index.wheels / lock),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
    }


class Checkout:
    """A folder with the Makefile and the locks of an index, in which make creates environments with a given pip."""

    def __init__(self, directory: Path, index: Index, pip: Pip) -> None:
        self.directory = directory
        self._index = index
        (directory / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", directory)
        shutil.copy(ROOT / "pyproject.toml", directory)
        for name, text in index.locks.items():
            (directory / name).write_text(text, encoding="utf-8")
        stamps = "".join(f"install-{name}: $({name})\n" for name in MAKE_RULES)
        (directory / "install.mk").write_text(stamps, encoding="utf-8")
        create = directory / "tools/create_venv.sh"
        create.write_text('#!/bin/sh\ncp -a environment "$2"\n', encoding="utf-8")
        create.chmod(0o755)
        pip.create_environment(directory / "environment")

    def install(self, rule: str) -> subprocess.CompletedProcess[str]:
        """Run the rule of the Makefile that installs a lock."""
        lock, created = MAKE_RULES[rule]
        shutil.rmtree(self.directory / created, ignore_errors=True)
        (self.directory / ".tools").mkdir(exist_ok=True)
        command = [required_tool("make"), "-f", "Makefile", "-f", "install.mk", f"install-{rule}"]
        variables = environment(self._index, lock)
        return subprocess.run(command, cwd=self.directory, env=variables, capture_output=True, text=True, check=False)


def without_the_rest(index: Index, lock: str) -> str:
    """Return the lock with a single package, which requires others."""
    (line,) = (line for line in index.locks[lock].splitlines() if line.startswith(f"{INCOMPLETE[lock]}=="))
    return line + "\n"


@pytest.mark.parametrize("rule", MAKE_RULES)
def test_make_rule_newer_releases_installs_the_lock(rule: str, index: Index, pip: Pip, tmp_path: Path) -> None:
    lock, directory = MAKE_RULES[rule]
    checkout = Checkout(tmp_path / "checkout", index, pip)
    done = checkout.install(rule)
    assert done.returncode == 0, done.stderr
    assert installed(checkout.directory / directory) == expected(lock)
    assert "No broken requirements found." in done.stdout

    (checkout.directory / lock).write_text(without_the_rest(index, lock), encoding="utf-8")
    done = checkout.install(rule)
    assert done.returncode != 0
    assert f"{INCOMPLETE[lock]} " in done.stdout
    assert "which is not installed." in done.stdout


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the Dockerfile: its variables, those of its base included, and its RUN commands."""

    name: str
    variables: dict[str, str]
    runs: list[str] = field(default_factory=list)


def dockerfile_stages() -> dict[str, Stage]:
    """Return the stages of the Dockerfile by name."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    stages: dict[str, Stage] = {}
    stage = Stage("", {})
    for line in lines:
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(name, dict(stages[base].variables) if base in stages else {})
        elif instruction == "ENV":
            stage.variables.update({name: value for name, _, value in (word.partition("=") for word in rest.split())})
        elif instruction == "RUN":
            stage.runs.append(re.sub(r"--mount=\S+\s+", "", rest))
    return stages


def installing_stages() -> dict[str, Stage]:
    """Return the stages that install a lock."""
    return {name: stage for name, stage in dockerfile_stages().items() if any(".lock" in run for run in stage.runs)}


DOCKER_STAGES = {
    "dependencies": (PRODUCTION, [PRODUCTION], "opt/cognito-device-exporter"),
    "demo-dependencies": (DEMO, [PRODUCTION, DEMO], "opt/cognito-device-exporter"),
    "program": (BUILD, [BUILD], "build/venv"),
}
"""Stages of the Dockerfile with the lock that each installs, those in its environment, and the environment."""


class Container:
    """Folders in place of those of the image, in which the commands run that install a lock."""

    def __init__(self, directory: Path, index: Index, pip: Pip) -> None:
        self.directory = directory
        self._index = index
        self._stages = installing_stages()
        self.build = directory / "build"
        self.build.mkdir(parents=True)
        for name, text in index.locks.items():
            (self.build / name).write_text(text, encoding="utf-8")
        pip.create_environment(self.build / "venv")
        runtime = directory / "opt/cognito-device-exporter"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(runtime)], check=True)

    def install(self, stage: str) -> subprocess.CompletedProcess[str]:
        """Run what a stage does with pip to the lock."""
        (run,) = (run for run in self._stages[stage].runs if ".lock" in run)
        parts = [part.strip() for part in run.split("&&") if "/pip " in part]
        script = re.sub(r"(?<![\w/.])/(build|opt)/", rf"{self.directory}/\1/", " && ".join(parts))
        return subprocess.run(
            [required_tool("sh"), "-c", script],
            env=environment(self._index, DOCKER_STAGES[stage][0]) | self._stages[stage].variables,
            capture_output=True,
            text=True,
            check=False,
        )


def test_dockerfile_newer_releases_installs_the_locks(index: Index, pip: Pip, tmp_path: Path) -> None:
    container = Container(tmp_path / "image", index, pip)
    for stage, (_, locks, directory) in DOCKER_STAGES.items():
        done = container.install(stage)
        assert done.returncode == 0, done.stdout + done.stderr
        assert installed(container.directory / directory) == expected(*locks), stage
        assert "No broken requirements found." in done.stdout


@pytest.mark.parametrize("stage", DOCKER_STAGES)
def test_dockerfile_incomplete_lock_is_rejected(stage: str, index: Index, pip: Pip, tmp_path: Path) -> None:
    container = Container(tmp_path / "image", index, pip)
    lock = DOCKER_STAGES[stage][0]
    (container.build / lock).write_text(without_the_rest(index, lock), encoding="utf-8")
    done = container.install(stage)
    assert done.returncode != 0
    assert "which is not installed." in done.stdout


def test_dockerfile_stages_with_locks_are_all_tested() -> None:
    assert installing_stages().keys() == DOCKER_STAGES.keys()


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command line of the repository that gives pip a list of requirements, with the two lines after it."""
    listed = subprocess.run(
        [required_tool("git"), "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not name or name.endswith((".lock", ".py", "CHANGELOG.md")) or not path.is_file():
            continue
        lines = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8", errors="replace")).splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\s(?:-r|--requirement)[ =]\S+", line) and re.search(r"\bpip\b|\$\(PIP", line):
                yield f"{name}:{line.strip()}", "\n".join(lines[number : number + 3])


def test_every_lock_command_uses_no_deps_and_hashes() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, so the tracked files are unknown")
    found = dict(commands())
    assert {key.partition(":")[0] for key in found} >= {"Makefile", "Dockerfile", "docs/systemd.md"}
    for line, context in found.items():
        assert "--no-deps" in line, line
        assert "--require-hashes" in line or line.startswith("Dockerfile:"), line
        assert "pip download" in line or re.search(r"\bcheck\b", context.partition("install")[2]), line
    assert {stage.variables.get("PIP_REQUIRE_HASHES") for stage in installing_stages().values()} == {"1"}


def test_metadata_describes_the_locked_packages() -> None:
    packages = {str(package) for lock in LOCKS for package in locked(lock.name)}
    assert recorded().keys() == packages, "run `make lock`"


def test_locks_contain_no_urls() -> None:
    assert {PRODUCTION, EVERYTHING, "tools/kube-tools.lock"} < set(ALL_LOCKS)
    assert {name for name in ALL_LOCKS if "://" in (ROOT / name).read_text(encoding="utf-8")} == set()


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_lock_has_version_and_hash_of_every_package(name: str) -> None:
    assert locked(name)


@pytest.mark.parametrize("entry", ["boto3>=1 --hash=sha256:" + "0" * 64, "boto3==1.0", "boto3==1.0 --hash=md5:00"])
def test_lock_entry_without_version_or_hash_is_rejected(entry: str) -> None:
    with pytest.raises(ValueError, match="not pinned"):
        parse_lock(f"# comment\n{entry}\n")


def versions(name: str) -> dict[str, str]:
    return {package.name: package.version for package in locked(name)}


def test_locks_have_the_packages_that_pyproject_requires() -> None:
    dependencies = set(map(normalized, pyproject()["project"]["dependencies"]))
    assert dependencies <= versions(PRODUCTION).keys(), "run `make lock`"
    assert dependencies | {"moto"} <= versions(DEMO).keys(), "run `make lock`"
    assert shipped() | development_packages() <= versions(EVERYTHING).keys(), "run `make lock`"


@pytest.mark.parametrize("name", [PRODUCTION, DEMO, BUILD])
def test_lock_has_the_versions_that_tests_run_on(name: str) -> None:
    everything = versions(EVERYTHING)
    assert {package: everything.get(package) for package in versions(name)} == versions(name), "run `make lock`"


def test_production_and_demo_locks_have_no_development_tools() -> None:
    assert not {"moto", "pytest", "mypy", "ruff"} & versions(PRODUCTION).keys()
    assert not {"hatchling", "pytest", "mypy", "ruff"} & versions(DEMO).keys()
