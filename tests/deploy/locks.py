"""Locks whose packages are empty wheels in a local folder, so that they can be installed without an index."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from itertools import chain
from pathlib import Path
from typing import Any

from tools.lock_metadata import LOCKS, RECORD, ROOT, LockedPackage, parse_lock

NEWER = "99999.0"
"""Version of the release of each package that appears after the lock was made."""

PIPS = ROOT / ".tools/pips"
"""Folder to which `make test` downloads the pips."""


@cache
def locked(name: str) -> tuple[LockedPackage, ...]:
    """Return the entries of a lock of this repository."""
    return tuple(parse_lock((ROOT / name).read_text(encoding="utf-8")))


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Return what the locked packages require, by `name==version`."""
    metadata: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return metadata


def build_wheel(directory: Path, name: str, version: str, metadata: Mapping[str, Any]) -> str:
    """Write a wheel without content and return its hash."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Python: {metadata['requires_python']}"] if "requires_python" in metadata else []
    headers += [f"Provides-Extra: {extra}" for extra in metadata.get("provides_extra", ())]
    headers += [f"Requires-Dist: {requirement}" for requirement in metadata.get("requires_dist", ())]
    path = directory / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(headers) + "\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Index:
    """Wheels of all locked packages, a newer release of each next to them, and locks with the hashes of the wheels."""

    wheels: Path
    """Parent folder with one folder per lock, because pip reads the whole folder for each package."""
    locks: dict[str, str]


def build_index(directory: Path) -> Index:
    """Build the wheels and the locks."""
    locks = {}
    for name in (lock.name for lock in LOCKS):
        wheels = directory / name
        wheels.mkdir(parents=True)
        hashes: dict[str, str] = {}
        for package in locked(name):
            metadata = recorded()[str(package)]
            hashes[str(package)] = build_wheel(wheels, package.name, package.version, metadata)
            build_wheel(wheels, package.name, NEWER, metadata)
        locks[name] = _lock_text(locked(name), hashes)
    return Index(directory, locks)


def _lock_text(packages: Iterable[LockedPackage], hashes: Mapping[str, str]) -> str:
    return "".join(
        f"{package}{f' ; {package.marker}' if package.marker else ''} --hash={hashes[str(package)]}\n"
        for package in packages
    )


def expected(*names: str) -> dict[str, str]:
    """Return the packages with their versions that the locks list for this interpreter."""
    return {package.name: package.version for name in names for package in locked(name) if package.is_installed_in({})}


def installed(environment: Path) -> dict[str, str]:
    """Return the packages in an environment with their versions; pip, which installs them, is left out."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    found = {found.name: found.version for found in distributions(path=[str(packages)])}
    return {name: version for name, version in found.items() if name != "pip"}


@dataclass(frozen=True, slots=True)
class Pip:
    """One release of pip, unpacked once and linked into the environments of a test."""

    unpacked: Path

    def create_environment(self, directory: Path) -> None:
        """Create an empty environment with this pip."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
        (packages,) = directory.glob("lib/python3*/site-packages")
        for path in self.unpacked.iterdir():
            (packages / path.name).symlink_to(path)
        script = directory / "bin/pip"
        script.write_text(f'#!/bin/sh\nexec "{directory}/bin/python" -m pip "$@"\n', encoding="utf-8")
        script.chmod(0o755)


def unpack_pip(name: str, directory: Path) -> Pip:
    """Unpack a pip that `make test` has downloaded. Raise `FileNotFoundError` if it does not exist."""
    wheels = list((PIPS / name).glob("pip-*.whl"))
    if not wheels:
        raise FileNotFoundError(f"{PIPS / name} has no pip: run `make test`, which downloads it")
    shutil.unpack_archive(wheels[0], directory, "zip")
    return Pip(directory)


def normalized(requirement: str) -> str:
    """Return the name in a requirement as locks write it. Source: PEP 503."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shipped() -> set[str]:
    """Return the packages that pyproject.toml requires at run time, with all extras."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    return set(map(normalized, [*project["dependencies"], *chain.from_iterable(extras)]))


def development_packages() -> set[str]:
    """Return the packages that pyproject.toml requires to build and test."""
    entries = chain.from_iterable(pyproject()["dependency-groups"].values())
    named = (entry for entry in entries if isinstance(entry, str))  # the others include a group
    return set(map(normalized, [*pyproject()["build-system"]["requires"], *named]))
