"""AWS quotas: limits on the requests in any one second, per category, account and Region."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from exporter.aws.api import Category

WINDOW_SECONDS = 1.0

CATEGORIES: dict[str, Category] = {
    "AdminGetDevice": Category.USER_RESOURCE_READ,
    "AdminListDevices": Category.USER_RESOURCE_READ,
    "AdminListGroupsForUser": Category.USER_RESOURCE_READ,
    "DescribeUserPool": Category.USER_POOL_READ,
    "GetDevice": Category.USER_RESOURCE_READ,
    "GetUserAttributeVerificationCode": Category.USER_RESOURCE_READ,
    "ListDevices": Category.USER_RESOURCE_READ,
    "ListGroups": Category.USER_POOL_RESOURCE_READ,
    "ListTagsForResource": Category.USER_POOL_RESOURCE_READ,
    "ListUserPools": Category.USER_POOL_READ,
    "ListUsers": Category.USER_LIST,
    "ListUsersInGroup": Category.USER_LIST,
    "ResendConfirmationCode": Category.USER_RESOURCE_READ,
}
"""Quota category by operation; others have no quota here. Source: "Quotas in Amazon Cognito"."""


class QuotaMeter:
    """Counter of the requests granted in the last second; not thread-safe."""

    def __init__(self) -> None:
        self._granted: defaultdict[tuple[str, str, Category], deque[float]] = defaultdict(deque)

    def allows(
        self, quotas: Mapping[Category, float], account_id: str, region: str, operation: str, now: float
    ) -> bool:
        """Return True, and count the request, if it is within its quota; `now` is monotonic time in seconds."""
        category = CATEGORIES.get(operation)
        if category is None or category not in quotas:
            return True
        window = self._granted[account_id, region, category]
        while window and window[0] <= now - WINDOW_SECONDS:
            window.popleft()
        if len(window) >= quotas[category]:
            return False
        window.append(now)
        return True
