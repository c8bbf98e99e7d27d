"""API clients of the configured targets, each with the rate limiters and the metrics of its account and Region."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

import structlog

from exporter.aws.api import Category, CognitoApi, Operation
from exporter.aws.arns import account_of_arn
from exporter.aws.assume_role import ASSUME_ROLE, AssumesRole
from exporter.aws.rate.limited_api import PoolClient, PoolLister, observed
from exporter.aws.rate.limiter import RateLimiter
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.rate.quotas import QuotaPoller
from exporter.clock import Clock
from exporter.config.settings import PoolSettings, TargetSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.observers import UNKNOWN_ACCOUNT, AwsObserver, Target

ACCOUNT_ID_WAIT_SECONDS = 1.0
"""Time that the first sweep waits for STS, so that its requests are counted under the account id."""

log = structlog.get_logger()

ApiFactory = Callable[[TargetSettings], CognitoApi]
"""Creates the API client of a target; `exporter.aws.sessions.AwsApis` in production."""


class TargetClient:
    """API client of one target, created on first use.

    Implements `exporter.aws.rate.quotas.QuotaConsumer`. As a request observer it forwards to the observer of the
    process until it is closed, so that requests that finish later do not bring metrics back.
    """

    def __init__(
        self,
        settings: TargetSettings,
        make_api: ApiFactory,
        rate_limiters: RateLimiters,
        observer: AwsObserver,
        clock: Clock,
    ) -> None:
        """Use the rate limiters of the account, which is known at once if the target has a role."""
        self._settings = settings
        self._make_api = make_api
        self._all_limiters = rate_limiters
        self._observer = observer
        self._clock = clock
        self._api: CognitoApi | None = None
        self._api_lock = threading.Lock()  # separate, because creating the client can take seconds
        self._lock = threading.Lock()
        self._closed = False
        self._stop_quota_poll = threading.Event()
        """Stops the thread that polls the quotas; each thread has its own event."""
        self._account_resolved = threading.Event()
        """Set when the account id is known, or the request to STS has failed."""
        account_id = account_of_arn(settings.role_arn or "")
        if account_id is not None:
            self._account_resolved.set()
        self._target = Target(account_id or UNKNOWN_ACCOUNT, settings.region)
        observer.target_added(self._target)
        self._limiters = rate_limiters.use(self._target)

    @property
    def target(self) -> Target:
        """Account and Region; the account id is `UNKNOWN_ACCOUNT` until it is determined."""
        return self._target

    def limiter(self, category: Category) -> RateLimiter:
        """Return the rate limiter of a category, shared by all callers of this account and Region."""
        return self._limiters[category]

    def connect(self) -> CognitoApi:
        """Return the API client, and wait a moment for the account id if it is unknown.

        The first call creates the client and starts a thread that determines the account id and polls the quotas.
        Raises `AwsError` if the client cannot be created, for example because a profile does not exist.
        """
        with self._api_lock:
            if self._api is None:
                api = self._make_api(self._settings)
                if isinstance(api, AssumesRole):
                    api.on_assume_role(self._on_assume_role)
                self._api = api
                threading.Thread(target=self._resolve_account, args=(api,), name="account", daemon=True).start()
        self._account_resolved.wait(ACCOUNT_ID_WAIT_SECONDS)
        return self._api

    def close(self) -> None:
        """Release the rate limiters and stop all background work."""
        with self._lock:
            self._closed = True
            self._stop_quota_poll.set()
            self._all_limiters.release(self._target)
            self._observer.target_removed(self._target)

    def set_account_id(self, account_id: str) -> None:
        """Set the account id unless it is known; its rate limiters are used from now on."""
        with self._lock:
            if self._closed or self._target.account_id != UNKNOWN_ACCOUNT:
                return
            unknown, self._target = self._target, Target(account_id, self._target.region)
            self._limiters = self._all_limiters.rename(unknown, self._target)
            self._observer.target_resolved(unknown, self._target)
        self._account_resolved.set()

    def set_quota(self, category: Category, quota: float) -> None:
        """Set the provisioned quota of a category in requests per second."""
        self._all_limiters.set_quota(self._target, category, quota)

    def start_quota_poll(self) -> None:
        """Start to poll the quotas again, at once, if the client has been created."""
        with self._api_lock:
            api = self._api
        if api is not None:
            threading.Thread(target=self._poll_quotas, args=(api,), name="account", daemon=True).start()

    def stop_quota_poll(self) -> None:
        """Stop polling the quotas."""
        with self._lock:
            self._stop_quota_poll.set()

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Forward to the observer."""
        with self._lock:
            if not self._closed:
                self._observer.request_finished(target, operation, seconds, reason, attempted=attempted)

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Forward to the observer."""
        with self._lock:
            if not self._closed:
                self._observer.rate_limit_waited(target, category, seconds)

    def _on_assume_role(self, seconds: float, reason: Reason | None, *, attempted: bool) -> None:
        self.request_finished(self._target, ASSUME_ROLE, seconds, reason, attempted=attempted)

    def _resolve_account(self, api: CognitoApi) -> None:
        if not self._account_resolved.is_set():
            try:
                # Set within the request, so that it is counted under the account id that it returns.
                observed(
                    self, self._clock, Operation.GET_CALLER_IDENTITY, lambda: self.set_account_id(api.account_id())
                )
            except AwsError as error:
                log.info(
                    "cannot get account id from STS; using the ARN of the first pool",
                    region=self._target.region,
                    error=str(error),
                )
                self._account_resolved.set()
        self._poll_quotas(api)

    def _poll_quotas(self, api: CognitoApi) -> None:
        with self._lock:
            self._stop_quota_poll.set()
            stop = self._stop_quota_poll = threading.Event()
            if self._closed:
                return
        QuotaPoller(self._all_limiters, self._clock).poll(self, api, stop)


class TargetClients:
    """Clients of all targets. Pools and discovery rules with the same target share a client."""

    def __init__(self, make_api: ApiFactory, rate_limiters: RateLimiters, observer: AwsObserver, clock: Clock) -> None:
        self._make_api = make_api
        self._rate_limiters = rate_limiters
        self._observer = observer
        self._clock = clock
        self._clients: dict[TargetSettings, TargetClient] = {}

    def retain(self, targets: Collection[TargetSettings]) -> None:
        """Add clients for new targets, and close the clients of all others. Makes no request."""
        for settings in set(self._clients).difference(targets):
            self._clients.pop(settings).close()
        for settings in set(targets).difference(self._clients):
            self._clients[settings] = TargetClient(
                settings, self._make_api, self._rate_limiters, self._observer, self._clock
            )

    def configure(self, rates: Rates) -> None:
        """Apply other rates. A quota that a rate became a share of is requested at once."""
        before = set(self._rate_limiters.quota_share_categories())
        self._rate_limiters.configure(rates)
        shared = self._rate_limiters.quota_share_categories()
        for client in tuple(self._clients.values()):
            if not shared:
                client.stop_quota_poll()
            elif not before.issuperset(shared):
                client.start_quota_poll()

    def reader(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolClient:
        """Return a reader for one sweep of a pool.

        Raises `exporter.errors.AwsError` if the client cannot be created, and `Cancelled` if the target was removed.
        """
        client = self._client(pool.target)
        api = client.connect()
        attributes = frozenset(pool.device_attributes)
        return PoolClient(api, pool.id, client, self._clock, cancelled, attributes=attributes)

    def directory(self, target: TargetSettings, fairness_key: str, cancelled: Callable[[], bool]) -> PoolLister:
        """Return access to the pools of a target; the rate limiter serves fairness keys round-robin.

        Raises the errors of `reader`.
        """
        client = self._client(target)
        return PoolLister(client.connect(), fairness_key, client, self._clock, cancelled)

    def _client(self, target: TargetSettings) -> TargetClient:
        client = self._clients.get(target)
        if client is None:
            raise Cancelled("the target is no longer configured")
        return client
