"""Assignment of users to the processes of a sharded deployment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` processes, numbered from 0. Each user belongs to exactly one of them."""

    ordinal: int
    count: int

    def owns(self, username: str) -> bool:
        """Return True if the user belongs to this shard, by the SHA-256 of the user name.

        The hash has no key, because all shards must get the same result.
        """
        if self.count == 1:
            return True
        digest = hashlib.sha256(username.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.ordinal

    def __str__(self) -> str:
        return f"{self.ordinal}/{self.count}"


UNSHARDED = Shard(0, 1)
"""The only shard of an unsharded deployment; owns all users."""
