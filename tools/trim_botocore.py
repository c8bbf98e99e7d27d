"""Script that removes unused service descriptions, which are most of botocore, from an installed botocore.

The Dockerfile runs it. The argument is the directory in which the packages are installed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT = frozenset(
    {
        "cognito-idp",
        "sts",  # GetCallerIdentity, AssumeRole, AssumeRoleWithWebIdentity
        # Credential sources of profiles:
        "signin",
        "sso",
        "sso-oidc",
    }
)


def trim(site_packages: Path) -> None:
    """Remove the folder of every service not in `KEPT`. Files that all services share stay."""
    data = site_packages / "botocore" / "data"
    services = {path.name: path for path in data.iterdir() if path.is_dir()}
    if missing := KEPT - services.keys():
        raise SystemExit(f"{data}: no service named {', '.join(sorted(missing))}")
    for name in services.keys() - KEPT:
        shutil.rmtree(services[name])


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
