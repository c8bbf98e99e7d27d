"""The ARNs of pools."""

from __future__ import annotations

from functools import cache

from botocore.exceptions import UnknownRegionError
from botocore.session import get_session

DEFAULT_PARTITION = "aws"


def pool_arn(region: str, account_id: str, pool_id: str) -> str:
    """The ARN of a pool; a Region that no partition of AWS has, as an emulator's, counts as one of the largest."""
    return f"arn:{partition_of(region) or DEFAULT_PARTITION}:cognito-idp:{region}:{account_id}:userpool/{pool_id}"


@cache
def partition_of(region: str) -> str | None:
    """The part of AWS that a Region belongs to, such as `aws-cn`; None where AWS has no such Region."""
    try:
        partition: str = get_session().get_partition_for_region(region)
    except UnknownRegionError:
        return None
    return partition
