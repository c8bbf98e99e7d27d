"""What `/api/v1/status` answers and the status page shows: the types are the documented schema.

The document names pools and counts users; it has no user names, ARNs, paths, addresses, or texts of AWS. Numbers carry
their unit in the name, points in time are RFC 3339 in UTC. Within version 1 fields are added, and never removed or
changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from exporter.errors import Reason
from exporter.model import Mfa, PoolState, Tracking

SCHEMA_VERSION: Literal[1] = 1

_TITLE = "Status of cognito-device-exporter"

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[datetime, Meta(tz=True)]


class Build(Struct, frozen=True, kw_only=True):
    """Which build runs."""

    version: str
    revision: Annotated[str, Meta(description="The commit it was installed from, `unknown` where nobody recorded it.")]
    python_version: str


class Process(Struct, frozen=True, kw_only=True):
    """The process that answers."""

    started: Moment
    uptime_seconds: Amount
    shard_ordinal: Count
    shards: Annotated[int, Meta(ge=1, description="Every shard counts its own part of the users.")]
    identity_exposed: Annotated[
        bool, Meta(description="Raw user names are served on /metrics without authentication beyond loopback.")
    ]
    unexpected_failures: Annotated[Count, Meta(description="Errors that nobody foresaw, since the start.")]
    state_errors: Annotated[Count, Meta(description="Failures to read or write the state file, since the start.")]


class Rate(Struct, frozen=True, kw_only=True):
    """What `limits.rate` allows in one of AWS's quota categories; one of the two numbers is null."""

    category: str
    requests_per_second: Amount | None
    quota_share_ratio: Ratio | None


class Configuration(Struct, frozen=True, kw_only=True):
    """The configuration in force; that of a pool stands with the pool."""

    last_reload_successful: Annotated[
        bool, Meta(description="False: the file in place was refused, and the one before is in force.")
    ]
    loaded: Annotated[Moment, Meta(description="When the configuration in force was loaded.")]
    series_limit: Count
    state_file: Annotated[bool, Meta(description="Whether what was read survives a restart.")]
    rates: Annotated[list[Rate], Meta(description="For the whole deployment, all shards together.")]


class Summary(Struct, frozen=True, kw_only=True):
    """All pools together."""

    pools: Count
    pools_by_state: Annotated[dict[PoolState, Count], Meta(description="Every state is present, the worst first.")]
    pools_overdue: Count
    pools_sweeping: Count
    discovery_rules: Count
    discovery_rules_failing: Annotated[
        Count, Meta(description="Their last look at some Region did not see everything.")
    ]
    users: Count
    devices: Count


class Devices(Struct, frozen=True, kw_only=True):
    """The devices of a pool, by whether they are remembered."""

    total: Count
    remembered: Count
    not_remembered: Count
    unknown: Annotated[Count, Meta(description="Cognito does not say.")]


class Sweep(Struct, frozen=True, kw_only=True):
    """A sweep that is under way."""

    users_done: Count
    users_expected: Annotated[Count | None, Meta(description="Null while nothing is known of the pool's size.")]
    progress_ratio: Annotated[Ratio | None, Meta(description="Null while nothing is known of the pool's size.")]
    remaining_seconds: Annotated[Amount | None, Meta(description="An estimate from the pace so far.")]


class Failure(Struct, frozen=True, kw_only=True):
    """A sweep that failed as a whole; the pool keeps its last values."""

    reason: Reason
    time: Moment


class Failures(Struct, frozen=True, kw_only=True):
    """What failed since the process started, by reason; reasons without a failure are left out."""

    sweeps: dict[Reason, Count]
    users: Annotated[dict[Reason, Count], Meta(description="Users that could not be read and keep their last values.")]


class Selection(Struct, frozen=True, kw_only=True):
    """Which users of a pool are read."""

    kind: Literal["everyone", "usernames", "groups", "filter"]
    count: Annotated[Count | None, Meta(description="How many names or groups are listed; null with other kinds.")]


