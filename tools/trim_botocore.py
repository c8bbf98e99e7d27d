"""Takes out of an installed botocore the descriptions of services that nothing here calls; the Dockerfile runs it.

They are most of botocore. Call it with the directory that packages are installed in.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT = frozenset(
    {
        "cognito-idp",  # what the exporter reads
        "sts",  # whose credentials these are; AssumeRole, also with a web identity
        # Where profiles may find their credentials:
        "signin",
        "sso",
        "sso-oidc",
    }
)


def trim(site_packages: Path) -> None:
    """Remove the folder of every service but those in `KEPT`; files that are common to all services stay."""
    data = site_packages / "botocore" / "data"
    services = {path.name: path for path in data.iterdir() if path.is_dir()}
    if missing := KEPT - services.keys():
        raise SystemExit(f"{data}: no service called {', '.join(sorted(missing))}")
    for name in services.keys() - KEPT:
        shutil.rmtree(services[name])


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
