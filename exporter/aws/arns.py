"""ARNs, and the account ids and partitions in them."""

from __future__ import annotations

from functools import cache

from botocore.exceptions import UnknownRegionError
from botocore.session import get_session

DEFAULT_PARTITION = "aws"


def pool_arn(region: str, account_id: str, pool_id: str) -> str:
    """Return the ARN of a pool. An unknown Region, such as that of an emulator, is taken as one of `aws`."""
    return f"arn:{partition_of(region) or DEFAULT_PARTITION}:cognito-idp:{region}:{account_id}:userpool/{pool_id}"


@cache
def partition_of(region: str) -> str | None:
    """Return the partition of a Region, for example `aws-cn`; None if no partition has this Region."""
    try:
        partition: str = get_session().get_partition_for_region(region)
    except UnknownRegionError:
        return None
    return partition


def account_of_arn(arn: str) -> str | None:
    """Return the account id in an ARN; None if there is none."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) > 5 and is_account_id(parts[4]) else None


def is_account_id(text: str) -> bool:
    """Return True if the text is an account id: twelve digits."""
    return len(text) == 12 and text.isascii() and text.isdigit()