class PoolSettings(Struct, frozen=True, kw_only=True):
    """How a pool is configured, without secrets, names of users, and addresses."""

    refresh_interval_seconds: Amount
    max_staleness_seconds: Amount
    stale_after: Annotated[list[str], Meta(description="As in the label `threshold`.")]
    detail: Literal["pool", "user", "device"]
    identity: Literal["hmac", "raw"]
    users: Selection
    skip_federated_users: bool
    device_age_series: bool
    device_attributes: Annotated[list[str], Meta(description="Names of attributes that are labels on /metrics.")]
    assumes_role: bool
    custom_endpoint: bool


class Pool(Struct, frozen=True, kw_only=True):
    """One configured pool."""

    id: str
    name: Annotated[str | None, Meta(description="Null until the pool was described.")]
    aws_account_id: str | None
    aws_region: str
    state: PoolState
    overdue: Annotated[
        bool,
        Meta(
            description="No sweep has read every user for more than 1.5 times refresh_interval, as in the alert; "
            "not for pools that are missing or denied, nor before the first success."
        ),
    ]
    device_tracking: Tracking | None
    mfa: Mfa | None
    mfa_bypass: Annotated[bool | None, Meta(description="Whether a remembered device may skip the second factor.")]
    estimated_users: Annotated[Count | None, Meta(description="By Cognito itself.")]
    users: Annotated[Count | None, Meta(description="Observed, after selection; null: no data, as on /metrics.")]
    devices: Devices | None
    sweep: Annotated[Sweep | None, Meta(description="Null when none is under way.")]
    next_sweep: Annotated[Moment | None, Meta(description="When the next is due, or the next attempt.")]
    last_sweep_duration_seconds: Amount | None
    last_sweep_success: Annotated[Moment | None, Meta(description="When a sweep that read every user last ended.")]
    oldest_observation: Annotated[Moment | None, Meta(description="When the user read longest ago was read.")]
    last_failure: Annotated[Failure | None, Meta(description="Of this process, however long ago.")]
    users_not_read: Annotated[Count, Meta(description="In the last finished sweep.")]
    failures_since_start: Failures
    settings: PoolSettings


class Rule(Struct, frozen=True, kw_only=True):
    """A rule of `discovery` in one of its Regions."""

    index: Annotated[Count, Meta(description="Its position in `discovery`, from 0, as in the label `rule`.")]
    aws_region: str
    pools: Annotated[Count, Meta(description="Read because of it: neither `pools` nor a rule before it has them.")]
    up: Annotated[bool, Meta(description="Whether the last look saw everything; false before the first.")]
    last_success: Annotated[Moment | None, Meta(description="When a look last ended that saw everything.")]
    reason: Annotated[Reason | None, Meta(description="Why the last look did not see everything.")]


class Budget(Struct, frozen=True, kw_only=True):
    """The rate budget of one account, Region and quota category, for this process."""

    aws_account_id: str
    aws_region: str
    category: str
    used_requests_per_second: Annotated[Amount, Meta(description="Over the last five seconds.")]
    current_requests_per_second: Annotated[Amount, Meta(description="Allowed now: lowered while AWS throttles.")]
    configured_requests_per_second: Amount
    quota_requests_per_second: Annotated[Amount | None, Meta(description="What AWS grants all callers together.")]
    quota_provisioned: Annotated[bool, Meta(description="False: the quota is AWS's documented default.")]


class Status(Struct, frozen=True, kw_only=True):
    """How the exporter and its pools stand."""

    schema_version: Literal[1]
    generated: Moment
    build: Build
    process: Process
    configuration: Configuration
    summary: Summary
    pools: Annotated[list[Pool], Meta(description="The worst state first; in it those overdue first; then by name.")]
    discovery: Annotated[
        list[Rule], Meta(description="Failing ones first, then those that have not looked yet; then as configured.")
    ]
    budgets: list[Budget]


def encoded(status: Status) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(status)


def schema() -> dict[str, Any]:
    """The JSON Schema of the document, draft 2020-12."""
    (reference,), components = msgspec.json.schema_components([Status], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLE,
        **reference,
        "$defs": components,
    }
