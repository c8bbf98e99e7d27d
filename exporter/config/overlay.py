"""A pool or a rule over the defaults: what holds for it, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from exporter.config.problems import KeyPath
from exporter.config.schema import Defaults, Pool, Rule

T = TypeVar("T", bound=Defaults)


@dataclass(frozen=True, slots=True)
class _Overlay(Generic[T]):
    """What is written at one index of a list in the file, and the defaults under it."""

    section: ClassVar[str]
    """The key of the list."""
    index: int
    own: T
    defaults: Defaults

    @property
    def effective(self) -> Defaults:
        """The defaults under its own keys; a null of its own wins too."""
        own = self.own.model_fields_set & Defaults.model_fields.keys()
        return self.defaults.model_copy(update={name: getattr(self.own, name) for name in own})

    def path(self, name: str) -> KeyPath:
        """Where a key of its own is to be written."""
        return (self.section, self.index, name)

    def site(self, *names: str) -> KeyPath:
        """Where to point for a fault over several keys: the first of them that is written, its own before defaults."""
        for name in names:
            if name in self.own.model_fields_set:
                return self.path(name)
        for name in names:
            if name in self.defaults.model_fields_set:
                return ("defaults", name)
        return (self.section, self.index)


class PoolOverlay(_Overlay[Pool]):
    """One of `pools`."""

    __slots__ = ()
    section = "pools"


class RuleOverlay(_Overlay[Rule]):
    """One of `discovery`."""

    __slots__ = ()
    section = "discovery"


Overlay = PoolOverlay | RuleOverlay
