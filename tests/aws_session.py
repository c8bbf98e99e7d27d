"""boto3 sessions for tests."""

from __future__ import annotations

import boto3
from botocore.loaders import Loader
from botocore.session import Session

_LOADER = Loader()


def aws_session(access_key: str, region: str | None = None) -> boto3.Session:
    """Return a session that shares botocore's service models with all others: reading them takes longer than a test."""
    core = Session()
    core.register_component("data_loader", _LOADER)
    return boto3.Session(
        botocore_session=core, aws_access_key_id=access_key, aws_secret_access_key="secret", region_name=region
    )
