"""The wire models → frozen settings, with the defaults filled in."""

from __future__ import annotations

from pathlib import Path

from exporter.config import schema as wire
from exporter.config.duration import canonical_duration, parse_duration
from exporter.config.overlay import Overlay, PoolOverlay, RuleOverlay
from exporter.config.settings import (
    TEMPLATE_ID,
    Detail,
    IdentityMode,
    Limits,
    PoolSettings,
    RuleSettings,
    Search,
    Share,
    TargetSettings,
    Threshold,
    UserSelection,
)
from exporter.config.share import parse_share
from exporter.model import region_of

_LEAST_DEFAULT_STALENESS = 24 * 3600.0
_DEFAULT_STALENESS_IN_INTERVALS = 3


def resolve_pool(layered: PoolOverlay, base: Path) -> PoolSettings:
    """One pool, complete; relative paths start at `base`."""
    return _pool(layered, base, layered.own.id, region_of(layered.own.id), _selection(layered.own.users))


def resolve_rule(layered: RuleOverlay, base: Path) -> RuleSettings:
    """One rule, complete; relative paths start at `base`."""
    rule = layered.own
    tags = tuple(sorted((rule.tags or {}).items()))
    return RuleSettings(
        searches=tuple(Search(_target(region, layered.effective), rule.name, tags) for region in rule.regions),
        interval=_seconds(rule.interval),
        template=_pool(layered, base, TEMPLATE_ID, "", UserSelection()),
    )


def _pool(layered: Overlay, base: Path, pool_id: str, region: str, users: UserSelection) -> PoolSettings:
    options = layered.effective
    interval = _seconds(options.refresh_interval)
    key_file = options.identity_key_file
    return PoolSettings(
        id=pool_id,
        target=_target(region, options),
        users=users,
        refresh_interval=interval,
        max_staleness=_max_staleness(options.max_staleness, interval),
        stale_after=_thresholds(options.stale_after),
        detail=Detail(options.detail),
        identity=IdentityMode(options.identity),
        identity_key_file=None if key_file is None else base / key_file,
        device_age_series=options.device_age_series,
        device_attributes=tuple(options.device_attributes),
        skip_federated_users=options.skip_federated_users,
    )


def resolve_limits(limits: wire.Limits | None) -> Limits:
    """The limits, complete."""
    limits = limits or wire.Limits()
    return Limits(rate=_rates(limits.rate or wire.Rates()), series=limits.series)


def resolve_state(state: wire.State | None, base: Path) -> Path | None:
    """The state file, if there is to be one; a relative path starts at `base`."""
    return None if state is None or state.path is None else base / state.path


def _rates(written: wire.Rates) -> dict[str, float | Share]:
    fields = wire.Rates.model_fields.items()
    return {info.alias or name: _rate(getattr(written, name)) for name, info in fields}


def _rate(written: float | str) -> float | Share:
    return Share(parse_share(written)) if isinstance(written, str) else float(written)


def _target(region: str, options: wire.Defaults) -> TargetSettings:
    return TargetSettings(
        region=region,
        role_arn=options.role_arn,
        external_id=options.external_id,
        endpoint_url=options.endpoint_url,
        use_fips_endpoint=options.use_fips_endpoint,
        use_dualstack_endpoint=options.use_dualstack_endpoint,
    )


def _selection(users: wire.Users | None) -> UserSelection:
    if users is None:
        return UserSelection()
    return UserSelection(
        usernames=None if users.usernames is None else tuple(users.usernames),
        groups=None if users.groups is None else tuple(users.groups),
        filter=users.filter,
    )


def _thresholds(durations: list[str]) -> tuple[Threshold, ...]:
    """From the shortest to the longest, in whatever order they are written."""
    ages = sorted(parse_duration(duration) for duration in durations)
    return tuple(Threshold(age // 1000, canonical_duration(age)) for age in ages)


def _max_staleness(written: str | None, interval: float) -> float:
    if written is not None:
        return _seconds(written)
    return max(_LEAST_DEFAULT_STALENESS, _DEFAULT_STALENESS_IN_INTERVALS * interval)


def _seconds(duration: str) -> float:
    return parse_duration(duration) / 1000
