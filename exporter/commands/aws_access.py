"""AWS access of the one-off commands: the daemon's clients and rate limiters, concurrent calls, no metrics."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from queue import SimpleQueue
from typing import TypeVar

import click

from exporter.aws.api import DEFAULT_QUOTAS, Category, CognitoApi, Operation
from exporter.aws.permissions import ANY_ACCOUNT, ASSUME_ROLE, PERMISSIONS, AccessNeed, Scope, pool_arn
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.sessions import AwsApis
from exporter.aws.targets import TargetClients
from exporter.clock import SystemClock
from exporter.config.settings import Share, TargetSettings
from exporter.errors import AwsError, CredentialsError, Denied
from exporter.observers import NullObserver
from exporter.retry import DEFAULT_RETRY_POLICY, Retrier, RetryPolicy

T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY = 16
"""Number of items processed concurrently, so that an unresponsive pool delays few others."""

ATTEMPTS = 3
"""Maximum attempts per call; the operator can run the command again."""

ASSUME_ROLE_MARKER = f"({ASSUME_ROLE.partition(':')[2]})"
"""Marker in the `operation` of an error that occurred while the role was assumed."""


class AwsAccess:
    """AWS access of one command: cached clients, retries, and cancellation of all calls."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.cancelled = threading.Event()
        self.retry = retrier(DEFAULT_RETRY_POLICY, self.cancelled)
        self._make_api = AwsApis()
        self._lock = threading.Lock()
        self._apis: dict[TargetSettings, CognitoApi] = {}

    def api(self, target: TargetSettings) -> CognitoApi:
        """Return the client of a target, created on first use and shared by pools and account-wide calls.

        Raises `AwsError` if boto3 cannot create it.
        """
        with self._lock:
            if target not in self._apis:
                self._apis[target] = self._make_api(target)
            return self._apis[target]

    def clients(self, targets: Collection[TargetSettings], rates: Rates, *, shards: int = 1) -> TargetClients:
        """Return rate-limited clients for these targets."""
        limiters = RateLimiters(rates, self.clock, shards=shards)
        clients = TargetClients(self.api, limiters, NullObserver(), self.clock)
        clients.retain(targets)
        return clients

    def map(self, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the result of `call` for each item; see `map_concurrently`."""
        return map_concurrently(call, items, self.cancelled)


def default_rates(rates: Rates) -> dict[str, float]:
    """Return rates in requests per second; a share is taken of the documented default quota, without querying AWS."""
    return {
        category: rate.fraction * DEFAULT_QUOTAS[Category(category)] if isinstance(rate, Share) else rate
        for category, rate in rates.items()
    }


def retrier(retry_policy: RetryPolicy, cancelled: threading.Event) -> Retrier:
    """Return a function that makes a call up to `ATTEMPTS` times while it fails with a retryable error."""
    return retry_policy.retrier(min(ATTEMPTS, retry_policy.first_attempts), cancelled.wait)


def map_concurrently(call: Callable[[T], R], items: Sequence[T], cancelled: threading.Event) -> list[R]:
    """Return the result of `call` for each item, in order; show a progress bar if standard error is a terminal.

    Raises the first exception of `call`. An exception or Ctrl-C sets `cancelled`, and calls in flight are not awaited.
    """
    results = SimpleQueue[tuple[int, R] | Exception]()
    pending = iter(list(enumerate(items)))  # threads may share the iterator of a list

    def work() -> None:
        for index, item in pending:
            if cancelled.is_set():
                return
            try:
                results.put((index, call(item)))
            except Exception as error:  # noqa: BLE001 - raised in the waiting thread
                results.put(error)

    # Not an executor, whose threads the interpreter joins at exit.
    for _ in range(min(CONCURRENCY, len(items))):
        threading.Thread(target=work, name="command-worker", daemon=True).start()
    finished: dict[int, R] = {}
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=len(items), label="pools", file=sys.stderr, show_pos=True, hidden=hidden) as bar:
        try:
            while len(finished) < len(items):
                result = results.get()
                if isinstance(result, Exception):
                    raise result  # noqa: TRY301 - cancels the other calls
                finished[result[0]] = result[1]
                bar.update(1)
        except BaseException:
            cancelled.set()
            raise
    return [finished[index] for index in range(len(items))]


def account_of(api: CognitoApi, retry: Retrier) -> str | None:
    """Return the account of the credentials, None if it is unavailable; the call needs no permission."""
    try:
        return retry(api.account_id)
    except AwsError:
        return None


def pool_not_found(region: str, account_id: str | None) -> str:
    """Return the message for a missing pool; `account_id` is None if it is unavailable."""
    account = "the account of the credentials" if account_id is None else f"account {account_id}"
    return f"user pool does not exist in Region {region} of {account}"


def permission_denied(need: AccessNeed, operation: Operation, account_id: str | None = None) -> str:
    """Return the message for a denied operation; `account_id` replaces an unknown account in the ARN."""
    permission = PERMISSIONS[operation]
    if permission is None:
        return f"AWS denied {operation}, which requires no permission"
    resource = pool_arn(need) if permission.scope is Scope.POOL else "*"
    if account_id is not None:
        resource = resource.replace(f":{ANY_ACCOUNT}:", f":{account_id}:")
    return f"{permission.action} is not allowed on {resource}"


def access_failed(need: AccessNeed, error: AwsError) -> str:
    """Return the message for an error while accessing an account and Region."""
    target = need.target
    if is_assume_role_error(error):
        external_id = " and the configured external id" if target.external_id else ""
        return (
            f"{ASSUME_ROLE} on {target.role_arn} denied ({error.code}), expected a policy that allows it for the "
            f"exporter's principal, and a trust policy with that principal{external_id}"
        )
    if isinstance(error, CredentialsError):
        return (
            f"no valid AWS credentials ({error.code}), expected them where boto3 looks for them, such as the "
            "environment, a profile, IRSA, EKS Pod Identity or instance metadata"
        )
    if isinstance(error, Denied) and error.operation in set(Operation):
        return permission_denied(need, Operation(error.operation))
    return f"check failed: {error}"


def is_assume_role_error(error: AwsError) -> bool:
    """Return True if the error occurred while the role was assumed."""
    return ASSUME_ROLE_MARKER in error.operation
