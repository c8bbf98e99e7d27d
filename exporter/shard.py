"""Which users of a pool are this process's, when several processes share it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` processes, numbered from 0; each user belongs to exactly one of them."""

    ordinal: int
    count: int

    def owns(self, username: str) -> bool:
        """Whether the user is ours.

        By the SHA-256 of the name, without a key: every process must come to the same answer.
        """
        if self.count == 1:
            return True
        digest = hashlib.sha256(username.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.ordinal

    def __str__(self) -> str:
        return f"{self.ordinal}/{self.count}"


WHOLE = Shard(0, 1)
"""One process has every user."""
