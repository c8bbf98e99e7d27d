from __future__ import annotations

import pytest

from exporter.errors import AwsError, Denied, ServerError
from exporter.retry import RetryPolicy


class Failing:
    """Call that fails with the given errors, then succeeds."""

    def __init__(self, *errors: AwsError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "result"


def server_error() -> AwsError:
    return ServerError("ListUsers", "HTTP 503")


def test_delay_doubles_up_to_the_limit() -> None:
    retry_policy = RetryPolicy(first_delay=0.5, max_delay=3.0)
    for attempts, longest in enumerate((0.5, 1.0, 2.0, 3.0, 3.0), 1):
        delays = [retry_policy.delay(attempts) for _ in range(50)]
        assert longest / 2 <= min(delays) < max(delays) <= longest


def test_retrier_sleeps_longer_after_each_retryable_error() -> None:
    delays: list[float] = []
    call = Failing(server_error(), server_error())
    assert RetryPolicy(first_delay=1).retrier(3, delays.append)(call) == "result"
    assert 0.5 <= delays[0] <= 1 <= delays[1] <= 2
    assert call.calls == 3


def test_retrier_raises_the_error_of_the_last_attempt() -> None:
    delays: list[float] = []
    last = server_error()
    with pytest.raises(ServerError) as caught:
        RetryPolicy().retrier(2, delays.append)(Failing(server_error(), last))
    assert caught.value is last
    assert len(delays) == 1


def test_retrier_raises_other_errors_at_once() -> None:
    delays: list[float] = []
    with pytest.raises(Denied):
        RetryPolicy().retrier(9, delays.append)(Failing(Denied("ListUsers", "AccessDeniedException")))
    assert delays == []
