"""Content of the image, and its containers with the least privileges."""

from __future__ import annotations

import json
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from exporter.emulator import Emulator
from tests.acceptance.deploy.containers import HARDENING, ROOT, Container, image, podman, require_containers, running
from tests.fakes import eventually
from tests.harness import ACCOUNT, Exporter, config, free_port, pool, wait_until
from tests.tools import required_tool
from tests.truth import assert_correct

pytestmark = pytest.mark.timeout(600)

DIRECTORY = "/etc/cognito-device-exporter"
STATE = "/var/lib/cognito-device-exporter"
LIMIT = 128 * 2**20
PROGRAM = "cognito-device-exporter"
MADE_BY_PODMAN = {f"{DIRECTORY}/config.yaml"}
"""Mount point of the configuration."""
HEALTHCHECK = (PROGRAM, "healthcheck")


@dataclass(frozen=True, slots=True)
class ContainerExporter:
    """Exporter in a container, and the pool it reads."""

    container: Container
    exporter: Exporter
    pool_id: str


@contextmanager
def container_exporter(
    emulator: Emulator, directory: Path, *options: str, users: int = 300
) -> Iterator[ContainerExporter]:
    """Run the production image against the emulator with a new state volume, and wait until it listens."""
    pool_id = emulator.seed_pool("pool", users=users)
    text = config(emulator.url, pool(pool_id, detail="device"), state=f"{STATE}/state.db")
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    volume = f"cognito-device-exporter-tests-{uuid4().hex}"
    environment = {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_STS": emulator.url,
        "COGNITO_DEVICE_EXPORTER_WEB_LISTEN_ADDRESS": address,
    }
    mounts = [f"--volume={directory / 'config.yaml'}:{DIRECTORY}/config.yaml:ro", f"--volume={volume}:{STATE}"]
    variables = [f"--env={name}={value}" for name, value in environment.items()]
    with ExitStack() as stack:
        name = image()
        stack.callback(podman, "volume", "rm", "--force", volume)
        container = stack.enter_context(running(name, options=[*options, *mounts, *variables]))
        assert eventually(lambda: "msg=listening" in container.log or not container.state["Running"], within=30)
        assert container.state["Running"], container.log
        yield ContainerExporter(container, Exporter(f"http://{address}"), pool_id)


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ContainerExporter, Emulator]]:
    """Hardened container for tests that do not change it."""
    with (
        Emulator() as emulator,
        container_exporter(emulator, tmp_path_factory.mktemp("container"), *HARDENING) as found,
    ):
        yield found, emulator


def test_container_serves_correct_values_in_its_limits(hardened: tuple[ContainerExporter, Emulator]) -> None:
    (found, emulator) = hardened
    page = found.exporter.after_first_sweep(found.pool_id)
    assert_correct(page, found.pool_id, emulator.truth(found.pool_id))
    assert page.series("cognito_exporter_build_info", "revision") == {"0123456789abcdef0123456789abcdef01234567": 1}
    assert page.value("cognito_exporter_state_errors_total") == 0
    assert memory_of(found.container, "limit") == LIMIT
    assert memory_of(found.container, "peak") < LIMIT
    assert not found.container.state["OOMKilled"]


def memory_of(container: Container, what: str) -> int:
    """Return the memory limit of the container's control group, or its peak usage, in bytes."""
    files = {
        "limit": ("memory.max", "memory/memory.limit_in_bytes"),
        "peak": ("memory.peak", "memory/memory.max_usage_in_bytes"),
    }
    return int(
        container.python(
            "from pathlib import Path\n"
            f"paths = [Path('/sys/fs/cgroup', name) for name in {files[what]!r}]\n"
            "print(next(path.read_text() for path in paths if path.exists()))"
        )
    )


