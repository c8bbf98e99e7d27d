"""boto3 sessions for tests."""

from __future__ import annotations

import boto3


def aws_session(access_key: str, region: str | None = None) -> boto3.Session:
    """Return a session with static credentials."""
    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key="secret", region_name=region)
