"""The rate budgets of every account and Region in use, and the quotas that they are shares of."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.aws.api import DEFAULT_QUOTAS, Category
from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import Clock
from exporter.config.settings import Share
from exporter.observers import Target

Rates = Mapping[str, float | Share]
"""By quota category: requests per second for the whole deployment, or a share of what AWS grants."""


@dataclass(frozen=True, slots=True)
class RateLimiterState:
    """One rate budget as it is now, in requests per second."""

    target: Target
    category: Category
    configured: float
    current: float
    quota: float
    """What AWS grants all callers together."""
    provisioned: bool
    """Whether AWS has told the quota; else it is the documented default."""
    used: float = 0.0
    """What was asked of AWS in the last seconds."""


@dataclass(slots=True)
class _OfTarget:
    """The budgets of one account and Region, and how many connections spend them."""

    rate_limiters: dict[Category, RateLimiter]
    quotas: dict[Category, float] = field(default_factory=dict)
    """As AWS has told them."""
    connections: int = 0


class RateLimiters:
    """One budget per account, Region and category; shared by all pools in them."""

    def __init__(self, rates: Rates, clock: Clock, *, shards: int = 1) -> None:
        """Each of `shards` processes takes an equal part of the rates."""
        self._rates = dict(rates)
        self._clock = clock
        self._shards = shards
        self._lock = threading.Lock()
        self._targets: dict[Target, _OfTarget] = {}

    def use(self, target: Target) -> Mapping[Category, RateLimiter]:
        """One more connection spends this target's quota: its budgets, which all of them share."""
        with self._lock:
            if target not in self._targets:
                rate_limiters = {c: RateLimiter(self._rate(c, DEFAULT_QUOTAS[c]), self._clock) for c in Category}
                self._targets[target] = _OfTarget(rate_limiters)
            self._targets[target].connections += 1
            return self._targets[target].rate_limiters

    def rename(self, unknown: Target, known: Target) -> Mapping[Category, RateLimiter]:
        """The account of a connection became known: its budgets from now on.

        They go on as they were, with who waits in them and what AWS has told, unless the account has budgets
        already or another unnamed connection goes on with these.
        """
        with self._lock:
            alone = self._targets[unknown].connections == 1
            if alone and known not in self._targets:
                self._targets[known] = self._targets.pop(unknown)
                return self._targets[known].rate_limiters
        self.release(unknown)
        return self.use(known)

    def release(self, target: Target) -> None:
        """One connection less; the budgets go with the last."""
        with self._lock:
            self._targets[target].connections -= 1
            if not self._targets[target].connections:
                del self._targets[target]

    def shared_categories(self) -> tuple[Category, ...]:
        """The categories whose rate is a share of the quota, so that the quota must be known."""
        return tuple(category for category in Category if isinstance(self._rates[category], Share))

    def set_quota(self, target: Target, category: Category, quota: float) -> None:
        """AWS has told how many requests per second it grants; a rate that is a share of them follows."""
        with self._lock:
            of_target = self._targets.get(target)
            if of_target is not None:
                of_target.quotas[category] = quota
                of_target.rate_limiters[category].configure(self._rate(category, quota))

    def configure(self, rates: Rates) -> None:
        """Use other rates from now on."""
        with self._lock:
            self._rates = dict(rates)
            for of_target in self._targets.values():
                for category, limiter in of_target.rate_limiters.items():
                    quota = of_target.quotas.get(category, DEFAULT_QUOTAS[category])
                    limiter.configure(self._rate(category, quota))

    def states(self) -> tuple[RateLimiterState, ...]:
        """Every budget as it is now."""
        with self._lock:
            known = [(target, dict(one.rate_limiters), dict(one.quotas)) for target, one in self._targets.items()]
        return tuple(
            RateLimiterState(
                target=target,
                category=category,
                configured=limiter.configured,
                current=limiter.current,
                quota=quotas.get(category, DEFAULT_QUOTAS[category]),
                provisioned=category in quotas,
                used=limiter.used,
            )
            for target, rate_limiters, quotas in known
            for category, limiter in rate_limiters.items()
        )

    def _rate(self, category: Category, quota: float) -> float:
        rate = self._rates[category]
        return (rate.fraction * quota if isinstance(rate, Share) else rate) / self._shards
