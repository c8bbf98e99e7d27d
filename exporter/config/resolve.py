"""Conversion of the validated models into frozen settings, with the defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from exporter.config import schema
from exporter.config.problems import KeyPath
from exporter.config.settings import (
    TEMPLATE_ID,
    Detail,
    IdentityMode,
    Limits,
    PoolSettings,
    RuleSettings,
    Search,
    TargetSettings,
    UserSelection,
)
from exporter.model import region_of

T_co = TypeVar("T_co", bound=schema.Defaults, covariant=True)

_MIN_DEFAULT_STALENESS_SECONDS = 24 * 3600.0
_DEFAULT_STALENESS_INTERVALS = 3


@dataclass(frozen=True)
class Overlay(Generic[T_co]):
    """One pool or rule of the file, over the defaults."""

    section: str
    """Key of the list that the pool or rule is in."""
    index: int
    explicit: T_co
    """Keys of the pool or rule itself."""
    defaults: schema.Defaults

    @cached_property
    def effective(self) -> schema.Defaults:
        """The defaults, overridden by the explicit keys, including those that are null."""
        names = self.explicit.model_fields_set & schema.Defaults.model_fields.keys()
        return self.defaults.model_copy(update={name: getattr(self.explicit, name) for name in names})

    def path(self, name: str) -> KeyPath:
        """Return the path of an explicit key."""
        return (self.section, self.index, name)

    def blame_path(self, *names: str) -> KeyPath:
        """Return the path to report for a problem of several keys: the first that is explicit, else in the defaults."""
        for name in names:
            if name in self.explicit.model_fields_set:
                return self.path(name)
        for name in names:
            if name in self.defaults.model_fields_set:
                return ("defaults", name)
        return (self.section, self.index)


def resolve_pool(pool: Overlay[schema.Pool], base: Path) -> PoolSettings:
    """Return the settings of a pool; relative paths start at `base`."""
    users = pool.explicit.users or schema.Users()
    return _pool(
        pool.effective,
        base,
        pool_id=pool.explicit.id,
        region=region_of(pool.explicit.id),
        users=UserSelection(_tuple(users.usernames), _tuple(users.groups), users.filter),
    )


def resolve_rule(rule: Overlay[schema.Rule], base: Path) -> RuleSettings:
    """Return the settings of a discovery rule; relative paths start at `base`."""
    explicit, options = rule.explicit, rule.effective
    tags = tuple(sorted((explicit.tags or {}).items()))
    return RuleSettings(
        searches=tuple(Search(_target(region, options), explicit.name, tags) for region in explicit.regions),
        interval=explicit.interval,
        template=_pool(options, base, pool_id=TEMPLATE_ID, region="", users=UserSelection()),
    )


def _pool(options: schema.Defaults, base: Path, *, pool_id: str, region: str, users: UserSelection) -> PoolSettings:
    default_staleness = max(_MIN_DEFAULT_STALENESS_SECONDS, _DEFAULT_STALENESS_INTERVALS * options.refresh_interval)
    key_file = options.identity_key_file
    return PoolSettings(
        id=pool_id,
        target=_target(region, options),
        users=users,
        refresh_interval=options.refresh_interval,
        max_staleness=default_staleness if options.max_staleness is None else options.max_staleness,
        stale_after=tuple(sorted(options.stale_after, key=lambda threshold: threshold.seconds)),
        detail=Detail(options.detail),
        identity=IdentityMode(options.identity),
        identity_key_file=None if key_file is None else base / key_file,
        device_age_series=options.device_age_series,
        device_attributes=tuple(options.device_attributes),
        skip_federated_users=options.skip_federated_users,
    )


def resolve_limits(limits: schema.Limits) -> Limits:
    """Return the limits, with the default rates."""
    rates = limits.rate or schema.Rates()
    return Limits(
        rate={info.alias or name: getattr(rates, name) for name, info in schema.Rates.model_fields.items()},
        series=limits.series,
    )


def _target(region: str, options: schema.Defaults) -> TargetSettings:
    return TargetSettings(
        region=region,
        role_arn=options.role_arn,
        external_id=options.external_id,
        endpoint_url=options.endpoint_url,
        use_fips_endpoint=options.use_fips_endpoint,
        use_dualstack_endpoint=options.use_dualstack_endpoint,
    )


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