def test_container_runs_unprivileged(hardened: tuple[ContainerExporter, Emulator]) -> None:
    container = hardened[0].container
    status = dict(
        line.split(":\t", 1)
        for line in container.python("print(open('/proc/1/status').read())").splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == ["65532"] * 4
    assert status["Gid"].split() == ["65532"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_healthcheck_detects_healthy_and_unhealthy(hardened: tuple[ContainerExporter, Emulator]) -> None:
    container = hardened[0].container
    assert container.execute(*HEALTHCHECK).returncode == 0
    container.kill("STOP")
    try:
        began = time.monotonic()
        stopped = container.execute(*HEALTHCHECK)
        assert stopped.returncode == 1
        assert time.monotonic() - began < seconds(config_of(image())["Healthcheck"]["Timeout"])
        assert "is not responding" in stopped.stderr
    finally:
        container.kill("CONT")
    assert eventually(lambda: container.execute(*HEALTHCHECK).returncode == 0, within=10)
    elsewhere = container.execute(*HEALTHCHECK, f"--web.listen-address=127.0.0.1:{free_port()}")
    assert elsewhere.returncode == 1


def seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def test_state_is_in_the_volume_and_private(hardened: tuple[ContainerExporter, Emulator]) -> None:
    found = hardened[0]
    found.exporter.after_first_sweep(found.pool_id)
    container = found.container
    code = "s = os.stat('{0}/' + n); print(n, s.st_uid, oct(s.st_mode & 0o077))"
    listed = container.python(f"import os\nfor n in os.listdir('{STATE}'): {code.format(STATE)}")
    owners = {name: tuple(rest) for name, *rest in map(str.split, listed.splitlines())}
    assert "state.db" in owners
    assert set(owners.values()) == {("65532", "0o0")}


@pytest.mark.parametrize("options", [HARDENING, ()], ids=["hardened", "as Docker runs it by default"])
def test_container_stops_and_writes_only_state_and_tmp(tmp_path: Path, options: tuple[str, ...]) -> None:
    with Emulator() as emulator, container_exporter(emulator, tmp_path, *options, users=50) as found:
        found.exporter.after_first_sweep(found.pool_id)
        before = time.monotonic()
        found.container.kill("TERM")
        assert found.container.wait() == 0, found.container.log
        assert time.monotonic() - before < 5
        assert found.container.changed_files() - MADE_BY_PODMAN == set()
        assert "Traceback" not in found.container.log


# Content


def config_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman("image", "inspect", name).stdout)[0]
    return {**found["Config"], "Healthcheck": found.get("HealthCheck") or found["Healthcheck"]}


@pytest.fixture(scope="module")
def files() -> frozenset[str]:
    """Return all paths in the production image."""
    require_containers()
    created = podman("create", image()).stdout.strip()
    try:
        export = subprocess.Popen([required_tool("podman"), "export", created], stdout=subprocess.PIPE)
        with export:
            listed = subprocess.run(["tar", "-t"], stdin=export.stdout, capture_output=True, text=True, check=True)  # noqa: S607 - wherever tar is
    finally:
        podman("rm", created)
    return frozenset(f"/{line.removesuffix('/')}" for line in listed.stdout.splitlines())


def test_image_has_no_shell_and_no_package_manager(files: frozenset[str]) -> None:
    programs = {path.rpartition("/")[2] for path in files if "/bin/" in path or "/sbin/" in path}
    assert PROGRAM in programs
    assert "python3" in programs
    assert not programs & {
        "sh",
        "bash",
        "dash",
        "pip",
        "pip3",
        "gcc",
        "cc",
        "ld",
        "as",
        "make",
        "apt",
        "apt-get",
        "dpkg",
        "perl",
    }
    modules = {path.rpartition("/")[2] for path in files if "/site-packages/" in path or "/dist-packages/" in path}
    assert {"exporter", "boto3", "isal"} <= modules
    assert not modules & {"pip", "setuptools", "hatchling", "moto", "werkzeug", "pytest", "ensurepip"}
    assert not {path for path in files if "ensurepip" in path or path.startswith("/build")}


def test_dpkg_lists_exactly_the_remaining_packages(files: frozenset[str]) -> None:
    code = "print(open('/var/lib/dpkg/status').read())"
    with running(image(), "-c", code, options=[*HARDENING, "--entrypoint=python3"]) as container:
        container.wait()
        status = container.log
    packages = {line.removeprefix("Package: ") for line in status.splitlines() if line.startswith("Package: ")}
    assert {"libc6", "libssl3t64", "ca-certificates"} <= packages
    assert not packages & {"bash", "dash", "apt", "dpkg", "perl-base", "python3-venv", "coreutils"}
    assert {
        path.rpartition("/")[2].partition(":")[0].removesuffix(".list")
        for path in files
        if path.endswith(".list") and "/dpkg/info/" in path
    } == packages


def test_image_has_labels_and_entrypoint() -> None:
    require_containers()
    found = config_of(image())
    assert found["User"] == "65532:65532"
    assert found["Entrypoint"] == [PROGRAM]
    assert not found.get("Cmd")
    assert found["Healthcheck"]["Test"] == ["CMD", *HEALTHCHECK]
    assert set(found["ExposedPorts"]) == {"10617/tcp"}
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in found["Labels"].items()}
    assert labels["version"] == version_in_pyproject()
    assert labels["revision"] == "0123456789abcdef0123456789abcdef01234567"
    assert labels["licenses"] == "Apache-2.0"
    assert f"COGNITO_DEVICE_EXPORTER_CONFIG_FILE={DIRECTORY}/config.yaml" in found["Env"]


def version_in_pyproject() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def test_container_without_configuration_names_the_path() -> None:
    require_containers()
    with running(image()) as container:
        assert container.wait() == 2
        assert container.log.startswith(f"{DIRECTORY}/config.yaml: cannot be read")


def test_container_demo_serves_its_pools() -> None:
    require_containers()
    address = f"127.0.0.1:{free_port()}"
    options = [*HARDENING[:3], "--tmpfs=/tmp", f"--env=COGNITO_DEVICE_EXPORTER_WEB_LISTEN_ADDRESS={address}"]
    with running(image("demo"), options=options) as container:
        assert eventually(lambda: "msg=listening" in container.log or not container.state["Running"], within=60)
        assert container.state["Running"], container.log
        exporter = Exporter(f"http://{address}")
        assert wait_until(lambda: any(exporter.scrape().series("cognito_user_pool_users", "user_pool_id")), within=60)
        assert container.execute(*HEALTHCHECK).returncode == 0
        container.kill("TERM")
        assert container.wait() == 0


def test_docker_compose_builds_the_demo() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]["exporter"]
    assert service["build"] == {"context": ".", "target": "demo"}


# Dockerfile


def test_hadolint_reports_nothing() -> None:
    done = subprocess.run([required_tool("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_checkov_reports_nothing() -> None:
    command = [required_tool("checkov"), "--skip-download", "--quiet", "--compact", "--framework=dockerfile"]
    done = subprocess.run(
        [*command, "--output=json", f"--file={ROOT / 'Dockerfile'}"], capture_output=True, text=True, check=False
    )
    summary = json.loads(done.stdout)["summary"]
    assert summary["passed"] > 100
    assert (summary["failed"], summary["parsing_errors"]) == (0, 0)
