"""Sink for the results of a sweep, implemented by `PoolStore` and by the device report."""

from __future__ import annotations

from typing import Protocol

from exporter.collect.snapshot import PoolView
from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.model import Device, PoolDescription
from exporter.shard import Shard


class SweepSink(Protocol):
    """Receiver of the results of one pool's sweep. Users are passed by identity, from many threads."""

    @property
    def settings(self) -> PoolSettings:
        """Settings of the pool."""
        ...

    @property
    def shard(self) -> Shard:
        """Shard whose users are read."""
        ...

    def view(self) -> PoolView:
        """Return the current view of the pool."""
        ...

    def sweep_started(self) -> None:
        """Start a sweep."""
        ...

    def described(self, description: PoolDescription) -> None:
        """Record the description of the pool."""
        ...

    def enumerated(self, users: int) -> None:
        """Record the number of users that this sweep reads."""
        ...

    def was_read(self, identity: bytes) -> bool:
        """Return True if this sweep does not need to read the user again."""
        ...

    def knows_users(self) -> bool:
        """Return True if any user is known."""
        ...

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """Record the devices of a user."""
        ...

    def mark_unreadable(self, identity: bytes) -> None:
        """Record that a user could not be read."""
        ...

    def remove(self, identity: bytes) -> None:
        """Record that a user no longer exists."""
        ...

    def sweep_completed(self, *, every_user_read: bool) -> int:
        """Finish a sweep that processed every user. Return the number of known users that no longer exist."""
        ...

    def tracking_is_off(self) -> None:
        """Finish a sweep of a pool that does not remember devices. No user was read."""
        ...

    def sweep_failed(self, reason: Reason) -> None:
        """Finish a sweep that ended before it had processed every user."""
        ...

    def pool_missing(self) -> None:
        """Finish a sweep of a pool that does not exist."""
        ...

    def sweep_abandoned(self) -> None:
        """Finish a sweep that was canceled."""
        ...
