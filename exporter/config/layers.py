"""A pool over the defaults: what holds for it, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.config.faults import KeyPath
from exporter.config.wire import Defaults, Pool


@dataclass(frozen=True, slots=True)
class LayeredPool:
    """One pool as written, at its index in the file, and the defaults under it."""

    index: int
    pool: Pool
    defaults: Defaults

    @property
    def effective(self) -> Defaults:
        """The defaults under the pool's own keys; a null on the pool wins too."""
        own = self.pool.model_fields_set & Defaults.model_fields.keys()
        return self.defaults.model_copy(update={name: getattr(self.pool, name) for name in own})

    def path(self, name: str) -> KeyPath:
        """Where a key is to be written for this pool."""
        return ("pools", self.index, name)

    def site(self, *names: str) -> KeyPath:
        """Where to point for a fault over several keys: the first of them that is written, pool before defaults."""
        for name in names:
            if name in self.pool.model_fields_set:
                return self.path(name)
        for name in names:
            if name in self.defaults.model_fields_set:
                return ("defaults", name)
        return ("pools", self.index)
