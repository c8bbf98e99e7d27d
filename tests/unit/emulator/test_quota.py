from __future__ import annotations

from exporter.aws.api import Category
from exporter.emulator.quota import QuotaMeter
from exporter.emulator.request_log import Request, RequestLog
from tests.windows import most_in_any_window

QUOTAS = {Category.USER_RESOURCE_READ: 3.0}


def granted(
    meter: QuotaMeter, moment: float, *, operation: str = "AdminListDevices", region: str = "eu-west-1"
) -> bool:
    return meter.grants(QUOTAS, "123456789012", region, operation, moment)


def test_any_window_of_one_second_grants_no_more_than_the_quota() -> None:
    meter = QuotaMeter()
    moments = [number / 100 for number in range(500)]
    answered = [moment for moment in moments if granted(meter, moment)]
    assert most_in_any_window(answered) == 3
    assert len(answered) == 15


def test_operations_of_one_category_share_the_quota() -> None:
    meter = QuotaMeter()
    operations = ("AdminListDevices", "AdminGetDevice", "ListDevices", "ResendConfirmationCode")
    assert [granted(meter, 0.0, operation=operation) for operation in operations] == [True, True, True, False]


def test_each_region_has_a_quota_of_its_own() -> None:
    meter = QuotaMeter()
    assert [granted(meter, 0.0) for _ in range(4)][-1] is False
    assert granted(meter, 0.0, region="us-east-1")


def test_what_has_no_quota_is_always_granted() -> None:
    meter = QuotaMeter()
    assert all(granted(meter, 0.0, operation=name) for name in ("ListUsers", "AdminInitiateAuth") for _ in range(50))


def test_a_refused_request_does_not_lengthen_the_wait() -> None:
    meter = QuotaMeter()
    assert [granted(meter, moment) for moment in (0.0, 0.1, 0.2, 0.9, 1.0)] == [True, True, True, False, True]


def test_the_log_is_in_order_of_arrival_and_forgets_the_oldest() -> None:
    log = RequestLog(longest=2)
    for arrived in (1.0, 3.0, 2.0):
        log.add(Request(arrived, "ListUsers", "", "", None, "OK"))
    assert [request.arrived for request in log.read()] == [2.0, 3.0]
