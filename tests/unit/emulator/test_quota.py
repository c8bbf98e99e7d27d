from __future__ import annotations

from exporter.aws.api import Category
from exporter.emulator.quota import QuotaMeter
from exporter.emulator.request_log import Request, RequestLog
from tests.windows import most_in_any_window

QUOTAS = {Category.USER_RESOURCE_READ: 3.0}


def granted(meter: QuotaMeter, now: float, *, operation: str = "AdminListDevices", region: str = "eu-west-1") -> bool:
    return meter.allows(QUOTAS, "123456789012", region, operation, now)


def test_no_window_of_one_second_exceeds_quota() -> None:
    meter = QuotaMeter()
    times = [number / 100 for number in range(500)]
    allowed = [time for time in times if granted(meter, time)]
    assert most_in_any_window(allowed) == 3
    assert len(allowed) == 15


def test_operations_of_category_share_quota() -> None:
    meter = QuotaMeter()
    operations = ("AdminListDevices", "AdminGetDevice", "ListDevices", "ResendConfirmationCode")
    assert [granted(meter, 0.0, operation=operation) for operation in operations] == [True, True, True, False]


def test_each_region_has_its_own_quota() -> None:
    meter = QuotaMeter()
    assert [granted(meter, 0.0) for _ in range(4)][-1] is False
    assert granted(meter, 0.0, region="us-east-1")


def test_operation_without_quota_is_always_allowed() -> None:
    meter = QuotaMeter()
    assert all(granted(meter, 0.0, operation=name) for name in ("ListUsers", "AdminInitiateAuth") for _ in range(50))


def test_rejected_request_does_not_count() -> None:
    meter = QuotaMeter()
    assert [granted(meter, time) for time in (0.0, 0.1, 0.2, 0.9, 1.0)] == [True, True, True, False, True]


def test_request_log_is_ordered_and_bounded() -> None:
    log = RequestLog(longest=2)
    for arrived in (1.0, 3.0, 2.0):
        log.add(Request(arrived, "ListUsers", "", "", None, "OK"))
    assert [request.arrived for request in log.read()] == [2.0, 3.0]
