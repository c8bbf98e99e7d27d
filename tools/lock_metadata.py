"""Record what the locked packages require, for tests that install the locks without an index.

`python -m tools.lock_metadata` reads every `requirements*.lock` and writes `tests/data/locks/metadata.json`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.markers import Marker

ROOT = Path(__file__).parents[1]
LOCKS = tuple(sorted(ROOT.glob("requirements*.lock")))
"""Locks that are installed. Those in `tools/` are only downloaded."""

RECORD = ROOT / "tests/data/locks/metadata.json"

_ELSEWHERE: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
    ({"python_version": "3.11", "python_full_version": "3.11.0"}, ("--python-version", "3.11")),
    ({"python_version": "3.13", "python_full_version": "3.13.0"}, ("--python-version", "3.13")),
    ({"sys_platform": "win32"}, ("--platform", "win_amd64")),
)
"""Environments in which other markers apply than in this one, with pip's options for them."""


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """Entry of a lock."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def is_installed_in(self, environment: Mapping[str, str]) -> bool:
        """Return True if the marker applies to this interpreter with the given variables replaced."""
        return not self.marker or Marker(self.marker).evaluate(dict(environment))


def parse_lock(text: str) -> list[LockedPackage]:
    """Return the entries of a lock.

    Raise `ValueError` for an entry that is not pinned or has no hash.
    """
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"\A(?:#.*\n)+", "", text))
    packages = []
    for entry in entries:
        pinned = re.match(r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)(?: ; ([^\\\n]+?))?(?= \\| --hash)", entry)
        hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry)
        if not pinned or not hashes:
            raise ValueError(f"not pinned by version and hash: {entry[:80]}")
        packages.append(LockedPackage(pinned[1], pinned[2], pinned[3] or "", tuple(hashes)))
    return packages


def _report(packages: Sequence[LockedPackage], options: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metadata of packages as pip reports it, without installing anything."""
    with tempfile.TemporaryDirectory() as directory:
        requirements = Path(directory, "requirements.txt")
        requirements.write_text(
            "".join(f"{package} {' '.join(f'--hash={digest}' for digest in package.hashes)}\n" for package in packages),
            encoding="utf-8",
        )
        report = Path(directory, "report.json")
        if options:
            options = (*options, "--ignore-requires-python", "--only-binary=:all:", "--target", f"{directory}/target")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--require-hashes", "--requirement", str(requirements), "--report", str(report), *options]
        subprocess.run(command, check=True)  # noqa: S603 - pip of this environment
        return [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]


def record(locks: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return extras, requirements and supported Pythons of the packages in the locks by `name==version`."""
    recorded: dict[str, dict[str, Any]] = {}
    for lock in locks:
        left = {str(package): package for package in parse_lock(lock.read_text(encoding="utf-8"))}
        for environment, options in chain([({}, ())], _ELSEWHERE):
            left = {key: package for key, package in left.items() if key not in recorded}
            found = [package for package in left.values() if package.is_installed_in(environment)]
            if not found:
                continue
            for package, metadata in zip(found, _sorted_like(found, _report(found, options)), strict=True):
                kept = ("provides_extra", "requires_dist", "requires_python")
                recorded[str(package)] = {key: metadata[key] for key in kept if metadata.get(key)}
        if missing := left.keys() - recorded.keys():
            raise ValueError(f"{lock.name}: no known environment installs {', '.join(sorted(missing))}")
    return dict(sorted(recorded.items()))


def _sorted_like(packages: Sequence[LockedPackage], reported: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {re.sub(r"[-_.]+", "-", metadata["name"]).lower(): metadata for metadata in reported}
    return [by_name[package.name] for package in packages]


def main() -> None:
    """Write the record."""
    RECORD.write_text(json.dumps(record(LOCKS), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
