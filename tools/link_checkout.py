"""Install a command that runs this checkout into the virtual environment whose Python runs this script.

The result is that of `pip install --editable`, but no build backend is needed: `make demo` installs only its lock.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def link(packages: Path, scripts: Path) -> None:
    """Write the import path, the metadata and the commands of the project into an environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    module = name.replace("-", "_")
    for old in packages.glob(f"{module}-*.dist-info"):
        shutil.rmtree(old)
    metadata = packages / f"{module}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (packages / f"{module}.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    for command, target in project["scripts"].items():
        source, _, function = target.partition(":")
        script = scripts / command
        # A shell starts Python, as in pip's scripts, because the first line supports neither long paths nor spaces.
        script.write_text(
            "#!/bin/sh\n"
            f"""'''exec' "{scripts}/python" "$0" "$@"\n' '''\n"""
            f"import sys\n\nfrom {source} import {function}\n\nsys.exit({function}())\n",
            encoding="utf-8",
        )
        script.chmod(0o755)


if __name__ == "__main__":
    link(Path(sysconfig.get_path("purelib")), Path(sys.executable).parent)
