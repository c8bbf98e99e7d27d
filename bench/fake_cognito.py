"""Command that runs the complete exporter with an in-memory fake of Cognito, to measure scrapes only.

`python -m bench.fake_cognito CONFIG PORT USERS` has the same users and devices as the peers. The cost of sweeps is
measured over HTTP instead.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from hashlib import md5
from pathlib import Path

from exporter.aws.api import DEFAULT_QUOTAS, Category, CognitoApi, Operation, Page
from exporter.config.load import load_settings
from exporter.config.settings import TargetSettings
from exporter.daemon.app import App
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking
from exporter.options import ListenAddress, ServeOptions

PAGE = 60


class FakeCognito:
    """`exporter.aws.api.CognitoApi` without a network. Every user has two devices."""

    def __init__(self, users: int) -> None:
        self._users = users

    def prepare(self, operation: Operation) -> None:
        """Do nothing."""

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """Return the description of a pool that remembers devices."""
        return PoolDescription(
            pool_id,
            "bench",
            "123456789012",
            "eu-west-1",
            Tracking.OPT_IN,
            Mfa.ON,
            mfa_bypass=True,
            estimated_users=None,
        )

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """Not supported: the benchmark has no discovery rules."""
        raise NotImplementedError

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """Not supported: the benchmark has no discovery rules."""
        raise NotImplementedError

    def list_users(self, _pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """Return the next page of users."""
        _reject(user_filter)
        start = int(token or 0)
        end = min(start + PAGE, self._users)
        names = tuple(ListedUser(f"{number:032x}") for number in range(start, end))
        return Page(names, str(end) if end < self._users else None)

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """Not supported: there are no groups."""
        raise NotImplementedError

    def admin_list_devices(
        self, _pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """Return the two devices of a user."""
        _reject(token, *attributes)
        return Page(fake_devices(int(username, 16)), None)

    def provisioned_quota(self, category: Category) -> float:
        """Return the documented AWS default."""
        return DEFAULT_QUOTAS[category]

    def account_id(self) -> str:
        """Return the account of AWS's examples."""
        return "123456789012"


def _reject(*parameters: str | None) -> None:
    """Raise `NotImplementedError` if an unsupported parameter is set."""
    if any(parameter is not None for parameter in parameters):
        raise NotImplementedError


def fake_devices(number: int) -> tuple[Device, ...]:
    """Return the two devices of a user. The keys are as hard to compress as real ones."""
    digits = md5(b"%d" % number, usedforsecurity=False).hexdigest()
    active_ms = (1_700_000_000 + number * 100) * 1000
    return tuple(
        Device(
            key=f"eu-west-1_{digits}-{place}",
            remembered=RememberedStatus.REMEMBERED if number % 5 else RememberedStatus.NOT_REMEMBERED,
            status="valid",
            created_ms=active_ms - 86_400_000 - number,
            modified_ms=active_ms,
            authenticated_ms=active_ms,
        )
        for place in range(2)
    )


def main() -> None:
    """Sweep once and serve until SIGTERM."""
    config, port, users = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    configure_logging(LogLevel.WARN, LogFormat.LOGFMT, sys.stderr)
    options = ServeOptions(config, (ListenAddress("127.0.0.1", port),))
    make_api: Callable[[TargetSettings], CognitoApi] = lambda _: FakeCognito(users)  # noqa: E731 - for its type
    app = App(load_settings(config), options, make_api=make_api)
    app.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    app.stop()


if __name__ == "__main__":
    main()
