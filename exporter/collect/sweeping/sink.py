"""Where a sweep puts what it finds: kept by a `PoolStore`, or handed on by a report."""

from __future__ import annotations

from typing import Protocol

from exporter.collect.snapshot import PoolView
from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.model import Device, PoolDescription
from exporter.shard import Shard


class Findings(Protocol):
    """What a sweep tells of one pool; users come by their identity, from many threads."""

    @property
    def settings(self) -> PoolSettings:
        """Which pool is swept, and how."""
        ...

    @property
    def shard(self) -> Shard:
        """Whose users are read."""
        ...

    def view(self) -> PoolView:
        """How the pool looks now."""
        ...

    def sweep_started(self) -> None:
        """A sweep begins."""
        ...

    def described(self, description: PoolDescription) -> None:
        """The pool was described."""
        ...

    def enumerated(self, users: int) -> None:
        """So many users are to be read in this sweep."""
        ...

    def was_read(self, identity: bytes) -> bool:
        """Whether this sweep need not read the user any more."""
        ...

    def knows_users(self) -> bool:
        """Whether anything was ever read of any user."""
        ...

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """A user was read."""
        ...

    def keep(self, identity: bytes) -> None:
        """A user could not be read."""
        ...

    def gone(self, identity: bytes) -> None:
        """A user does not exist any more."""
        ...

    def sweep_completed(self, *, every_user_read: bool) -> int:
        """Every user was asked; returns how many known ones are gone."""
        ...

    def tracking_is_off(self) -> None:
        """The pool does not remember devices: nobody was asked."""
        ...

    def sweep_failed(self, reason: Reason) -> None:
        """The sweep ended before every user was asked."""
        ...

    def pool_missing(self) -> None:
        """There is no such pool."""
        ...

    def sweep_abandoned(self) -> None:
        """The sweep was told to stop."""
        ...
