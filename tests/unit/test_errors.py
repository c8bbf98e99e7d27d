from __future__ import annotations

import inspect

import pytest

from exporter import errors
from exporter.errors import AwsError, ConfigError, ErrorAction, ExporterError, Reason

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, AwsError) and kind is not AwsError
]


def test_what_each_failure_means() -> None:
    assert {kind.__name__: (kind.reason.value, kind.action) for kind in KINDS} == {
        "Throttled": ("throttled", ErrorAction.RETRY),
        "Denied": ("denied", ErrorAction.STOP_POOL),
        "CredentialsFault": ("credentials", ErrorAction.RETRY),
        "UserNotFound": ("not_found", ErrorAction.SKIP_USER),
        "ResourceNotFound": ("not_found", ErrorAction.STOP_POOL),
        "InvalidRequest": ("invalid_request", ErrorAction.SKIP_USER),
        "TrackingOff": ("tracking_off", ErrorAction.STOP_POOL),
        "ServerError": ("server_error", ErrorAction.RETRY),
        "CallTimeout": ("timeout", ErrorAction.RETRY),
        "ConnectionFailed": ("connection", ErrorAction.RETRY),
        "Malformed": ("malformed", ErrorAction.RETRY),
        "EndlessListing": ("malformed", ErrorAction.SKIP_USER),
        "UnexpectedFailure": ("other", ErrorAction.RETRY),
    }


def test_every_reason_of_the_closed_list_has_an_error() -> None:
    assert {kind.reason for kind in KINDS} == set(Reason)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_names_operation_and_code_and_left_the_process_unless_said_otherwise(
    kind: type[AwsError],
) -> None:
    error = kind("ListUsers", "SomeException")
    assert (str(error), error.operation, error.code, error.attempted) == (
        "ListUsers: SomeException",
        "ListUsers",
        "SomeException",
        True,
    )


def test_a_call_that_did_not_leave_says_so_for_itself_only() -> None:
    error = errors.CredentialsFault("ListUsers", "NoCredentialsError")
    error.attempted = False
    assert errors.CredentialsFault("ListUsers", "NoCredentialsError").attempted


def test_a_wrong_configuration_tells_every_fault_on_a_line_of_its_own() -> None:
    error = ConfigError(["config.yaml:1: first", "config.yaml:2: second"])
    assert str(error) == "config.yaml:1: first\nconfig.yaml:2: second"
    assert error.problems == ("config.yaml:1: first", "config.yaml:2: second")


def test_every_error_of_ours_is_one_of_ours() -> None:
    ours = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert all(issubclass(kind, ExporterError) for kind in ours)


def test_a_wrong_configuration_is_told_in_utf_8_whatever_its_file_is_called() -> None:
    error = ConfigError(["d\udcff/config.yaml: Ü", "b"])
    assert error.problems == ("d\\udcff/config.yaml: Ü", "b")
    assert str(error) == "d\\udcff/config.yaml: Ü\nb"
