from __future__ import annotations

import inspect

import pytest

from exporter import errors
from exporter.errors import AwsError, ConfigError, ErrorAction, ExporterError, Reason

AWS_ERRORS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, AwsError) and kind is not AwsError
]


def test_aws_errors_have_reason_and_action() -> None:
    assert {kind.__name__: (kind.reason.value, kind.action) for kind in AWS_ERRORS} == {
        "Throttled": ("throttled", ErrorAction.RETRY),
        "Denied": ("denied", ErrorAction.STOP_POOL),
        "CredentialsError": ("credentials", ErrorAction.RETRY),
        "UserNotFound": ("not_found", ErrorAction.SKIP_USER),
        "ResourceNotFound": ("not_found", ErrorAction.STOP_POOL),
        "InvalidRequest": ("invalid_request", ErrorAction.SKIP_USER),
        "TrackingOff": ("tracking_off", ErrorAction.STOP_POOL),
        "ServerError": ("server_error", ErrorAction.RETRY),
        "CallTimeout": ("timeout", ErrorAction.RETRY),
        "ConnectionFailed": ("connection", ErrorAction.RETRY),
        "Malformed": ("malformed", ErrorAction.RETRY),
        "EndlessListing": ("malformed", ErrorAction.SKIP_USER),
        "UnexpectedError": ("other", ErrorAction.RETRY),
    }


def test_each_reason_has_an_error() -> None:
    assert {kind.reason for kind in AWS_ERRORS} == set(Reason)


@pytest.mark.parametrize("kind", AWS_ERRORS)
def test_aws_error_has_operation_and_code_and_is_attempted(
    kind: type[AwsError],
) -> None:
    error = kind("ListUsers", "SomeException")
    assert (str(error), error.operation, error.code, error.attempted) == (
        "ListUsers: SomeException",
        "ListUsers",
        "SomeException",
        True,
    )


def test_attempted_is_set_per_error() -> None:
    error = errors.CredentialsError("ListUsers", "NoCredentialsError")
    error.attempted = False
    assert errors.CredentialsError("ListUsers", "NoCredentialsError").attempted


def test_config_error_has_one_problem_per_line() -> None:
    error = ConfigError(["config.yaml:1: first", "config.yaml:2: second"])
    assert str(error) == "config.yaml:1: first\nconfig.yaml:2: second"
    assert error.problems == ("config.yaml:1: first", "config.yaml:2: second")


def test_all_errors_derive_from_exporter_error() -> None:
    found = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert all(issubclass(kind, ExporterError) for kind in found)


def test_config_error_escapes_bytes_that_are_not_utf_8() -> None:
    error = ConfigError(["d\udcff/config.yaml: Ü", "b"])
    assert error.problems == ("d\\udcff/config.yaml: Ü", "b")
    assert str(error) == "d\\udcff/config.yaml: Ü\nb"
