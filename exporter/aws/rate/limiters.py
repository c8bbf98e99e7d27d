"""Rate limiters of all accounts and Regions, and their quotas."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.aws.api import DEFAULT_QUOTAS, Category, RateLimiterState
from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import Clock
from exporter.config.settings import Share
from exporter.observers import Target

Rates = Mapping[str, float | Share]
"""Rate per quota category: requests per second over all shards, or a share of the quota."""


@dataclass(slots=True)
class _TargetLimiters:
    """Rate limiters of one account and Region."""

    rate_limiters: dict[Category, RateLimiter]
    quotas: dict[Category, float] = field(default_factory=dict)
    """Quotas that were read from AWS."""
    clients: int = 0
    """Number of clients that use the rate limiters."""


class RateLimiters:
    """Rate limiters per account, Region and category."""

    def __init__(self, rates: Rates, clock: Clock, *, shards: int = 1) -> None:
        """Divide the rates equally between `shards` processes."""
        self._rates = dict(rates)
        self._clock = clock
        self._shards = shards
        self._lock = threading.Lock()
        self._targets: dict[Target, _TargetLimiters] = {}

    def use(self, target: Target) -> Mapping[Category, RateLimiter]:
        """Add a client to a target and return the rate limiters, which all clients of the target share."""
        with self._lock:
            if target not in self._targets:
                rate_limiters = {c: RateLimiter(self._rate(c, DEFAULT_QUOTAS[c]), self._clock) for c in Category}
                self._targets[target] = _TargetLimiters(rate_limiters)
            self._targets[target].clients += 1
            return self._targets[target].rate_limiters

    def rename(self, unknown: Target, known: Target) -> Mapping[Category, RateLimiter]:
        """Move a client to the target with the account id, and return the rate limiters.

        The rate limiters are kept, with their state, waiting requests and quotas, unless the account has rate limiters
        already or another client still uses these.
        """
        with self._lock:
            if self._targets[unknown].clients == 1 and known not in self._targets:
                self._targets[known] = self._targets.pop(unknown)
                return self._targets[known].rate_limiters
        self.release(unknown)
        return self.use(known)

    def release(self, target: Target) -> None:
        """Remove a client, and the rate limiters with the last client."""
        with self._lock:
            self._targets[target].clients -= 1
            if not self._targets[target].clients:
                del self._targets[target]

    def quota_share_categories(self) -> tuple[Category, ...]:
        """Return the categories whose rate is a share of the quota."""
        return tuple(category for category in Category if isinstance(self._rates[category], Share))

    def set_quota(self, target: Target, category: Category, quota: float) -> None:
        """Set the quota of an account in requests per second, and update a rate that is a share of it."""
        with self._lock:
            entry = self._targets.get(target)
            if entry is not None:
                entry.quotas[category] = quota
                entry.rate_limiters[category].configure(self._rate(category, quota))

    def configure(self, rates: Rates) -> None:
        """Apply other rates."""
        with self._lock:
            self._rates = dict(rates)
            for entry in self._targets.values():
                for category, limiter in entry.rate_limiters.items():
                    quota = entry.quotas.get(category, DEFAULT_QUOTAS[category])
                    limiter.configure(self._rate(category, quota))

    def states(self) -> tuple[RateLimiterState, ...]:
        """Return the state of all rate limiters."""
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
