"""Credentials, clients and budgets: one client per way to reach an account and Region.

boto3's own chain finds the credentials (environment, profile, IRSA, Pod Identity, instance metadata); a
role is assumed with credentials that botocore renews before they expire.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

import exporter
from exporter.aws.api import Category, CognitoApi, Operation
from exporter.aws.assume_role import ASSUME_ROLE, AssumesRole, LeanCognitoByRole, Role, StsClient, session_with
from exporter.aws.boto_client import ONE_ATTEMPT, BotoCognito
from exporter.aws.error_mapping import from_exception, unattempted
from exporter.aws.lean.client import LeanCognito
from exporter.aws.rate.limited_api import PoolClient, PoolLister, observed
from exporter.aws.rate.limiter import RateLimiter
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.rate.quotas import QuotaPoller
from exporter.clock import Clock, SystemClock
from exporter.config.settings import PoolSettings, TargetSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.observers import UNKNOWN_ACCOUNT, AwsObserver, Target

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

ACCOUNT_ID_WAIT_SECONDS = 1.0
"""Seconds that the first sweep waits for STS, so that its calls are counted under the account's name."""

log = structlog.get_logger()

ApiFactory = Callable[[TargetSettings], CognitoApi]


class TargetClient:
    """One client, made when it is first needed, and the account whose quota it spends."""

    def __init__(
        self, settings: TargetSettings, make_api: ApiFactory, rate_limiters: RateLimiters, observer: AwsObserver
    ) -> None:
        """The account id is known at once where a role names it."""
        self._settings = settings
        self._make_api = make_api
        self._all_limiters = rate_limiters
        self._observer = observer
        self._lock = threading.Lock()
        self._api: CognitoApi | None = None
        self._naming = threading.Lock()
        self.closed = False
        self._asking_over = threading.Event()
        """Ends the thread that asks for quotas; each has one of its own."""
        self.account_resolved = threading.Event()
        """Set once the account is known, or STS has been asked in vain."""
        self._target = Target(account_of_role(settings.role_arn) or UNKNOWN_ACCOUNT, settings.region)
        observer.target_added(self._target)
        self._rate_limiters = rate_limiters.use(self._target)

    @property
    def target(self) -> Target:
        """The account id, as far as it is known now, and the Region."""
        return self._target

    def limiter(self, category: Category) -> RateLimiter:
        """The budget that every caller of this account and Region shares."""
        return self._rate_limiters[category]

    def set_quota(self, category: Category, quota: float) -> None:
        """AWS has told how many requests per second it grants."""
        self._all_limiters.set_quota(self._target, category, quota)

    def made_api(self) -> CognitoApi | None:
        """The client; None where none was needed yet."""
        with self._lock:
            return self._api

    def api(self, made: Callable[[CognitoApi], None]) -> CognitoApi:
        """The client; `made` is called with a new one.

        Raises `AwsError` when boto3 cannot make it, such as for a profile that does not exist.
        """
        with self._lock:
            if self._api is None:
                self._api = self._make_api(self._settings)
                if isinstance(self._api, AssumesRole):
                    self._api.tell_of_role(self._role_asked)
                made(self._api)
            return self._api

    def set_account_id(self, account_id: str) -> None:
        """An answer has told the account id; the first word counts."""
        with self._naming:
            if self.closed or self._target.account_id != UNKNOWN_ACCOUNT:
                return
            unknown, self._target = self._target, Target(account_id, self._target.region)
            self._rate_limiters = self._all_limiters.rename(unknown, self._target)
            self._observer.target_resolved(unknown, self._target)
        self.account_resolved.set()

    def start_quota_poll(self) -> threading.Event:
        """Somebody asks for quotas from now on, and nobody who did before; tells by the event when to end."""
        with self._naming:
            self._asking_over.set()
            over = threading.Event()
            if self.closed:
                over.set()
            self._asking_over = over
            return over

    def stop_quota_poll(self) -> None:
        """Nobody need know the quotas any more."""
        with self._naming:
            self._asking_over.set()

    def _role_asked(self, seconds: float, reason: Reason | None, attempted: bool) -> None:  # noqa: FBT001 - as `Heard`
        self.request_finished(self._target, ASSUME_ROLE, seconds, reason, attempted=attempted)

    def close(self) -> None:
        """Nothing uses this connection any more; an answer of STS that is under way names nothing then."""
        with self._naming:
            self.closed = True
            self._asking_over.set()
            self._all_limiters.release(self._target)
            self._observer.target_removed(self._target)

    # RequestObserver of what is asked over this connection: what ends after its close brings no metric back.

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Tell who listens."""
        with self._naming:
            if not self.closed:
                self._observer.request_finished(target, operation, seconds, reason, attempted=attempted)

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Tell who listens."""
        with self._naming:
            if not self.closed:
                self._observer.rate_limit_waited(target, category, seconds)


