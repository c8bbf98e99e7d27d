"""Image built by buildah from the Dockerfile, and containers run by podman."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import Any

import pytest

from tests.tools import required_tool

ROOT = Path(__file__).parents[3]
BASE = "localhost/cognito-device-exporter-tests/base:trixie"
"""Replaces the official image if no image registry is reachable: Debian with its own Python."""

HARDENING = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
    "--tmpfs=/tmp",
)
"""Options that docs/container.md recommends."""

_ON_THE_HOSTS_NETWORK = (
    "--runtime=runc",
    "--network=host",
    "--no-healthcheck",
    "--log-driver=k8s-file",
    # The default limits of a container may exceed those of the user that runs the tests.
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=4096:4096",
)
_PACKAGES = "python3,python3-venv,ca-certificates"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_INDEX_SETTINGS = frozenset({"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout"})


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman; after a failure, its output is in the test's error."""
    done = subprocess.run([required_tool("podman"), *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done


def require_containers() -> None:
    """Skip the test if containers cannot be built and run; with CI=true, fail it."""
    for name in ("buildah", "podman", "runc", "mmdebstrap"):
        required_tool(name)
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("containers are built and run as root")
    pytest.skip("containers are built and run as root")


@cache
def image(target: str = "production") -> str:
    """Build a target of the Dockerfile, using the layer cache, and return the image name."""
    require_containers()
    name = f"localhost/cognito-device-exporter-tests/{target}:latest"
    with _one_build_at_a_time(), NamedTemporaryFile("w", suffix=".conf") as settings:
        _stand_in_base()
        settings.write(_pip_settings())
        settings.flush()
        _build(name, target, settings.name)
    return name


@contextmanager
def _one_build_at_a_time() -> Iterator[None]:
    """Wait for the builds of other test workers, to reuse their layers."""
    with (Path(gettempdir()) / "cognito-device-exporter-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stand_in_base() -> None:
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return
    make = [required_tool("mmdebstrap"), "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "trixie", "-"]
    with subprocess.Popen(make, stdout=subprocess.PIPE) as made:
        done = subprocess.run(
            [required_tool("podman"), "import", "--quiet", "-", BASE],
            stdin=made.stdout,
            capture_output=True,
            check=False,
        )
    assert (made.returncode, done.returncode) == (0, 0), f"no base image: {done.stderr!r}"


def _build(name: str, target: str, pip_settings: str) -> None:
    command = [
        required_tool("buildah"),
        "bud",
        "--format=docker",
        "--isolation=chroot",
        "--pull-never",
        "--layers",
        f"--target={target}",
        f"--build-arg=PYTHON_IMAGE={BASE}",
        "--build-arg=REVISION=0123456789abcdef0123456789abcdef01234567",
        f"--secret=id=pip.conf,src={pip_settings}",
        f"--tag={name}",
    ]
    if Path(_CERTIFICATES).exists():  # may include a CA of this machine
        command.append(f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro")
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def _pip_settings() -> str:
    """Return this machine's package index settings as a pip.conf for the build, without local directories."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():  # global.index-url='https://…'; later lines take precedence
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if setting in _INDEX_SETTINGS and "file:" not in value:
            found[setting.removeprefix("default-")] = str(ast.literal_eval(value))
    return "\n".join(["[global]", *(f"{setting} = {value}" for setting, value in found.items()), ""])


class Container:
    """Running container."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier

    @property
    def log(self) -> str:
        done = podman("logs", self.identifier)
        return done.stdout + done.stderr

    @property
    def state(self) -> Mapping[str, Any]:
        return dict(self.inspect()["State"])

    def inspect(self) -> Mapping[str, Any]:
        return dict(json.loads(podman("container", "inspect", self.identifier).stdout)[0])

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, ignoring its exit code."""
        return podman("exec", self.identifier, *command, check=False)

    def python(self, code: str) -> str:
        """Run Python code in the container and return its output."""
        done = self.execute("python3", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def kill(self, signal: str) -> None:
        """Send a signal to the first process."""
        podman("kill", f"--signal={signal}", self.identifier)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return int(podman("wait", self.identifier).stdout)

    def changed_files(self) -> set[str]:
        """Return the changed paths outside mounts, without their parent directories."""
        lines = podman("diff", self.identifier).stdout.splitlines()
        return {path for kind, _, path in (line.partition(" ") for line in lines) if kind != "C"}


@contextmanager
def running(name: str, *arguments: str, options: Sequence[str] = HARDENING) -> Iterator[Container]:
    """Run an image with these arguments on the host's network, and remove the container at the end."""
    identifier = podman("run", "--detach", *_ON_THE_HOSTS_NETWORK, *options, name, *arguments).stdout.strip()
    try:
        yield Container(identifier)
    finally:
        podman("rm", "--force", "--time=0", "--volumes", identifier)