class TargetClients:
    """Makes readers for pools and directories for rules; who reaches AWS alike shares a client."""

    def __init__(self, make_api: ApiFactory, rate_limiters: RateLimiters, observer: AwsObserver, clock: Clock) -> None:
        """`make_api` is `AwsApis` in production."""
        self._make_api = make_api
        self._rate_limiters = rate_limiters
        self._observer = observer
        self._clock = clock
        self._quotas = QuotaPoller(rate_limiters, clock)
        self._connections: dict[TargetSettings, TargetClient] = {}

    def retain(self, wanted: Collection[TargetSettings]) -> None:
        """Keep these ways to reach AWS, and no others; nothing is connected yet."""
        for settings in set(self._connections).difference(wanted):
            self._connections.pop(settings).close()
        for settings in set(wanted).difference(self._connections):
            self._connections[settings] = TargetClient(settings, self._make_api, self._rate_limiters, self._observer)

    def configure(self, rates: Rates) -> None:
        """Spend by other rates from now on; where one became a share, its quota is asked for at once."""
        before = set(self._rate_limiters.shared_categories())
        self._rate_limiters.configure(rates)
        shared = self._rate_limiters.shared_categories()
        for connection in tuple(self._connections.values()):
            api = connection.made_api()
            if not shared:
                connection.stop_quota_poll()
            elif api is not None and not before.issuperset(shared):
                threading.Thread(target=self._ask_quotas, args=(connection, api), name="account", daemon=True).start()

    def reader(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolClient:
        """A reader for one sweep of a pool whose target is retained.

        Raises `exporter.errors.AwsError` when boto3 cannot make a client, `Cancelled` when the target is retained no
        more.
        """
        connection, api = self._connected(pool.target)
        return PoolClient(
            api,
            pool.id,
            connection,
            connection,
            self._clock,
            cancelled,
            attributes=frozenset(pool.device_attributes),
        )

    def directory(self, target: TargetSettings, fairness_key: str, cancelled: Callable[[], bool]) -> PoolLister:
        """The pools of a retained target; `fairness_key` is whose turns its requests take in the budgets.

        Raises as `reader`.
        """
        connection, api = self._connected(target)
        return PoolLister(api, fairness_key, connection, connection, self._clock, cancelled)

    def _connected(self, target: TargetSettings) -> tuple[TargetClient, CognitoApi]:
        connection = self._connections.get(target)
        if connection is None:
            raise Cancelled("nothing is read there any more, or it is reached in another way")
        api = connection.api(lambda api: self._learn(connection, api))
        connection.account_resolved.wait(ACCOUNT_ID_WAIT_SECONDS)
        return connection, api

    def _learn(self, connection: TargetClient, api: CognitoApi) -> None:
        """Ask beside the sweep for what it can do without: the account's name, and its quotas."""
        if connection.target.account_id != UNKNOWN_ACCOUNT:
            connection.account_resolved.set()
        threading.Thread(target=self._ask_sts_and_quotas, args=(connection, api), name="account", daemon=True).start()

    def _ask_sts_and_quotas(self, connection: TargetClient, api: CognitoApi) -> None:
        if not connection.account_resolved.is_set():
            self._ask_sts(connection, api)
        self._ask_quotas(connection, api)

    def _ask_quotas(self, connection: TargetClient, api: CognitoApi) -> None:
        self._quotas.ask(connection, api, connection.start_quota_poll())

    def _ask_sts(self, connection: TargetClient, api: CognitoApi) -> None:
        def name() -> None:
            # Within the request, so that it is counted under the account that it has named.
            connection.set_account_id(api.account_id())

        try:
            observed(connection, connection, self._clock, Operation.GET_CALLER_IDENTITY, name)
        except AwsError as error:
            # Counted by the observer; the ARN of the first described pool will name the account.
            log.info("STS does not tell the account id", region=connection.target.region, error=str(error))
            connection.account_resolved.set()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Place:
    """A Region as all accounts reach it; it goes with the last client that was made for it."""

    config: Config
    cognito: CognitoIdentityProviderClient
    """Says where to send what; whoever asks has credentials of their own."""
    exchange: StsClient


class AwsApis:
    """Makes clients; they share what botocore loads, and those of one Region all that boto3 would keep for each."""

    def __init__(self, make_session: Callable[[], boto3.Session] = boto3.Session, clock: Clock | None = None) -> None:
        """`make_session` is called once, when the first client is needed."""
        self._make_session = make_session
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()  # boto3's sessions are not safe for threads; its clients are
        self._base: boto3.Session | None = None
        self._places: WeakValueDictionary[TargetSettings, _Place] = WeakValueDictionary()

    def __call__(self, settings: TargetSettings) -> CognitoApi:
        """A client for one account and Region.

        Raises `exporter.errors.AwsError` when boto3's own configuration is at fault.
        """
        try:
            with self._lock:
                return self._made(settings)
        except Exception as error:
            raise unattempted(from_exception("making a client", error)) from error

    def _made(self, settings: TargetSettings) -> CognitoApi:
        if self._base is None:
            self._base = self._make_session()
        base = self._base
        credentials = base.get_credentials()
        if credentials is None:
            # Not kept: at the next sweep the source of credentials, such as a metadata service, may be up.
            raise NoCredentialsError
        place = self._place(base, settings)
        ca_bundle = base._session.get_config_variable("ca_bundle")  # noqa: SLF001 - boto3 gives no other way to its settings
        if settings.role_arn is None:
            plain = BotoCognito(lambda: place.cognito, lambda: self._sts(base, settings, place.config))
            return LeanCognito(place.cognito, credentials, ca_bundle, plain=plain, clock=self._clock)
        role = Role(settings.role_arn, settings.external_id, place.exchange, self._clock)
        own = role.credentials(credentials)
        plain = BotoCognito(
            lambda: self._cognito(session_with(own, base), settings, place.config),
            lambda: self._sts(session_with(own, base), settings, place.config),
        )
        return LeanCognitoByRole(place.cognito, own, ca_bundle, role, plain=plain, clock=self._clock)

    def _place(self, base: boto3.Session, settings: TargetSettings) -> _Place:
        key = replace(settings, role_arn=None, external_id=None)
        place = self._places.get(key)
        if place is None:
            config = _config(settings)
            cognito = _cognito_client(base, settings, config)
            place = _Place(config, cognito, StsClient(lambda: self._sts(base, settings, config)))
            self._places[key] = place
        return place

    def _cognito(
        self, session: boto3.Session, settings: TargetSettings, config: Config
    ) -> CognitoIdentityProviderClient:
        with self._lock:
            return _cognito_client(session, settings, config)

    def _sts(self, session: boto3.Session, settings: TargetSettings, config: Config) -> STSClient:
        with self._lock:
            return session.client("sts", region_name=settings.region, config=config)


def _config(settings: TargetSettings) -> Config:
    return ONE_ATTEMPT.merge(
        Config(
            user_agent_extra=f"cognito-device-exporter/{exporter.__version__}",
            use_fips_endpoint=settings.use_fips_endpoint,
            use_dualstack_endpoint=settings.use_dualstack_endpoint,
        )
    )


def _cognito_client(session: boto3.Session, settings: TargetSettings, config: Config) -> CognitoIdentityProviderClient:
    return session.client("cognito-idp", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config)


def account_of_role(role_arn: str | None) -> str | None:
    """The account id in `arn:aws:iam::123456789012:role/name`."""
    return role_arn.split(":")[4] if role_arn else None
